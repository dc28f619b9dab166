"""Constants of the toy models, as the exact expected loss gives them.

The numbers expected by `benchmarks.exact` were computed elsewhere. Most agree to their last digit; `CORRECTED` has what
is true of the others, whose digits were limited by the quadrature or the minimisation that they came from.
"""

import math
from collections.abc import Callable, Iterator

import pytest
import torch

from benchmarks import exact

CORRECTED = {
    "pentagon, p=0.05: loss": 0.0089036,
    "pentagon, p=0.05: |W_i|": 1.1346,
    "pentagon, p=0.05: b": -0.2463,
    "pentagon, p=0.05: loss given 2 active": 0.2347,
    "pentagon, p=0.1: loss": 0.026305,
    "2 in 1, I=1.0, p=0.2: loss": 0.0131846,
    "2 in 1, I=1.0, p=0.1: loss": 0.0033195,
    "1-sparse 6 in 2, 6: level": 0.048192,
    "1-sparse 6 in 2, 5, b > 0: level": 0.061799,
    "hexagon, p=0.02: loss": 0.007470,
    "pentagon + 0, p=0.05: loss": 0.024945,
    "5 in 2, U[0, 1]: b": -0.2463,
    "dropout .2, 2 in 2, p=0.05: rotation spread": 0.7184,
    "dropout .2, 4 in 2, p=0.05: rotation spread": 0.00678,
    "dropout .2, 5 in 2, p=0.05: rotation spread": 0.0251,
    "dropout .2, 4 in 2, p=0.2: rotation spread": 0.01455,
    "dropout .2, 5 in 2, p=0.2: rotation spread": 0.0081,
    "r* of the pentagon, p=0.05": 0.2688,
    "r* of the pentagon, p=0.1": 0.4258,
    "r* of the pentagon, p=0.15": 0.6099,
}

QUICK = (exact.pentagon, exact.one_dimension, exact.boundaries, exact.one_active, exact.naive_floor)
LONG = tuple(group for group in exact.GROUPS if group not in QUICK)


def check(group: Callable[[], Iterator[exact.Constant]]) -> None:
    for each in group():
        true = CORRECTED.get(each.name, each.expected)
        assert each.got == pytest.approx(true, abs=each.tolerance, rel=0), each.name


@pytest.mark.parametrize("group", QUICK, ids=lambda group: group.__name__)
def test_constants(group: Callable[[], Iterator[exact.Constant]]) -> None:
    check(group)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("group", LONG, ids=lambda group: group.__name__)
def test_constants_that_take_long(group: Callable[[], Iterator[exact.Constant]]) -> None:
    check(group)


@pytest.mark.slow
def test_the_pentagons_loss_by_stratified_sampling() -> None:
    """The loss given k active features, sampled for each k with the formula written out, at the optimum for p = .05."""
    p, g = 0.05, torch.Generator().manual_seed(0)
    W, b = exact.polygon(5, radius=1.134619), torch.full((5,), -0.246325, dtype=torch.float64)
    mean, variance = 0.0, 0.0
    for k, n_millions in ((1, 10), (2, 20), (3, 5), (4, 1), (5, 1)):
        chance = math.comb(5, k) * p**k * (1 - p) ** (5 - k)
        total, square = 0.0, 0.0
        for _ in range(n_millions):
            on = torch.rand(1_000_000, 5, generator=g).argsort(dim=1) < k
            x = torch.rand(1_000_000, 5, generator=g, dtype=torch.float64) * on
            losses = (torch.relu(x @ W @ W.T + b) - x).square().sum(1)
            total, square = (
                total + losses.mean().item() / n_millions,
                square + losses.square().mean().item() / n_millions,
            )
        mean += chance * total
        variance += chance**2 * (square - total**2) / (n_millions * 1e6)
    assert abs(mean - CORRECTED["pentagon, p=0.05: loss"]) < 4 * math.sqrt(variance)  # one is 2e-6
