"""Teams of neurons against sums by hand."""

from itertools import combinations, pairwise

import pytest
import torch

from sup_lightning.errors import UserError
from sup_lightning.functional.basis import random_rotations
from sup_lightning.functional.teams import (
    least_size,
    loads,
    overlap_ratio,
    participation_number,
    patch_curve,
    patch_sizes,
    path_effects,
    path_gradient,
    removed_share,
)

GENERATOR = torch.Generator().manual_seed(0)
HELD, PATCHED, WEIGHT = (torch.rand(5, 8, generator=GENERATOR, dtype=torch.float64) for _ in range(3))
ROTATION = random_rotations(8, 1)[0]


def linear(x: torch.Tensor) -> torch.Tensor:
    return (x * WEIGHT[0]).sum(dim=1)


def bent(x: torch.Tensor) -> torch.Tensor:
    return (linear(x) - 2).exp().log1p()


@pytest.mark.parametrize("basis", [None, ROTATION])
def test_effects_add_up(basis: torch.Tensor | None) -> None:
    for score, n_steps, tolerance in ((linear, 1, 1e-12), (lambda x: linear(x) ** 2, 1, 1e-12), (bent, 64, 1e-5)):
        gradient = path_gradient(score, HELD, PATCHED, n_steps)
        effects = path_effects(HELD, PATCHED, gradient, basis)
        assert float(effects.sum()) == pytest.approx(float((score(HELD) - score(PATCHED)).mean()), abs=tolerance)
    exact = (HELD - PATCHED).mean(dim=0) * WEIGHT[0]
    torch.testing.assert_close(path_effects(HELD, PATCHED, path_gradient(linear, HELD, PATCHED)), exact)


@pytest.mark.parametrize("basis", [None, ROTATION])
def test_the_curve_of_a_linear_score_is_a_sum_of_effects(basis: torch.Tensor | None) -> None:
    effects = path_effects(HELD, PATCHED, path_gradient(linear, HELD, PATCHED), basis)
    order, sizes = effects.argsort(descending=True), list(range(9))
    curve = patch_curve(linear, HELD, PATCHED, order, sizes, basis)
    lost = torch.tensor([float(effects[order[:k]].sum()) for k in sizes]).double()
    torch.testing.assert_close(curve, linear(HELD).mean() - lost, rtol=0, atol=1e-6)
    torch.testing.assert_close(removed_share(curve), lost / lost[-1], rtol=0, atol=1e-6)


def test_all_neurons_patched_is_the_other_context() -> None:
    order = torch.arange(8)
    curve = patch_curve(bent, HELD, PATCHED, order, [0, 8])
    assert curve.tolist() == [float(bent(HELD).mean()), float(bent(PATCHED).mean())]


def test_the_best_order_removes_most_of_a_linear_score() -> None:
    """Against every set of three neurons."""
    effects = path_effects(HELD, PATCHED, path_gradient(linear, HELD, PATCHED))
    best = patch_curve(linear, HELD, PATCHED, effects.argsort(descending=True), [3])
    of_all = [patch_curve(linear, HELD, PATCHED, torch.tensor(three), [3]) for three in combinations(range(8), 3)]
    assert float(best) == pytest.approx(float(torch.stack(of_all).min()))


def test_sizes() -> None:
    assert patch_sizes(3) == [0, 1, 2, 3]
    sizes = patch_sizes(512)
    assert sizes[:18] == [*range(17), 18]
    assert sizes[-1] == 512
    assert max(b / a for a, b in pairwise(sizes[17:])) < 1.17
    shares = torch.tensor([[0.0, 0.2, 0.55, 0.9], [0.0, 0.6, 0.4, 1.0]])
    assert least_size(shares, [0, 1, 2, 3], 0.5).tolist() == [2, 1]
    assert least_size(shares, [0, 1, 2, 3], 0.95).tolist() == [3, 3]
    with pytest.raises(UserError, match=r"share is 0; allowed: a number in \(0, 1\]"):
        least_size(shares, [0, 1, 2, 3], 0)


def test_loads_and_overlaps() -> None:
    teams = torch.rand(6, 40, generator=torch.Generator().manual_seed(1)) < 0.3
    related = torch.zeros(6, 6, dtype=torch.bool)
    related[0, 1] = related[1, 0] = True
    sizes = [int(team.sum()) for team in teams]
    pairs = [pair for pair in combinations(range(6), 2) if pair != (0, 1)]
    shared = sum(int((teams[i] & teams[j]).sum()) for i, j in pairs)
    expected = sum(sizes[i] * sizes[j] / 40 for i, j in pairs)
    assert float(overlap_ratio(teams, related)) == pytest.approx(shared / expected)
    assert loads(teams).tolist() == [sum(bool(team[n]) for team in teams) for n in range(40)]
    assert float(overlap_ratio(torch.eye(4).bool(), torch.eye(4).bool())) == 0
    assert overlap_ratio(torch.eye(4).bool(), torch.ones(4, 4).bool()).isnan()
    assert participation_number(torch.zeros(3)).isnan()
