"""Value laws: the quantile function, the pieces and the moments say the same."""

from math import inf, nan

import pytest
import torch
from torch import Tensor

from sup_lightning.data import ConstantValue, DiscreteValues, SignedValues, UniformValues, ValueLaw
from sup_lightning.errors import UserError

GRID = (torch.arange(1_000_000, dtype=torch.float64) + 0.5) / 1_000_000
"""Midpoints of [0, 1]: the law of quantile(GRID) is that of the law to 1e-6."""

LAWS = {
    "uniform": (UniformValues(), 1 / 2, 1 / 3),
    "shifted": (UniformValues(0.5, 1), 3 / 4, 7 / 12),
    "wide": (UniformValues(-1, 3), 1, 7 / 3),
    "constant": (ConstantValue(0.7), 0.7, 0.49),
    "levels": (DiscreteValues([1.0, 1 / 3, 2 / 3]), 2 / 3, 14 / 27),
    "weighted": (DiscreteValues([2.0, -1.0], weights=[3, 1]), 5 / 4, 13 / 4),
    "signed": (SignedValues(), 0, 1 / 3),
    "signed-shifted": (SignedValues(UniformValues(0.5, 1)), 0, 7 / 12),
    "signed-levels": (SignedValues(DiscreteValues([1.0, 2.0])), 0, 5 / 2),
    "signed-signed": (SignedValues(UniformValues(-2, 1)), 0, 1),
}


def distribution_function(law: ValueLaw, x: Tensor) -> Tensor:
    """P(value ≤ x) from the pieces."""
    total = torch.zeros_like(x)
    for weight, low, high in law.pieces:
        total += weight * ((x >= low).to(x) if low == high else ((x - low) / (high - low)).clamp(0, 1))
    return total


@pytest.mark.parametrize("name", LAWS)
def test_moments(name: str) -> None:
    law, mean, square = LAWS[name]
    values = law.quantile(GRID)
    assert values.mean().item() == pytest.approx(mean, abs=1e-5)
    assert values.square().mean().item() == pytest.approx(square, abs=1e-5)
    by_pieces = [weight * (low**2 + low * high + high**2) / 3 for weight, low, high in law.pieces]
    assert sum(by_pieces) == pytest.approx(square, rel=1e-12)
    assert sum(weight * (low + high) / 2 for weight, low, high in law.pieces) == pytest.approx(mean, abs=1e-12)
    assert sum(weight for weight, _, _ in law.pieces) == pytest.approx(1, rel=1e-14)


@pytest.mark.parametrize("name", LAWS)
def test_pieces_are_the_law_of_the_quantile(name: str) -> None:
    """The largest difference of the two distribution functions (Kolmogorov), at points beside the atoms."""
    law = LAWS[name][0]
    values = law.quantile(GRID).sort().values
    x = torch.linspace(-2.5, 3.5, 6007, dtype=torch.float64)
    empirical = torch.searchsorted(values, x, right=True) / len(values)
    assert (empirical - distribution_function(law, x)).abs().max() < 1e-5


@pytest.mark.parametrize("name", LAWS)
def test_a_quantile_function_rises_keeps_the_type_and_takes_any_number(name: str) -> None:
    law = LAWS[name][0]
    if name != "signed-signed":  # sizes below 0 have no order
        assert (law.quantile(GRID).diff() >= 0).all()
    outside = torch.tensor([-999.0, -0.1, 1.0000001, 999.0])
    assert law.quantile(outside).dtype == torch.float32
    assert law.quantile(GRID).dtype == torch.float64


def test_levels_are_exact() -> None:
    values = DiscreteValues([1 / 3, 2 / 3, 1.0]).quantile(torch.rand(10_000))
    assert set(values.tolist()) == set(torch.tensor([1 / 3, 2 / 3, 1.0]).tolist())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UniformValues(1, 0.5), r"low, high is \(1, 0.5\); allowed: low < high"),
        (lambda: ConstantValue(0), "value is 0; allowed: finite numbers that are not 0"),
        (lambda: ConstantValue(inf), "value is inf; allowed: finite"),
        (lambda: DiscreteValues([]), r"levels is \[\]; allowed: at least one number"),
        (lambda: DiscreteValues([1, 1]), r"levels is \[1, 1\]; allowed: .* all different"),
        (lambda: DiscreteValues([1, 0]), "levels is 0; allowed: finite numbers that are not 0"),
        (lambda: DiscreteValues([1, 2], [1]), r"weights is \[1\]; allowed: a positive number for each of the 2 levels"),
        (lambda: DiscreteValues([1, 2], [1, 0]), r"weights is \[1, 0\]; allowed: a positive number"),
        (lambda: DiscreteValues([1, 2], [1, nan]), r"weights is \[1, nan\]; allowed: a positive number"),
    ],
)
def test_bad_laws(make: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()  # type: ignore[operator]
