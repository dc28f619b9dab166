"""Bounds on x² and x y, against quadrature, least squares and enumeration."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.integrate import quad
from scipy.optimize import minimize_scalar

from sup_lightning.functional.quadratic import homogeneous_floor, pair_square_error, relu_square_error


def along_rays(n_factors: int) -> float:
    """The floor for two features that are always active, by quadrature over the angle."""

    def of(angle: float) -> float:
        c, s = abs(math.cos(angle)), abs(math.sin(angle))
        reach, target = 1 / max(c, s), c * c if n_factors == 1 else c * s
        best = (reach**5 / 5) / (reach**4 / 4)  # of r² along the ray, as a multiple of r; the density is r dr
        return target**2 * quad(lambda r: (r * r - best * r) ** 2 * r, 0, reach)[0]

    return sum(quad(of, k * math.pi / 4, (k + 1) * math.pi / 4)[0] for k in range(8)) / 4


@pytest.mark.parametrize("n_factors", [1, 2])
def test_homogeneous_floor_along_rays(n_factors: int) -> None:
    both = float(homogeneous_floor(torch.tensor(1.0).double(), 2, n_factors))
    assert both == pytest.approx(along_rays(n_factors), rel=1e-6)


def test_homogeneous_floor_by_enumeration() -> None:
    p = torch.tensor([0.3, 0.03]).double()
    first_alone, first_and_one, all_three = p * (1 - p) ** 2 / 80, 2 * p**2 * (1 - p) / 125, p**3 / 180
    torch.testing.assert_close(homogeneous_floor(p, 3), first_alone + first_and_one + all_three)


def test_no_wide_network_without_biases_is_below_the_floor() -> None:
    """Least squares on a fine grid: the best readout of 100 neurons in all directions is just above."""
    side = (torch.arange(120, dtype=torch.float64) + 0.5) / 60 - 1
    x = torch.cartesian_prod(side, side)
    angle = torch.arange(100, dtype=torch.float64) * 2 * math.pi / 100
    neurons = (x @ torch.stack([angle.cos(), angle.sin()])).relu()
    target = x[:, :1].square()
    readout = torch.linalg.lstsq(neurons, target, driver="gelsd").solution
    error = float((neurons @ readout - target).square().mean())
    assert 0.999 < error / float(homogeneous_floor(torch.tensor(1.0), 2)) < 1.02


@pytest.mark.parametrize(("scale", "error"), [(0.3, 2.0e-6), (0.5, 1.5e-5), (1.0, 2.2e-4)])
def test_two_gelus_make_a_parabola(scale: float, error: float) -> None:
    found = float(pair_square_error(torch.tensor(scale).double(), F.gelu))
    assert found == pytest.approx(error, rel=0.03)

    def with_output(a: float) -> float:
        return quad(lambda x: (a * scale * x * math.erf(scale * x / 2**0.5) - x * x) ** 2, 0, 1, epsabs=1e-14)[0]

    start = 1 / (0.798 * scale**2)
    best = minimize_scalar(with_output, bounds=(0.8 * start, 2 * start), method="bounded", options={"xatol": 1e-9})
    assert found == pytest.approx(best.fun, rel=1e-4)


def test_two_relus_without_biases_cannot() -> None:
    scales = torch.tensor([0.1, 1.0, 10.0]).double()
    torch.testing.assert_close(pair_square_error(scales, F.relu), torch.full_like(scales, 1 / 80))
    assert float(pair_square_error(torch.tensor(300.0).double(), F.gelu)) == pytest.approx(1 / 80, rel=1e-3)


@pytest.mark.parametrize("p", [1.0, 0.1])
def test_relu_square_error_by_least_squares(p: float) -> None:
    knots, facing = np.array([0.3, -0.2, 0.6, 1.4]), np.array([1.0, 1.0, -1.0, -1.0])
    x = (np.arange(40_000) + 0.5) / 20_000 - 1
    basis = np.maximum(facing * (x[:, None] - knots), 0) * math.sqrt(p / len(x))
    at_zero = np.maximum(-facing * knots, 0) * math.sqrt(1 - p)
    target = np.append(x**2 * math.sqrt(p / len(x)), 0.0)
    residual = np.linalg.lstsq(np.vstack([basis, at_zero]), target)[1][0]
    found = float(relu_square_error(torch.tensor(knots), torch.tensor(facing), p))
    assert found == pytest.approx(residual, rel=1e-6)
