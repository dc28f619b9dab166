"""Closed forms of the phase changes against the exact expected loss."""

import pytest
import torch

from sup_lightning.errors import UserError
from sup_lightning.functional.expected_loss import UNIFORM, Pieces, bottleneck_expected_loss, independent_supports
from sup_lightning.functional.phase import (
    CORRELATED_TRANSITION,
    Phase,
    antipodal_sets_loss,
    collapsed_sets_loss,
    moments,
    named_losses_2_1,
    named_losses_3_2,
    phase_2_1,
    phase_3_2,
    phase_of_weights,
    superposition_boundary,
)

BINARY: Pieces = ((1.0, 1.0, 1.0),)
LEVELS: Pieces = tuple((1 / 3, level / 3, level / 3) for level in (1, 2, 3))
UPPER_HALF: Pieces = ((1.0, 0.5, 1.0),)
MIXED: Pieces = ((0.3, 0.2, 0.2), (0.5, 0.0, 0.6), (0.2, 0.4, 1.0))
LAWS = [UNIFORM, BINARY, LEVELS, UPPER_HALF, MIXED]


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def exact(W: list[list[float]], b: torch.Tensor, p: float, importance: torch.Tensor, pieces: Pieces) -> float:
    directions = torch.tensor(W, dtype=torch.float64)
    law = independent_supports(tensor(p).expand(len(W)))
    return bottleneck_expected_loss(directions, b, *law, pieces=pieces, importance=importance).loss.item()


@pytest.mark.parametrize("pieces", LAWS, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_named_solutions_have_their_expected_loss(pieces: Pieces, bias: bool) -> None:
    p, extra = 0.3, 0.4
    mean = p * moments(pieces)[0] if bias else 0.0
    two = named_losses_2_1(tensor(extra), tensor(p), pieces, bias)[0].tolist()
    I2, I3 = tensor(1, extra), tensor(1, 1, extra)
    assert two[Phase.IGNORED] == pytest.approx(exact([[1], [0]], tensor(0, mean), p, I2, pieces), abs=1e-12)
    assert two[Phase.DEDICATED] == pytest.approx(exact([[0], [1]], tensor(mean, 0), p, I2, pieces), abs=1e-12)
    assert two[Phase.SUPERPOSED] == pytest.approx(exact([[1], [-1]], tensor(0, 0), p, I2, pieces), abs=1e-12)
    three = named_losses_3_2(tensor(extra), tensor(p), pieces, bias)[0].tolist()
    x, y, zero = [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]
    W = [[x, y, zero], [x, zero, y], [x, y, [0.0, -1.0]], [x, [-1.0, 0.0], y]]
    b = [tensor(0, 0, mean), tensor(0, mean, 0), tensor(0, 0, 0), tensor(0, 0, 0)]
    for phase in Phase:
        assert three[phase] == pytest.approx(exact(W[phase], b[phase], p, I3, pieces), abs=1e-9)
        assert phase_of_weights(torch.tensor(W[phase])).item() == phase


def test_moments_against_sampling() -> None:
    g = torch.Generator().manual_seed(0)
    weight, low, high = torch.tensor(MIXED, dtype=torch.float64).T
    piece = torch.multinomial(weight, 2_000_000, replacement=True, generator=g).view(2, -1)
    u, v = low[piece] + (high - low)[piece] * torch.rand(piece.shape, generator=g, dtype=torch.float64)
    for exactly, sampled in zip(moments(MIXED), (u, u.square(), torch.minimum(u, v).square()), strict=True):
        assert exactly == pytest.approx(sampled.mean().item(), abs=4 * sampled.std().item() / 1000)  # 4 standard errors


def test_boundaries_of_the_paper() -> None:
    importance = tensor(0.1, 0.5, 1, 2, 10)
    expected = torch.where(importance <= 1, 4 * importance / (2 + 5 * importance), 4 / (5 + 2 * importance))
    torch.testing.assert_close(superposition_boundary(importance), expected)
    without = superposition_boundary(tensor(0.1, 0.5, 1), bias=False)
    torch.testing.assert_close(without, 2 * tensor(0.1, 0.5, 1) / (1 + tensor(0.1, 0.5, 1)))
    assert superposition_boundary(tensor(1.0)).item() == pytest.approx(4 / 7)
    values = [superposition_boundary(tensor(1.0), pieces).item() for pieces in (UNIFORM, LEVELS, UPPER_HALF, BINARY)]
    assert values == pytest.approx([0.5714, 0.4773, 0.3944, 0.3333], abs=5e-5)


@pytest.mark.parametrize("pieces", LAWS, ids=str)
def test_labels_change_at_the_boundary(pieces: Pieces) -> None:
    importance = torch.logspace(-1, 1, 21, dtype=torch.float64)
    boundary = superposition_boundary(importance, pieces)
    assert (phase_2_1(importance, boundary * 0.999, pieces) == Phase.SUPERPOSED).all()
    above = phase_2_1(importance, boundary * 1.001, pieces)
    assert ((above == Phase.IGNORED) | (importance >= 1)).all()
    assert ((above == Phase.DEDICATED) | (importance <= 1.001)).all()


def test_grid_of_three_features() -> None:
    importance, p = torch.logspace(-1, 1, 25, dtype=torch.float64), torch.logspace(-2, 0, 20, dtype=torch.float64)
    labels = phase_3_2(importance[:, None], p)
    assert labels.shape == (25, 20)
    assert {Phase(label) for label in labels.unique().tolist()} == set(Phase)
    # A rarer feature is more readily superposed: along each row, once superposed, it stays so as p falls.
    superposed = (labels == Phase.SUPERPOSED) | (labels == Phase.OTHERS_SUPERPOSED)
    assert (superposed[:, :-1] | ~superposed[:, 1:]).all()
    # An important extra feature gets its own dimension, and the others share.
    assert (labels[importance > 1.01] != Phase.IGNORED).all()
    assert (labels[importance < 0.99] != Phase.OTHERS_SUPERPOSED).all()


def test_correlated_pairs_collapse_at_a_quarter() -> None:
    p = tensor(CORRELATED_TRANSITION)
    assert collapsed_sets_loss(p).item() == antipodal_sets_loss(p).item() == 1 / 24
    half = 0.5**0.5
    on = torch.tensor([[0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]]).bool()
    for p in tensor(0.1, 0.25, 0.6):
        chance = torch.stack([(1 - p) ** 2, p * (1 - p), p * (1 - p), p**2])
        collapsed = torch.tensor([[half, 0], [half, 0], [0, half], [0, half]], dtype=torch.float64)
        antipodal = torch.tensor([[1, 0], [0, 1], [-1, 0], [0, -1]], dtype=torch.float64)
        losses = bottleneck_expected_loss(torch.stack([collapsed, antipodal]), torch.zeros(4).double(), on, chance).loss
        assert losses.tolist() == pytest.approx(
            [collapsed_sets_loss(p).item(), antipodal_sets_loss(p).item()], abs=1e-9
        )


def test_phase_of_weights_is_blind_to_rotation_and_scale() -> None:
    rotation = torch.linalg.qr(torch.randn(2, 2, generator=torch.Generator().manual_seed(0)))[0]
    W = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.05, 0.0]], [[1.0, 0.0], [-1.1, 0.0], [0.0, 0.9]]])
    assert phase_of_weights(3 * W @ rotation).tolist() == [Phase.IGNORED, Phase.OTHERS_SUPERPOSED]
    pairs = torch.tensor([[[1.0], [0.1]], [[0.1], [-2.0]], [[-0.7], [0.8]]])
    assert phase_of_weights(pairs).tolist() == [Phase.IGNORED, Phase.DEDICATED, Phase.SUPERPOSED]


def test_bad_input() -> None:
    with pytest.raises(UserError, match=r"pieces is .*; allowed: values ≥ 0"):
        moments(((1.0, -1.0, 1.0),))
    with pytest.raises(UserError, match=r"W is \(5, 2\); allowed: \[2, 1\] or \[3, 2\]"):
        phase_of_weights(torch.zeros(5, 2))
