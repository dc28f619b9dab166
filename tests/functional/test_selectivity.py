import numpy as np
import pytest
import torch
from scipy import stats

from sup_lightning.functional import chunking, selectivity
from sup_lightning.functional.selectivity import (
    dead_fraction,
    dead_neurons,
    kurtosis,
    random_directions,
    rotated_kurtosis,
)


def samples(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_kurtosis_equals_scipys() -> None:
    x = samples(50, 40, 6).pow(3) + 2.0
    expected = stats.kurtosis(x.flatten(0, 1).double().numpy(), fisher=False)
    np.testing.assert_allclose(kurtosis(x).numpy(), expected, rtol=1e-10)


def test_kurtosis_of_known_laws() -> None:
    n = 200_000  # standard error of a Gaussian's kurtosis: sqrt(24 / n) = 0.011
    assert kurtosis(samples(n, 1)).item() == pytest.approx(3.0, abs=0.05)
    uniform = torch.rand(n, 1, generator=torch.Generator().manual_seed(0))
    assert kurtosis(uniform).item() == pytest.approx(1.8, abs=0.02)
    rare = (uniform < 0.01).float()  # a Bernoulli variable: 3 + (1 - 6 p (1 - p)) / (p (1 - p))
    assert kurtosis(rare).item() == pytest.approx(98.0, rel=0.1)


def test_chunks_do_not_change_power_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    x = samples(100, 7)
    whole = selectivity.power_sums(x)
    monkeypatch.setattr(chunking, "CHUNK", 30)
    torch.testing.assert_close(selectivity.power_sums(x), whole, rtol=1e-12, atol=1e-12)


def test_a_constant_neuron_has_no_kurtosis() -> None:
    x = samples(100, 3)
    x[:, 1] = 0.0
    x[:, 2] = 0.1
    assert torch.isnan(kurtosis(x)).tolist() == [False, True, True]


def test_directions_are_orthonormal_and_seeded() -> None:
    directions = random_directions(100, seed=1)
    torch.testing.assert_close(directions.T @ directions, torch.eye(100), rtol=0, atol=1e-5)
    assert torch.equal(directions, random_directions(100, seed=1))
    assert not torch.equal(directions, random_directions(100, seed=2))


def test_many_neurons_get_some_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selectivity, "FULL_ROTATION", 99)
    monkeypatch.setattr(selectivity, "SOME_DIRECTIONS", 10)
    directions = random_directions(100)
    assert directions.shape == (100, 10)
    torch.testing.assert_close(directions.T @ directions, torch.eye(10), rtol=0, atol=1e-5)


def test_rotation_hides_a_privileged_basis_and_nothing_else() -> None:
    """Sparse independent neurons: kurtosis κ alone, 3 + (κ - 3) Σq⁴ ≈ 3 + 3 (κ - 3) / n along a random direction."""
    n_neurons, p = 50, 0.05
    generator = torch.Generator().manual_seed(0)
    gate = torch.rand(40_000, n_neurons, generator=generator) < p
    sparse = gate * torch.randn(40_000, n_neurons, generator=generator)
    assert kurtosis(sparse).median().item() == pytest.approx(3 / p, rel=0.1)
    assert rotated_kurtosis(sparse).median().item() == pytest.approx(3 + 3 * (3 / p - 3) / n_neurons, rel=0.1)
    gaussian = torch.randn(40_000, n_neurons, generator=generator)
    assert rotated_kurtosis(gaussian).median().item() == pytest.approx(kurtosis(gaussian).median().item(), abs=0.05)


def test_dead_neurons() -> None:
    x = torch.tensor([[[0.0, 0.5, -1.0]], [[0.0, 0.0, -0.1]]])
    assert dead_neurons(x).tolist() == [True, False, True]
    assert dead_neurons(x, threshold=-0.5).tolist() == [False, False, False]
    assert dead_fraction(x).item() == pytest.approx(2 / 3)
