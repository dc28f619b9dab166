"""The sampler's statistics, with bounds of four standard errors."""

import pytest
import torch

from sup_lightning.data.features import IndependentFeatures, UniformValues
from sup_lightning.errors import UserError
from sup_lightning.functional.keyed_random import keyed_uniform

N = 1_000_000


@pytest.mark.parametrize("p", [0.001, 0.05, 0.5, 1.0])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.5, 1.0), (-1.0, 1.0)])
def test_frequency_and_moments(p: float, low: float, high: float) -> None:
    x = IndependentFeatures(UniformValues(low, high)).sample(keyed_uniform("x", [0], 0, (N,)), torch.tensor(p))[0]
    active = x[x != 0].double()
    assert len(active) / N == pytest.approx(p, abs=4 * (p * (1 - p) / N) ** 0.5 + 1e-6)
    width = high - low
    assert active.mean().item() == pytest.approx((low + high) / 2, abs=4 * width / (12 * len(active)) ** 0.5)
    assert active.var().item() == pytest.approx(width**2 / 12, rel=0.1 if p < 0.01 else 0.02)
    assert active.min() >= low - 1e-6
    assert active.max() <= high + 1e-6


def test_features_are_independent() -> None:
    x = IndependentFeatures().sample(keyed_uniform("x", [0], 0, (4, N // 4)), torch.tensor(0.3))[0]
    fires = (x > 0).double()
    off_diagonal = torch.corrcoef(fires) - torch.eye(4)
    assert off_diagonal.abs().max() < 4 / (N / 4) ** 0.5


def test_probability_of_each_feature() -> None:
    p = torch.tensor([0.1, 0.5, 0.9])
    x = IndependentFeatures().sample(keyed_uniform("x", [0], 0, (3, N // 4)), p[:, None])[0]
    torch.testing.assert_close((x > 0).float().mean(1), p, atol=4 * 0.5 / (N / 4) ** 0.5, rtol=0)


def test_points_of_one_seed_share_their_draws() -> None:
    """What fires at a small p fires at every larger one."""
    u = keyed_uniform("x", [0], 0, (1000,))
    rare, common = (IndependentFeatures().sample(u.clone(), torch.tensor(p)) for p in (0.1, 0.2))
    assert (common[rare > 0] > 0).all()


def test_empty_range() -> None:
    with pytest.raises(UserError, match=r"low, high is \(1, 0.5\); allowed: low < high"):
        UniformValues(1, 0.5)
