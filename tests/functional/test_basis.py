"""Privileged bases against the exact means of random directions, and losses with and without a basis."""

import math

import pytest
import torch
from scipy.integrate import quad
from scipy.special import erf, gammaln

from sup_lightning.errors import UserError
from sup_lightning.functional.basis import (
    alignment,
    alignment_above_random,
    kurtosis_above_random,
    participation,
    participation_above_random,
    plane_rotations,
    random_rotations,
    rotation_spread,
)

MEAN_ALIGNMENT = {2: 0.900, 5: 0.738, 10: 0.610, 20: 0.491, 30: 0.428}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mean_alignment(m: int) -> float:
    """E max |cos| = E max |g| / E |g|₂ for a Gaussian vector, as its direction and length are independent."""
    largest = quad(lambda t: 1 - erf(t / math.sqrt(2)) ** m, 0, 20)[0]
    return largest / (math.sqrt(2) * math.exp(gammaln((m + 1) / 2) - gammaln(m / 2)))


@pytest.mark.parametrize("m", MEAN_ALIGNMENT)
def test_random_directions_have_the_known_means(m: int) -> None:
    assert mean_alignment(m) == pytest.approx(MEAN_ALIGNMENT[m], abs=6e-4)
    W = random(40_000, m)
    assert alignment(W).mean().item() == pytest.approx(mean_alignment(m), abs=0.003)  # 5 standard errors or more
    assert participation(W).mean().item() == pytest.approx(3 / (m + 2), abs=0.006)


@pytest.mark.parametrize("m", MEAN_ALIGNMENT)
def test_the_baseline_is_the_known_mean_for_any_directions(m: int) -> None:
    for W in (torch.eye(m, dtype=torch.float64), 7 * random(10, m)):
        baseline = alignment(W) - alignment_above_random(W, n_rotations=1500)
        torch.testing.assert_close(baseline, torch.full_like(baseline, mean_alignment(m)), rtol=0, atol=0.015)
        baseline = participation(W) - participation_above_random(W, n_rotations=1500)
        torch.testing.assert_close(baseline, torch.full_like(baseline, 3 / (m + 2)), rtol=0, atol=0.03)


def test_alignment_against_the_definition() -> None:
    W = random(4, 6, 3)
    v = W / W.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(alignment(W), v.abs().max(-1).values)
    torch.testing.assert_close(participation(W), (v**4).sum(-1))
    for quantity in (alignment, participation, alignment_above_random, participation_above_random):
        torch.testing.assert_close(quantity(W)[2], quantity(W[2]))
        assert quantity(W.float()).dtype == torch.float32
    extremes = torch.tensor([[1e-30, 0.0], [1e30, 1e30], [0.0, 0.0]])
    assert alignment(extremes).tolist() == pytest.approx([1.0, math.sqrt(0.5), math.nan], nan_ok=True)


def test_rotations_are_orthogonal_and_uniform() -> None:
    q = random_rotations(4, 2000)
    torch.testing.assert_close(q @ q.mT, torch.eye(4, dtype=torch.float64).expand(2000, 4, 4), rtol=0, atol=1e-12)
    assert q.mean(0).abs().max() < 0.06  # standard error .011
    assert (q.square().mean(0) - 1 / 4).abs().max() < 0.03
    assert 800 < (torch.linalg.det(q) > 0).sum() < 1200
    assert torch.equal(random_rotations(4, 3, seed=1), random_rotations(4, 3, seed=1))
    assert not torch.equal(random_rotations(4, 3, seed=1), random_rotations(4, 3, seed=2))
    turns = plane_rotations(8)
    assert torch.equal(turns[0], torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(turns[1] @ turns[1], turns[2])
    with pytest.raises(UserError, match="n_rotations is 0"):
        plane_rotations(0)


def test_kurtosis_tells_neurons_from_a_rotated_basis() -> None:
    generator = torch.Generator().manual_seed(0)
    sparse = torch.rand(20_000, 30, generator=generator) * (torch.rand(20_000, 30, generator=generator) < 0.05)
    assert kurtosis_above_random(sparse).median() > 15
    rotated = sparse.double() @ random_rotations(30, 1, seed=9)[0]
    assert abs(kurtosis_above_random(rotated).median()) < 1


@pytest.mark.parametrize("m", [1, 2, 3, 8])
def test_a_bottleneck_without_hidden_activation_privileges_no_basis(m: int) -> None:
    x, b = random(200, 10).relu(), random(10)

    def loss(W: torch.Tensor) -> torch.Tensor:
        return ((x @ W @ W.mT + b).relu() - x).square().sum(-1).mean(-1)

    spread = rotation_spread(loss, random(3, 10, m), n_rotations=20)
    assert spread.shape == (3,)
    assert (spread < 1e-12).all()


def test_a_hidden_activation_or_dropout_does() -> None:
    x = random(200, 10).relu()

    def relu_hidden(W: torch.Tensor) -> torch.Tensor:
        return (((x @ W).relu() @ W.mT).relu() - x).square().sum(-1).mean(-1)

    def dropout(W: torch.Tensor) -> torch.Tensor:  # two neurons, each dropped with probability 1/2: all masks
        masks = torch.tensor([[0.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 2.0]], dtype=W.dtype)
        return sum((((x @ W * mask) @ W.mT).relu() - x).square().sum(-1).mean(-1) for mask in masks) / 4

    for loss in (relu_hidden, dropout):
        assert (rotation_spread(loss, 0.5 * random(3, 10, 2)) > 0.01).all()


def test_spread_of_a_known_loss() -> None:
    # 2 + cos 4θ over the angle of one feature: from 1 to 3, found exactly where the angles hit 0 and 45 degrees.
    W = torch.tensor([[1.0, 0.0]], dtype=torch.float64)

    def loss(W: torch.Tensor) -> torch.Tensor:
        return 2 + torch.cos(4 * torch.atan2(W[..., 0, 1], W[..., 0, 0]))

    assert rotation_spread(loss, W, n_rotations=64).item() == pytest.approx(2.0, abs=1e-12)
    assert rotation_spread(loss, W, n_rotations=1).item() == 0
    # Random rotations in five dimensions: a lower bound of (1 - 1/√5) √5, and W itself reaches the minimum.
    spread = rotation_spread(lambda W: 1 / alignment(W)[0], torch.eye(5, dtype=torch.float64), n_rotations=300)
    assert 0.6 < spread.item() < math.sqrt(5) - 1
    assert rotation_spread(lambda W: 0 * W.sum(), torch.eye(3)).item() == 0
