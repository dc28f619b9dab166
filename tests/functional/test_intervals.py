"""Seed intervals cover, and say nothing where nothing can be said."""

import math

import numpy as np
import pytest
import torch

from sup_lightning.functional.intervals import bootstrap_interval, of_best_seed, seed_interval


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


def test_values_of_the_best_seed() -> None:
    generator = torch.Generator().manual_seed(0)
    losses, values = torch.rand(3, 4, 7, generator=generator), torch.rand(3, 4, 7, 5, 2, generator=generator)
    losses[0, 0, 0] = torch.nan  # a seed that diverged is not the best
    found = of_best_seed(losses, values)
    for i in range(3):
        for j in range(4):
            seed = min(range(7), key=lambda k: math.inf if losses[i, j, k].isnan() else float(losses[i, j, k]))
            assert torch.equal(found[i, j], values[i, j, seed])
    seeds = torch.tensor([2, 2, 5])
    alone = of_best_seed(losses[1, 1, seeds], values[1, 1, seeds])
    assert torch.equal(alone, values[1, 1, 2 if losses[1, 1, 2] < losses[1, 1, 5] else 5])


def test_a_statistic_that_is_often_undefined_has_no_interval() -> None:
    def mean_or_nothing(values: torch.Tensor) -> float:
        return math.nan if values.max() < 7 else float(values.mean())  # (7/8)^8 = .34 of the resamples

    effect, low, high = bootstrap_interval(mean_or_nothing, torch.arange(8.0))
    assert effect == 3.5
    assert math.isnan(low)
    assert math.isnan(high)
