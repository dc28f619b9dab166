"""M05 on planted weights, and its exact crossovers."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sup_lightning.modules import ToyModel
from sup_lightning.studies.crossover import bracket, trained_crossover
from sup_lightning.studies.paper import density_crossover
from sup_lightning.studies.paper.density_crossover import (
    DensityCrossover,
    branches,
    crossover,
    sampled_advantage,
)
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import answer, planted

RATIOS = (1.0, 0.65, 0.45, 0.3, 0.2, 0.14, 0.1)
SIX = {"seed": 6, "feature_probability": [[0.05 * ratio, *[0.05] * 4] for ratio in RATIOS]}


def plant(module: ToyModel, always_pentagon: bool) -> None:
    """The better of both optima, or always the pentagon."""
    settings = module.sweep.axes["feature_probability"]
    for p in {each[1] for each in settings}:
        here = [k for k, each in enumerate(settings) if each[1] == p]
        found = branches(p, torch.tensor([settings[k][0] / p for k in here]).double())
        for place, k in enumerate(here):
            which = 0 if always_pentagon else int(found.losses[:, place].argmin())
            module.net.W[6 * k : 6 * k + 6] = found.W[which, 0 if always_pentagon else place].float()
            module.net.b[6 * k : 6 * k + 6] = found.b[which, place].float()


@pytest.fixture(autouse=True)
def _few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(density_crossover, "N_ROWS", 2**19)


def test_the_better_shape_supports_it(tmp_path: Path) -> None:
    study = DensityCrossover()
    found = answer(study, planted(study, tmp_path, lambda _, module: plant(module, False), sweep=SIX))
    assert [claim.outcome for claim in found.claims] == [Outcome.SUPPORTED] * 4
    assert found.comparisons[0].contradicted


def test_a_pentagon_that_stays_does_not(tmp_path: Path) -> None:
    study = DensityCrossover()
    found = answer(study, planted(study, tmp_path, lambda _, module: plant(module, True), sweep=SIX))
    assert found.claims[-1].outcome == Outcome.NOT_SUPPORTED
    assert found.verdict == Outcome.MIXED  # three claims are about exact optima, not about training


@pytest.mark.parametrize(("p", "ratio"), [(0.02, 5.4), (0.05, 1 / 0.268), (0.1, 2.36), (0.15, 1.65)])
def test_exact_crossovers(p: float, ratio: float) -> None:
    found = crossover(p)
    assert found.ratio == pytest.approx(ratio, rel=0.01)
    assert found.error < 0.01 * found.ratio
    assert found.jumps[0] <= found.jump <= found.jumps[1] < found.jumps[0] + 0.01


def test_samples_agree_with_the_exact_loss() -> None:
    found = branches(0.1, torch.tensor([0.8], dtype=torch.float64))
    sampled, error = sampled_advantage(found, 0.1, n_rows=2**19)
    assert abs(sampled - float(found.losses[1] - found.losses[0])) < 4 * error


def test_crossover_of_trained_models_at_the_ends() -> None:
    assert trained_crossover([1.0, 0.5], torch.tensor([True, True])) == pytest.approx(8**0.5)
    assert trained_crossover([1.0, 0.5], torch.tensor([False, False])) == pytest.approx(0.5**0.5)


def test_what_was_dropped_and_is_kept_again_has_no_crossover() -> None:
    assert math.isnan(trained_crossover([1.0, 0.5, 0.25], torch.tensor([True, False, True])))


@pytest.mark.parametrize("lead", [lambda x: x + 1, lambda x: (x - 0.5).where(x > 0.1, torch.nan), lambda x: -x])
def test_no_bracket_without_certain_signs(lead: Callable[[Tensor], Tensor]) -> None:
    assert all(map(math.isnan, bracket(lead, 0.0, 1.0, error=0.45)))


def test_bracket_stays_outside_the_error() -> None:
    low, high = bracket(lambda x: x - 0.3, 0.0, 1.0, error=0.1)
    assert low <= 0.2
    assert high >= 0.4
