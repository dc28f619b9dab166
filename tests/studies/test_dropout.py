"""T01 on models made by hand, and the rotation sweep of exact optima."""

import math
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sup_lightning.errors import UserError
from sup_lightning.functional.basis import random_rotations
from sup_lightning.functional.keyed_random import keyed_uniform
from sup_lightning.modules import ToyModel
from sup_lightning.studies.study import Answer
from sup_lightning.studies.toy import dropout, dropout_measures
from sup_lightning.studies.toy.dropout import Dropout
from sup_lightning.studies.toy.dropout_measures import (
    ExactOptimum,
    exact_optimum,
    quarter_turns,
    sampled_turned_losses,
    spread,
)
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import answer, planted

RATE = 0.2
SPREAD = {2: 0.7184, 4: 0.00678, 5: 0.0251}
"""Of the exact loss over rotations, known from an enumeration of the masks on a fine grid of angles."""
COARSE = {2: 0.716, 4: 0.0064, 5: 0.024}
"""The same on a coarse grid, which misses the extremes."""
FEW = {"sweep": {"seed": 6, "dropout": [0.0, RATE]}, "data": {"val_batches": 1}}
"""Rates, seeds and rows with which planted models are measured."""


@cache
def optimum(n_features: int) -> ExactOptimum:
    return exact_optimum(n_features, 0.05, [RATE])


def turned(W: Tensor, seeds: list[int]) -> Tensor:
    """W turned at random for each seed, `[n_seeds, n_features, 2]`."""
    angle = 2 * math.pi * keyed_uniform("planted turns", seeds, len(W), (1,))
    turns = torch.stack([angle.cos(), angle.sin(), -angle.sin(), angle.cos()], dim=-1).view(-1, 2, 2)
    return W.float() @ turns


@cache
def five_pairs() -> Tensor:
    """Ten features as antipodal pairs in five dimensions, turned to the best of some orientations."""
    W = torch.cat([torch.eye(5), -torch.eye(5)]) * 0.85
    x = torch.rand(2000, 10, generator=torch.Generator().manual_seed(0))
    x *= torch.rand(2000, 10, generator=torch.Generator().manual_seed(1)) < 0.05
    rotations = random_rotations(5, 200, seed=9)
    losses = sampled_turned_losses(W.unsqueeze(0), torch.zeros(1, 10), torch.tensor([RATE]), x, rotations)
    return W @ rotations[losses.flatten().argmin()].float()


def found(folder: Path, monkeypatch: pytest.MonkeyPatch, disturbed: bool) -> Answer:
    """The answer on exact optima where masks were used (if `disturbed`) and on turned shapes elsewhere."""
    monkeypatch.setattr(dropout, "exact_optimum", lambda n_features, *_: optimum(n_features))
    monkeypatch.setattr(dropout_measures, "N_ANGLES_TRAINED", 12)
    monkeypatch.setattr(dropout_measures, "N_ROTATIONS", 24)
    large, apart = five_pairs(), torch.eye(2) * 0.9

    def plant(experiment: str, model: ToyModel) -> None:
        n_features, n_hidden = model.feature_directions().shape[1:]
        seeds, rates = model.sweep.seeds, torch.tensor(model.dropout)
        masked = disturbed and "gaussian" not in experiment
        model.net.b.zero_()
        if n_hidden == 5:
            turns = random_rotations(5, len(seeds)).float()
            W = large if masked else large @ turns
        elif n_features == 1:
            W = turned(torch.tensor([[0.8, 0.0]]), seeds)
        else:
            best = optimum(n_features)
            model.net.b.copy_(best.b[0])
            W = best.W[0].float() if masked else turned(apart if n_features == 2 else best.W[0], seeds)
        model.net.W.copy_(W)
        if masked and n_features == 2:
            model.net.W[rates == 0] = turned(apart, seeds)[rates == 0]

    return answer(Dropout(), planted(Dropout(), folder, plant, **FEW))


def test_planted_optima_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = found(tmp_path, monkeypatch, disturbed=True)
    assert result.verdict == Outcome.SUPPORTED, result.claims


def test_planted_random_turns_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = found(tmp_path, monkeypatch, disturbed=False)
    trained = [claim.outcome for claim in result.claims[3:9]]
    assert Outcome.SUPPORTED not in trained
    assert result.verdict != Outcome.SUPPORTED


@pytest.mark.parametrize("n_features", SPREAD)
def test_the_exact_loss_depends_on_the_basis_by_what_is_known(n_features: int) -> None:
    """Angles half a degree apart find the extremes, as those a degree apart do; a coarse grid misses some of it."""
    sweep = float(optimum(n_features).spread[0])
    assert optimum(n_features).converged.all()
    assert sweep == pytest.approx(SPREAD[n_features], rel=2e-3)
    assert sweep == pytest.approx(float(spread(optimum(n_features).turned[::2])[0]), rel=1e-3)
    assert COARSE[n_features] < sweep < 1.08 * COARSE[n_features]


def test_the_optimum_sits_where_turning_it_does_not_help() -> None:
    for n_features in (2, 4):
        best = optimum(n_features)
        assert float(best.turned[0]) == pytest.approx(float(best.turned.min()), rel=1e-5)
        assert float(best.turned[0]) == pytest.approx(float(best.loss), rel=1e-5)


def test_two_features_share_the_diagonal() -> None:
    W = optimum(2).W[0]
    torch.testing.assert_close(W.abs(), W.abs().mean().expand(2, 2), rtol=1e-3, atol=0)
    assert float(torch.nn.functional.cosine_similarity(W[0], W[1], dim=0)) == pytest.approx(-1, abs=1e-4)


def test_quarter_turns_end_before_the_neurons_are_permuted() -> None:
    turns = quarter_turns(3)
    assert torch.allclose(turns[0], torch.eye(2, dtype=torch.float64))
    assert float(turns[1, 0, 0]) == pytest.approx(math.cos(math.pi / 6))


def test_bad_probability() -> None:
    with pytest.raises(UserError, match=r"feature_probability is 0; allowed: a number in \(0, 1\]"):
        Dropout(feature_probability=0)
