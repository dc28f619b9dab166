"""Blocks that are sparse in two bases: the sampler against the listed law, and the law's symmetry."""

from typing import Any

import pytest
import torch
from torch import Tensor

from sup_lightning.data import ConstantValue, DiscreteValues, SignedValues, SyntheticFeatures, TwoBases
from sup_lightning.data.two_bases import SWAP
from sup_lightning.errors import UserError
from sup_lightning.functional.keyed_random import keyed_uniform

N = 200_000
BINARY = SignedValues(ConstantValue())


def sampled(law: TwoBases, p: list[float], n: int = N) -> Tensor:
    """`[n_features, n]`."""
    return law.sample(keyed_uniform("x", [0], 0, (law.n_draws(len(p)), n)), torch.tensor(p)[:, None])[0]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_sampled_rows_are_the_listed_outcomes(share: float) -> None:
    law, p = TwoBases(share, SignedValues(DiscreteValues([1, 3], [0.25, 0.75]))), [0.4, 0.4, 1.0, 1.0]
    x, probability = law.outcomes(4, torch.tensor(p))
    assert probability.sum().item() == pytest.approx(1, abs=1e-12)
    assert x.unique(dim=0).shape == x.shape
    rows = sampled(law, p).T.double()
    distance, nearest = torch.cdist(rows[:20_000], x).min(dim=1)
    assert distance.max() < 1e-3
    count = torch.bincount(nearest, minlength=len(x)) / len(nearest)
    error = (probability * (1 - probability) / len(nearest)).sqrt()
    assert ((count - probability).abs() <= 4.5 * error + 1e-9).all()


def test_moments_of_continuous_values() -> None:
    x = sampled(TwoBases(0.3), [0.2] * 2).double()
    assert x.mean(dim=1).abs().max() < 4 * (0.2 / 6 / N) ** 0.5
    covariance = torch.cov(x)
    torch.testing.assert_close(covariance, torch.eye(2).double() * 0.2 / 6, atol=6e-4, rtol=0)
    fires = (x != 0).double()
    marginals = TwoBases(0.3).marginals(torch.tensor([0.2, 0.2]), 2)
    torch.testing.assert_close(fires.mean(dim=1), marginals.double(), atol=4 * 0.4 / N**0.5, rtol=0)
    size = x.norm(dim=0)[fires.any(dim=0)]  # uniform on [0, 1]
    assert size.mean().item() == pytest.approx(1 / 2, abs=4 / (12 * len(size)) ** 0.5)


def test_the_equal_law_is_the_same_after_a_reflection_and_the_tilted_one_is_not() -> None:
    def reflected_gap(share: float) -> float:
        x, probability = TwoBases(share, BINARY).outcomes(4, torch.full((4,), 0.3))
        reflected = torch.cat([x[:, :2] @ SWAP, x[:, 2:]], dim=1)
        distance, place = torch.cdist(reflected, x).min(dim=1)
        assert distance.max() < 1e-7
        return float((probability[place] - probability).abs().max())

    assert reflected_gap(0.5) < 1e-15
    assert reflected_gap(0.6) > 1e-4


def test_swapping_twice_changes_nothing() -> None:
    torch.testing.assert_close(SWAP @ SWAP, torch.eye(2).double(), rtol=0, atol=1e-15)


def test_points_of_one_seed_share_their_draws() -> None:
    rare, common = sampled(TwoBases(), [0.1] * 4, 1000), sampled(TwoBases(), [0.3] * 4, 1000)
    assert rare.count_nonzero() > 0
    assert (common[rare != 0] == rare[rare != 0]).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TwoBases(1.5), r"share_of_a is 1.5; allowed: a number in \[0, 1\]"),
        (lambda: SyntheticFeatures(5, features=TwoBases()), "n_features is 5; allowed: a multiple of set_size"),
        (lambda: TwoBases().supports(4, torch.full((4,), 0.1)), "depend on each other"),
        (lambda: TwoBases().outcomes(4, torch.full((4,), 0.1)), "values is 'SignedValues'; allowed: a law of finitely"),
        (lambda: TwoBases(0.5, BINARY).outcomes(12, torch.full((12,), 0.1)), "n_features is 12; allowed: so few"),
    ],
)
def test_bad_settings(make: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
