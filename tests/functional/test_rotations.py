import pytest
import torch

from sup_lightning.functional import rotations
from sup_lightning.functional.rotations import random_rotation
from sup_lightning.functional.selectivity import random_directions


def matrix(n_neurons: int, seed: int = 0) -> torch.Tensor:
    return random_rotation(n_neurons, seed)(torch.eye(n_neurons, dtype=torch.float64))


def test_a_rotation_is_orthogonal_and_seeded() -> None:
    q = matrix(60)
    torch.testing.assert_close(q.mT @ q, torch.eye(60, dtype=torch.float64), rtol=0, atol=1e-6)
    assert torch.equal(q, matrix(60))
    assert not torch.equal(q, matrix(60, seed=1))
    assert torch.equal(q.float(), random_directions(60))  # the same null, whichever asks


def test_rotations_are_haar() -> None:
    """E q = 0, E q² = 1/n and E q⁴ = 3 / (n (n + 2)) for each entry, and the sign of the trace is free."""
    n, draws = 4, 1000
    q = torch.stack([matrix(n, seed) for seed in range(draws)])
    for power, mean in ((1, 0.0), (2, 1 / n), (4, 3 / (n * (n + 2)))):
        values = q.pow(power)
        error = values.std(dim=0) / draws**0.5
        assert ((values.mean(dim=0) - mean).abs() < 5 * error).all()


def test_many_neurons_are_rotated_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotations, "FULL_ROTATION", 20)
    monkeypatch.setattr(rotations, "BLOCK", 10)
    rotation = random_rotation(25)
    q = matrix(25)
    assert [len(block) for block in rotation.blocks] == [9, 8, 8]
    assert sorted(rotation.order.tolist()) == list(range(25))
    assert rotation.order.tolist() != list(range(25))
    torch.testing.assert_close(q.mT @ q, torch.eye(25, dtype=torch.float64), rtol=0, atol=1e-6)
    assert not torch.allclose(rotation.blocks[1], rotation.blocks[2])
    assert ((q != 0).sum(dim=0) <= 9).all()


@pytest.mark.parametrize("full", [100, 5])
def test_weights_turn_with_the_activations(full: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotations, "FULL_ROTATION", full)
    monkeypatch.setattr(rotations, "BLOCK", 5)
    generator = torch.Generator().manual_seed(0)
    x, W_out = torch.randn(3, 4, 12, generator=generator).double(), torch.randn(12, 7, generator=generator).double()
    rotation = random_rotation(12, seed=3)
    torch.testing.assert_close(rotation(x) @ rotation(W_out.T).T, x @ W_out, rtol=1e-5, atol=1e-5)
