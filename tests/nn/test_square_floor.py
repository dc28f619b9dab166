"""The best ReLU neurons can do for x², against closed forms and another optimiser."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar

from sup_lightning.nn.square_floor import relu_square_floor, shared_square_floor


def one_side(knots: np.ndarray) -> float:
    """Least squared error of x² on [0, 1] by ReLU(x - t), over output weights; all integrals by hand."""
    t, s = np.meshgrid(knots, knots, indexing="ij")
    low = np.maximum(t, s)
    gram = (1 - low**3) / 3 - (t + s) * (1 - low**2) / 2 + t * s * (1 - low)
    overlap = 1 / 4 - knots / 3 + knots**4 / 12
    return float(1 / 5 - overlap @ np.linalg.solve(gram, overlap))


def test_no_and_one_neuron() -> None:
    assert relu_square_floor(0) == pytest.approx(1 / 5)
    best = minimize_scalar(lambda t: one_side(np.array([t])), bounds=(0, 0.9), method="bounded").fun
    assert relu_square_floor(1) == pytest.approx((best + 1 / 5) / 2, rel=1e-6)  # the other side is left out


def test_one_neuron_a_side() -> None:
    best = minimize_scalar(lambda t: one_side(np.array([t])), bounds=(0, 0.9), method="bounded")
    assert best.x == pytest.approx(0.290, abs=0.001)
    assert relu_square_floor(2) == pytest.approx(best.fun, rel=1e-6)
    assert relu_square_floor(2) == pytest.approx(1.41e-3, rel=0.01)
    assert one_side(np.array([0.0])) == pytest.approx(0.0125)  # without a bias


def test_two_neurons_a_side() -> None:
    best = minimize(one_side, np.array([0.1, 0.5]), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14})
    assert relu_square_floor(4) == pytest.approx(best.fun, rel=1e-5)
    assert relu_square_floor(4) == pytest.approx(1.7e-4, rel=0.04)


def test_more_neurons_are_better() -> None:
    floors = [relu_square_floor(k) for k in range(7)]
    assert all(more < 0.8 * fewer for fewer, more in pairwise(floors))
    # The sides do not disturb each other, so an odd number shares itself out.
    assert floors[3] == pytest.approx((floors[2] + floors[4]) / 2, rel=1e-4)


def test_shares_of_neurons() -> None:
    assert shared_square_floor(3, 6) == pytest.approx(3 * relu_square_floor(2))
    assert shared_square_floor(2, 0) == pytest.approx(2 / 5)
    assert shared_square_floor(4, 4) == pytest.approx(min(4 * relu_square_floor(1), 2 * relu_square_floor(2) + 2 / 5))
