"""Polytopes against their exact constructions: turned, scaled, embedded, combined, with noise."""

import math

import pytest
import torch
from torch import Tensor

from sup_lightning.errors import UserError
from sup_lightning.functional.dimensionality import feature_dimensionality
from sup_lightning.functional.geometry import (
    PLATEAUS,
    describe,
    find_polytopes,
    find_polytopes_of_instances,
    plateau,
)
from sup_lightning.functional.keyed_random import keyed_normal


def polygon(n: int) -> Tensor:
    angle = 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def simplex(n_vertices: int) -> Tensor:
    """Unit vectors from the centre of the simplex whose vertices are the axes, in n_vertices - 1 dimensions."""
    centred = torch.eye(n_vertices, dtype=torch.float64) - 1 / n_vertices
    u, s, _ = torch.linalg.svd(centred)
    points = (u * s)[:, : n_vertices - 1]
    return points / points.norm(dim=1, keepdim=True)


def square_antiprism() -> Tensor:
    height = math.sqrt(1 / 3)
    upper = torch.cat([math.sqrt(2 / 3) * polygon(4), torch.full((4, 1), height, dtype=torch.float64)], dim=1)
    lower = torch.cat([math.sqrt(2 / 3) * polygon(8)[1::2], torch.full((4, 1), -height, dtype=torch.float64)], dim=1)
    return torch.cat([upper, lower])


def cube() -> Tensor:
    corners = [[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
    return torch.tensor(corners, dtype=torch.float64) / math.sqrt(3)


NAMED = {
    "single": torch.ones(1, 1, dtype=torch.float64),
    "digon": simplex(2),
    "triangle": polygon(3),
    "tetrahedron": simplex(4),
    "4-simplex": simplex(5),
    "7-simplex": simplex(8),
    "pentagon": polygon(5),
    "hexagon": polygon(6),
    "heptagon": polygon(7),
    "octagon": polygon(8),
    "9-gon": polygon(9),
    "square antiprism": square_antiprism(),
}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(n: int, seed: int = 0) -> Tensor:
    return torch.linalg.qr(random(n, n, seed=seed))[0]


def names(W: Tensor, signed: bool = False) -> list[str]:
    return sorted(polytope.name for polytope in find_polytopes(W, signed))


@pytest.mark.parametrize("name", NAMED)
def test_each_polytope_is_named_however_it_lies(name: str) -> None:
    W = NAMED[name]
    n, m = W.shape
    for n_hidden in (m, m + 1, 12):
        for scale in (0.6, 1.0, 1000.0):
            turned = scale * torch.nn.functional.pad(W, (0, n_hidden - m)) @ rotation(n_hidden)
            for dtype in (torch.float64, torch.float32):
                (found,) = find_polytopes(turned.to(dtype))
                assert (found.name, found.rank, found.features) == (name, m, tuple(range(n)))
                assert found.residual < (1e-12 if dtype == torch.float64 else 1e-6)
                assert found.dimensionality == pytest.approx(m / n, abs=1e-6)


def test_the_antiprism_has_dimensionality_three_eighths() -> None:
    W = square_antiprism()
    torch.testing.assert_close(feature_dimensionality(W), torch.full((8,), 3 / 8, dtype=torch.float64))
    expected = torch.tensor([-0.805, -0.805, -0.333, 0.138, 0.138, 0.333, 0.333], dtype=torch.float64)
    for row, cosines in enumerate(W @ W.mT):
        others = torch.cat([cosines[:row], cosines[row + 1 :]]).sort().values
        torch.testing.assert_close(others, expected, rtol=0, atol=5e-4)


def test_what_is_orthogonal_falls_apart() -> None:
    octahedron = torch.cat([torch.eye(3), -torch.eye(3)])
    assert describe(find_polytopes(octahedron)) == "3 digons"
    assert [polytope.features for polytope in find_polytopes(octahedron)] == [(0, 3), (1, 4), (2, 5)]
    assert describe(find_polytopes(polygon(4))) == "2 digons"
    assert describe(find_polytopes(torch.eye(4))) == "4 singles"
    axis = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    assert describe(find_polytopes(torch.block_diag(polygon(3), axis))) == "digon + triangle"
    assert describe(find_polytopes(torch.block_diag(polygon(5), axis))) == "digon + pentagon"


def test_sums_of_factors_in_any_order() -> None:
    parts = [polygon(5), simplex(4), 0.9 * simplex(2), 1.1 * simplex(2), square_antiprism(), torch.ones(1, 1)]
    W = torch.block_diag(*[part.double() for part in parts], torch.zeros(0, 2, dtype=torch.float64))
    owner = torch.cat([torch.full((len(part),), k) for k, part in enumerate(parts)])
    order = torch.randperm(len(W), generator=torch.Generator().manual_seed(0))
    mixed = (W @ rotation(W.shape[1]))[order]
    small = torch.cat([mixed, 0.01 * random(3, W.shape[1])])  # features that are not represented
    found = find_polytopes(small)
    assert describe(found) == "single + 2 digons + tetrahedron + pentagon + square antiprism"
    assert {polytope.features for polytope in found} == {
        tuple((owner[order] == k).nonzero().flatten().tolist()) for k in range(len(parts))
    }
    assert [polytope.features[0] for polytope in found] == sorted(polytope.features[0] for polytope in found)


@pytest.mark.parametrize("name", NAMED)
def test_small_noise_seldom_changes_the_name(name: str) -> None:
    """Half of it never does. At .01 the worst D_i of a tetrahedron is .018 off in 1 of 20 cases, of .02 allowed.

    The noise is the same on every machine, as PyTorch's own is not.
    """
    W = torch.nn.functional.pad(NAMED[name], (0, 3))
    noise = keyed_normal("noise", range(100), 0, W.shape).double()
    for deviation, least in ((0.005, 100), (0.01, 95)):
        hits = sum(names(W + deviation * each) == [name] for each in noise)
        assert hits >= least


@pytest.mark.parametrize("name", [name for name in NAMED if name != "single"])
def test_large_noise_leaves_no_name(name: str) -> None:
    """At most 1 in 20: a digon of one dimension needs only two lengths that agree, so it gets a second dimension."""
    W = torch.nn.functional.pad(NAMED[name], (0, 1 if name == "digon" else 0))
    hits = sum(names(W + 0.3 * random(*W.shape, seed=seed)) == [name] for seed in range(100))
    assert hits <= 5


@pytest.mark.parametrize("shape", [(3, 2), (5, 2), (6, 2), (8, 3), (10, 5), (20, 10), (100, 2)])
def test_random_directions_are_seldom_named(shape: tuple[int, int]) -> None:
    """Fewer than 1 feature in 50, with lengths all equal, which is the harder case."""
    named = 0
    for seed in range(200):
        W = random(*shape, seed=seed)
        W = W / W.norm(dim=1, keepdim=True)
        named += sum(polytope.size for polytope in find_polytopes(W) if polytope.is_named)
    assert named / (200 * shape[0]) < 0.02


def test_near_misses_are_unnamed() -> None:
    # The cube has D_i = 3/8 as the antiprism, and the same size and rank.
    (found,) = find_polytopes(cube())
    assert found.name == "unnamed 8 in 3"
    assert found.dimensionality == pytest.approx(3 / 8)
    assert found.residual > 0.1
    # Right angles, wrong lengths: D_i tells.
    (found,) = find_polytopes(polygon(5) * torch.tensor([[1.0], [1.0], [1.0], [1.0], [1.3]]))
    assert found.name == "unnamed 5 in 2"
    assert found.residual < 1e-12
    # Two features in one direction.
    (found,) = find_polytopes(torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    assert (found.name, found.rank, found.residual) == ("unnamed 2 in 1", 1, 2.0)
    # No polytope is known with this size and rank.
    (found,) = find_polytopes(cube()[:6])
    assert found.name == "unnamed 6 in 3"
    assert math.isnan(found.residual)


def test_nothing_represented() -> None:
    assert find_polytopes(torch.zeros(5, 2)) == []
    assert find_polytopes(0.4 * polygon(5)) == []
    assert find_polytopes(torch.full((5, 2), torch.nan)) == []
    assert describe([]) == ""


def test_one_model_at_a_time() -> None:
    W = torch.stack([polygon(5), torch.zeros(5, 2, dtype=torch.float64)])
    assert [describe(found) for found in find_polytopes_of_instances(W)] == ["pentagon", ""]
    with pytest.raises(UserError, match=r"W is \[2, 5, 2\]; allowed: the shape of one model"):
        find_polytopes(W)


def test_signed_lets_correlated_features_share_a_direction() -> None:
    # Two sets of two, orthogonal within and antipodal across: the same both ways.
    W = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    assert names(W) == names(W, signed=True) == ["digon", "digon"]
    # Collapsed sets: each pair in one direction.
    W = 0.707 * torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert names(W) == ["unnamed 2 in 1", "unnamed 2 in 1"]
    assert names(W, signed=True) == ["single"] * 4
    # Within a set the cosine is .3, which joins two features only if signs do not count.
    W = torch.tensor([[1.0, 0.0], [0.3, 0.91**0.5]])
    assert names(W) == ["unnamed 2 in 2"]
    assert names(W, signed=True) == ["single"] * 2


@pytest.mark.parametrize("name", NAMED)
def test_signed_finds_every_polytope(name: str) -> None:
    assert names(NAMED[name], signed=True) == [name]


def test_describe() -> None:
    W = torch.block_diag(simplex(4), simplex(4), simplex(5), simplex(5), cube())
    assert describe(find_polytopes(W)) == "2 tetrahedra + 2 4-simplices + unnamed 8 in 3"


def test_plateaus() -> None:
    levels = torch.tensor(list(PLATEAUS), dtype=torch.float64)
    assert torch.equal(plateau(levels + 0.01), levels)
    assert torch.equal(plateau(levels - 0.01), levels)
    assert plateau(torch.tensor([0.45, 0.9, 0.2])).isnan().all()
    assert plateau(torch.tensor([[0.45]]), tolerance=0.06).item() == pytest.approx(0.4)
    assert plateau(levels.float()).dtype == torch.float32
