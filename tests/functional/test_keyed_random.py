"""Keyed draws: pure, independent, uniform."""

import numpy as np
import pytest
import torch
from scipy import stats

from sup_lightning.functional import keyed_random
from sup_lightning.functional.keyed_random import keyed_hash, keyed_normal, keyed_uniform


def test_draws_depend_on_nothing_but_purpose_seed_and_step() -> None:
    alone = keyed_uniform("x", [5], 3, (7, 9))
    keyed_uniform("y", [1, 2], 0, (100,))  # other draws in between change nothing
    among = keyed_uniform("x", [9, 5, 0], 3, (7, 9))
    assert torch.equal(alone[0], among[1])


@pytest.mark.parametrize("other", [("y", 5, 3), ("x", 6, 3), ("x", 5, 4), ("x", -5, 3), ("x", 5 + 2**32, 3)])
def test_another_key_shares_no_run_of_numbers(other: tuple[str, int, int]) -> None:
    purpose, seed, step = other
    a = keyed_uniform("x", [5], 3, (4096,))[0]
    b = keyed_uniform(purpose, [seed], step, (4096,))[0]
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / 64  # four standard errors
    assert np.isin(a.numpy(), b.numpy()).mean() < 0.01  # 4096² / 2^24 pairs may agree by chance


def test_steps_do_not_overlap_as_shifted_streams() -> None:
    long = keyed_uniform("x", [0], 0, (100_000,))[0].numpy()
    later = keyed_uniform("x", [0], 1, (8,))[0].numpy()
    windows = np.lib.stride_tricks.sliding_window_view(long, 8)
    assert not (windows == later).all(axis=1).any()


def test_uniform_and_normal_laws() -> None:
    u = keyed_uniform("x", range(10), 0, (100_000,)).flatten().numpy()
    assert u.min() >= 0
    assert u.max() < 1
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    z = keyed_normal("x", range(10), 0, (100_000,)).flatten().numpy()
    assert stats.kstest(z, "norm").pvalue > 1e-3
    assert np.isfinite(z).all()


def test_an_odd_number_of_draws_is_the_start_of_more() -> None:
    assert torch.equal(keyed_uniform("x", [0], 0, (5,))[0], keyed_uniform("x", [0], 0, (6,))[0, :5])


def test_hash_is_splitmix() -> None:
    """The finaliser in unsigned numbers, as published; different numbers have different hashes, evenly spread."""
    numbers = torch.arange(-50_000, 50_000) << 20
    found = keyed_hash("x", 3, numbers)
    assert len(found.unique()) == len(numbers)
    assert stats.kstest(found.double().numpy() / 2**64 + 0.5, "uniform").pvalue > 1e-3
    assert not torch.equal(found, keyed_hash("x", 4, numbers))
    assert not torch.equal(found, keyed_hash("y", 3, numbers))
    seed = (keyed_random._purpose_key("x") + 3 * 0x9E3779B97F4A7C15) % 2**64
    x = numbers.numpy().view(np.uint64) + np.uint64(seed)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    assert np.array_equal(found.numpy(), x.view(np.int64))
