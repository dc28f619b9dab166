"""The attack against closed forms, and against a search written out."""

import math

import pytest
import torch
from torch import Tensor

from sup_lightning.functional.adversarial import attack_directions, attack_strength, attacked_loss, vulnerability
from sup_lightning.functional.reconstruction import weighted_squared_error


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def polygon(n: int) -> Tensor:
    angle = 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def relu_output(W: Tensor, b: Tensor | float = 0.0):  # type: ignore[no-untyped-def]
    return lambda x: (x @ W @ W.mT + b).relu()


def test_orthogonal_features_lose_the_square_of_the_attack() -> None:
    """Output i alone moves, by λ if x_i goes up; the most important one is attacked."""
    importance = torch.tensor([0.3, 1.0, 0.5, 0.2], dtype=torch.float64)
    W = torch.eye(4, dtype=torch.float64)
    x = random(500, 4).relu()
    strength = attack_strength(x)
    torch.testing.assert_close(strength, 0.1 * x.norm(dim=1).mean())
    loss = attacked_loss(relu_output(W), x, x, importance, W, strength)
    torch.testing.assert_close(loss, strength**2)


@pytest.mark.parametrize("k", [2, 3, 5, 6])
def test_polytopes_at_rest(k: int) -> None:
    """With no feature active, output j becomes λ sqrt(k / 2) cos θ_j where positive; a digon makes that λ √2."""
    W = polygon(k) if k > 2 else torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    x = torch.zeros(1, k, dtype=torch.float64)
    importance = torch.ones(k, dtype=torch.float64)
    cosines = W @ W[0]
    gram_norm = math.sqrt(k / 2) if k > 2 else math.sqrt(2)
    sides = [(sign * cosines).relu().square().sum() for sign in (1, -1)]
    expected = (0.1 * gram_norm) ** 2 * max(sides)
    torch.testing.assert_close(attacked_loss(relu_output(W), x, x, importance, W, 0.1), expected)
    # λ² is the loss of orthogonal features: so a digon is twice as vulnerable, as its dimensionality is half.
    if k == 2:
        zero, square = torch.tensor(0.0).double(), torch.tensor(0.01).double()
        assert vulnerability(zero, expected, zero, square).item() == pytest.approx(2.0)


def test_against_a_search_written_out() -> None:
    W, b, importance = random(3, 5, 2), random(3, 5, seed=1), random(3, 5, seed=2).abs()
    x = random(3, 40, 5, seed=3).relu()
    strength = attack_strength(x, relative=0.3)
    loss = attacked_loss(lambda x: (x @ W @ W.mT + b.unsqueeze(1)).relu(), x, x, importance, W, strength)
    for k in range(3):
        G = W[k] @ W[k].mT
        worst = 0.0
        for i in range(5):
            for sign in (1, -1):
                attacked = x[k] + sign * strength[k] * G[i] / G[i].norm()
                output = (attacked @ G + b[k]).relu()
                worst = max(worst, weighted_squared_error(output, x[k], importance[k]).item())
        assert loss[k].item() == pytest.approx(worst, rel=1e-12)
        assert worst >= weighted_squared_error((x[k] @ G + b[k]).relu(), x[k], importance[k]).item()


def test_directions_are_what_moves_an_output_most() -> None:
    W, W_out = random(2, 6, 3), random(2, 4, 3, seed=1)
    directions = attack_directions(W, W_out)
    assert directions.shape == (2, 4, 6)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(2, 4, dtype=torch.float64))
    readin = W_out @ W.mT
    moved = (readin * directions).sum(-1)
    others = random(1000, 6, seed=2)
    others /= others.norm(dim=1, keepdim=True)
    assert (others @ readin.mT <= moved.unsqueeze(1) + 1e-12).all()
    torch.testing.assert_close(attack_directions(W), attack_directions(W, W))


def test_features_that_are_not_represented_cannot_be_attacked() -> None:
    W = torch.zeros(3, 2)
    assert torch.equal(attack_directions(W), torch.zeros(3, 3))
    x = torch.ones(4, 3)
    clean = weighted_squared_error(relu_output(W)(x), x, torch.ones(3))
    assert attacked_loss(relu_output(W), x, x, torch.ones(3), W, 0.1) == clean
