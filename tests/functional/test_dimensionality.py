"""Dimensionality against the known geometries, and against brute force."""

import math

import pytest
import torch

from sup_lightning.functional import (
    density_weighted_interference,
    dimensions_per_feature,
    feature_dimensionality,
    feature_norms,
    interference,
    interference_between,
    represented_features,
)


def polygon(n: int) -> torch.Tensor:
    angle = 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def tetrahedron() -> torch.Tensor:
    return torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)


def square_antiprism() -> torch.Tensor:
    """Eight points on a sphere, D_i = 3/8 for all, when cos² of the polar angle is 1/3."""
    height = math.sqrt(1 / 3)
    ring = math.sqrt(1 - height**2) * polygon(4)
    turned = math.sqrt(1 - height**2) * polygon(8)[1::2]
    up, down = torch.full((4, 1), height), torch.full((4, 1), -height)
    return torch.cat([torch.cat([ring, up], dim=1), torch.cat([turned, down], dim=1)])


@pytest.mark.parametrize(
    ("W", "expected"),
    [
        (torch.tensor([[1.0], [-1.0]], dtype=torch.float64), 1 / 2),
        (polygon(3), 2 / 3),
        (polygon(5), 2 / 5),
        (polygon(6), 1 / 3),
        (tetrahedron(), 3 / 4),
        (square_antiprism(), 3 / 8),
        (torch.eye(4, dtype=torch.float64), 1.0),
    ],
    ids=["digon", "triangle", "pentagon", "hexagon", "tetrahedron", "square antiprism", "orthogonal"],
)
def test_known_polytopes(W: torch.Tensor, expected: float) -> None:
    rotation = torch.linalg.qr(torch.randn(W.shape[1], W.shape[1], dtype=torch.float64))[0]
    for scale in (1.0, 1e-6, 1e6):
        D = feature_dimensionality(scale * W @ rotation)
        assert torch.allclose(D, torch.full_like(D, expected), atol=1e-12)


def test_sum_is_at_most_the_number_of_dimensions() -> None:
    W = torch.randn(50, 12, 5)
    assert (feature_dimensionality(W).sum(-1) <= 5 + 1e-5).all()
    frame = torch.linalg.qr(torch.randn(12, 5))[0]
    assert feature_dimensionality(frame).sum().item() == pytest.approx(5, abs=1e-5)


def test_a_zero_feature_has_no_dimension_and_no_nan() -> None:
    W = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    D = feature_dimensionality(W)
    assert D.tolist() == [0, 1, 1]
    assert torch.isfinite(interference(W)).all()
    assert feature_dimensionality(torch.zeros(3, 2)).tolist() == [0, 0, 0]


def test_against_the_definition_written_out() -> None:
    W = torch.randn(7, 3, dtype=torch.float64)
    p = torch.rand(7, dtype=torch.float64)
    for i in range(7):
        unit = W[i] / W[i].norm()
        others = [j for j in range(7) if j != i]
        overlap = sum((unit @ W[j]) ** 2 for j in others)
        weighted = sum(p[j] * (unit @ W[j]) ** 2 for j in others)
        assert interference(W)[i].item() == pytest.approx(overlap.item(), rel=1e-12)
        assert density_weighted_interference(W, p)[i].item() == pytest.approx(weighted.item(), rel=1e-12)
        D = W[i].square().sum() / sum((unit @ W[j]) ** 2 for j in range(7))
        assert feature_dimensionality(W)[i].item() == pytest.approx(D.item(), rel=1e-12)


def test_instances_are_independent() -> None:
    W = torch.randn(4, 6, 2)
    p = torch.rand(4, 6)
    for quantity in (feature_norms, feature_dimensionality, interference, dimensions_per_feature, represented_features):
        torch.testing.assert_close(quantity(W)[2], quantity(W[2]))
    torch.testing.assert_close(density_weighted_interference(W, p)[2], density_weighted_interference(W[2], p[2]))


def test_dimensions_per_feature_counts_unit_vectors() -> None:
    assert dimensions_per_feature(polygon(5)).item() == pytest.approx(2 / 5)


def test_interference_between_classes_is_that_of_each_pair() -> None:
    W = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    W[0, 2] = 0
    classes = torch.tensor([0, 1, 0, 2, 1, 0, 2])
    counted = torch.rand(2, 7, generator=torch.Generator().manual_seed(1)) > 0.3
    counted[:, 4:] = True  # some of each class
    expected = torch.zeros(2, 3, 3, dtype=torch.float64)
    for k in range(2):
        for a in range(3):
            rows = [i for i in range(7) if classes[i] == a and counted[k, i]]
            for i in rows:
                for j in range(7):
                    if j != i and W[k, i].norm() > 0:
                        overlap = float(W[k, i] @ W[k, j] / W[k, i].norm()) ** 2
                        expected[k, a, classes[j]] += overlap / len(rows)
    torch.testing.assert_close(interference_between(W, classes, counted), expected)
    everyone = interference_between(W, torch.zeros(7, dtype=torch.long))
    torch.testing.assert_close(everyone.flatten(), interference(W).mean(-1))


def test_interference_on_nobody_is_not_a_number() -> None:
    counted = torch.tensor([True, False])
    found = interference_between(torch.eye(2), torch.tensor([0, 1]), counted)
    assert found[0].tolist() == [0, 0]
    assert found[1].isnan().all()
