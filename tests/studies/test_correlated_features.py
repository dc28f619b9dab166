"""M06 on planted weights."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sup_lightning.modules import ToyModel
from sup_lightning.studies.paper import correlated_features
from sup_lightning.studies.paper.correlated_features import (
    CORRELATED,
    THREE_SETS,
    CorrelatedFeatures,
    locality,
    merged_sets,
    sampled_losses,
    transition,
    within_and_across,
)
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import answer, planted

SMALL = {"seed": 6, "feature_probability": [0.3, 0.2, 0.05]}
MERGED = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]) / 2**0.5
APART = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])  # orthogonal within sets
PAIRED = APART[[0, 2, 1, 3]]  # antipodal within sets


def directions(degrees: list[float], length: float) -> Tensor:
    angle = torch.tensor(degrees) * math.pi / 180
    return length * torch.stack([angle.cos(), angle.sin()], dim=1)


THREE_MERGED = directions([0, 0, 120, 120, 240, 240], 0.7)
HEXAGON = directions([0, 60, 120, 180, 240, 300], 1.1)
BASES = torch.cat([torch.eye(10), -torch.eye(10)])


def every_set(experiment: str, module: ToyModel) -> None:
    """What is expected at the three densities."""
    shapes = {
        CORRELATED: [MERGED, APART, APART],
        correlated_features.ANTICORRELATED: [PAIRED] * 3,
        correlated_features.INDEPENDENT: [APART] * 3,
        THREE_SETS: [THREE_MERGED, THREE_MERGED, HEXAGON],
        correlated_features.LOCAL: [BASES] * 3,
        correlated_features.LOCAL_INDEPENDENT: [BASES] * 3,
    }
    module.net.W[:] = torch.stack(shapes[experiment]).repeat_interleave(6, dim=0)


def no_set(experiment: str, module: ToyModel) -> None:
    """Overlaps that do not know of the sets, and never change with the density."""
    generator = torch.Generator().manual_seed(0)
    shape = module.net.W.shape[1:]
    W = PAIRED if experiment == CORRELATED else APART
    module.net.W[:] = W if len(W) == shape[0] else torch.randn(shape, generator=generator)


@pytest.fixture(autouse=True)
def _few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlated_features, "N_ROWS", 2**17)


def test_sets_support_it(tmp_path: Path) -> None:
    found = answer(CorrelatedFeatures(), planted(CorrelatedFeatures(), tmp_path, every_set, sweep=SMALL))
    assert [claim.outcome for claim in found.claims] == [Outcome.SUPPORTED] * 6


def test_overlaps_without_order_do_not(tmp_path: Path) -> None:
    found = answer(CorrelatedFeatures(), planted(CorrelatedFeatures(), tmp_path, no_set, sweep=SMALL))
    outcomes = [claim.outcome for claim in found.claims]
    assert outcomes.pop(1) == Outcome.SUPPORTED  # it is about exact optima, not about training
    assert outcomes == [Outcome.NOT_SUPPORTED] * 5
    assert found.verdict == Outcome.MIXED


def test_exact_transition_is_near_a_quarter() -> None:
    low, high = transition()
    assert low <= 0.2579 <= high
    assert high - low < 1e-3


def test_samples_of_correlated_sets() -> None:
    silent = torch.zeros(2, 4, 2)  # predicts 0: the loss is the second moment, 4 p / 3
    losses, _ = sampled_losses(silent, torch.zeros(2, 4), 0.3, 2, n_rows=2**17)
    assert losses.tolist() == pytest.approx([0.4, 0.4], rel=0.02)
    merged = sampled_losses(torch.stack([MERGED, APART]), torch.zeros(2, 4), 0.3, 2, n_rows=2**17)[0]
    assert merged.tolist() == pytest.approx([0.3 / 6, 2 * 0.3**2 / 3], rel=0.02)


def test_cosines_of_sets() -> None:
    within, across = within_and_across(APART, 2)
    assert within.tolist() == pytest.approx([0, 0])
    assert sorted(across.tolist()) == pytest.approx([-1, -1, 0, 0])
    assert merged_sets(THREE_MERGED, 2) == 3
    assert merged_sets(HEXAGON, 2) == 0
    assert locality(BASES, 10) == 0
