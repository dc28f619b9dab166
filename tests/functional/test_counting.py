"""Counts of features against sets whose count is known."""

import math

import pytest
import torch

from sup_lightning.errors import UserError
from sup_lightning.functional.counting import covering_angles, covering_number, effective_count, growth_exponent


def circle(n: int, n_hidden: int = 2) -> torch.Tensor:
    angle = 2 * math.pi * torch.arange(n) / n
    W = torch.zeros(n, n_hidden)
    W[:, 0], W[:, 1] = angle.cos(), angle.sin()
    return W


def test_effective_count_of_equal_weights_is_their_number() -> None:
    weight = torch.zeros(3, 10)
    weight[0, :4], weight[1] = 2.0, 0.1
    torch.testing.assert_close(effective_count(weight), torch.tensor([4.0, 10.0, 0.0]))


def test_covering_angles_of_a_regular_polygon() -> None:
    """From one corner of eight the farthest is opposite, then a quarter away, then an eighth."""
    angles = covering_angles(circle(8), torch.ones(8, dtype=torch.bool))
    expected = torch.tensor([180.0, 90, 90, 45, 45, 45, 45, 0]) * math.pi / 180
    torch.testing.assert_close(angles, expected, atol=1e-5, rtol=0)
    within = torch.tensor([math.pi, 1.6, 0.8, 0.5])
    assert covering_number(angles, within).tolist() == [1.0, 2.0, 4.0, 8.0]


def test_covering_looks_at_kept_directions_alone_and_not_at_their_lengths() -> None:
    W = torch.stack([circle(6), circle(6) * torch.linspace(0.1, 3, 6).unsqueeze(1)])
    kept = torch.tensor([True, False, True, False, True, False]).expand(2, 6)
    angles = covering_angles(W, kept)
    torch.testing.assert_close(angles[0], angles[1], atol=1e-5, rtol=0)
    assert covering_number(angles, torch.tensor([0.1])).flatten().tolist() == [3.0, 3.0]
    none = covering_angles(W, torch.zeros(2, 6, dtype=torch.bool))
    assert covering_number(none, torch.tensor([0.1])).isnan().all()


def test_directions_that_nearly_coincide_are_told_apart() -> None:
    W = torch.tensor([[1.0, 0.0], [1.0, 1e-4]])
    angles = covering_angles(W, torch.ones(2, dtype=torch.bool))
    assert float(angles[0]) == pytest.approx(1e-4, rel=1e-3)


@pytest.mark.parametrize(("points", "dimension"), [("few", 0.0), ("curve", 1.0), ("sphere", 2.0)])
def test_box_counting_dimension(points: str, dimension: float) -> None:
    generator = torch.Generator().manual_seed(0)
    sphere = torch.randn(1024, 3, generator=generator)
    W = {"few": circle(6, 3).repeat(40, 1), "curve": circle(256, 3), "sphere": sphere}[points]
    within = torch.logspace(math.log10(0.5), math.log10(0.15), 24, dtype=torch.float64)
    angles = covering_angles(W, torch.ones(len(W), dtype=torch.bool))
    found = growth_exponent(1 / within, covering_number(angles, within))
    assert float(found) == pytest.approx(dimension, abs=0.25)


def test_growth_exponent() -> None:
    x = torch.tensor([16.0, 64.0, 256.0])
    count = torch.stack([3 * x**0.7, torch.full((3,), 5.0), torch.tensor([0.0, 1, 2])])
    found = growth_exponent(x, count)
    torch.testing.assert_close(found[:2], torch.tensor([0.7, 0.0]))
    assert found[2].isnan()
    with pytest.raises(UserError, match="at least two positive numbers"):
        growth_exponent(torch.tensor([1.0]), torch.tensor([1.0]))
