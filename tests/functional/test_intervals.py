"""Seed intervals cover, and say nothing where nothing can be said."""

import math

import numpy as np
import pytest
import torch

from sup_lightning.functional.intervals import seed_interval


def test_interval_covers_the_true_median() -> None:
    sample = torch.from_numpy(np.random.default_rng(1).exponential(size=(400, 32)))
    _, low, high = seed_interval(sample)
    covered = ((low <= math.log(2)) & (math.log(2) <= high)).float().mean().item()
    assert 0.90 <= covered <= 0.99  # nominal .95; the percentile bootstrap of a median is a little off


@pytest.mark.parametrize("n_seeds", [1, 2, 5])
def test_few_seeds_have_no_interval(n_seeds: int) -> None:
    median, low, high = seed_interval(torch.full((1, n_seeds), 2.0))
    assert median.item() == 2
    assert low.isnan().all()
    assert high.isnan().all()


def test_missing_values_are_left_out() -> None:
    median, low, _ = seed_interval(torch.tensor([[1.0, torch.nan, 2.0, 3.0, 1.0, 2.0, 3.0], [torch.nan] * 7]))
    assert median[0].item() == 2
    assert not low[0].isnan()
    assert median[1].isnan()
