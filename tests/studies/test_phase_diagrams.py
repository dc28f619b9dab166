"""M03 on weights that are made by hand: the optima at every point, and the same weights at all points."""

from pathlib import Path

import torch

from sup_lightning.functional.phase import Phase
from sup_lightning.modules import ToyModel
from sup_lightning.studies.paper.phase_diagrams import STARTS, PhaseDiagrams, closed_phases, exact_optima, interior
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import answer, planted

P = [0.05, 0.1, 0.9, 1.0]
IMPORTANCE = [0.1, 0.15, 7.0, 10.0]


def small(n_features: int) -> dict[str, object]:
    return {
        "seed": 6,
        "feature_probability": P,
        "importance": [[1.0] * (n_features - 1) + [last] for last in IMPORTANCE],
    }


class SmallGrid(PhaseDiagrams):
    def overrides(self, experiment: str) -> dict[str, object]:
        return {"sweep": small(2 if "2-1" in experiment else 3)}


def runs(folder: Path, plant: object) -> dict[str, object]:
    study = SmallGrid()
    found = {}
    for experiment in study.experiments:
        one = type("One", (SmallGrid,), {"experiments": (experiment,)})()
        found |= planted(one, folder, plant, **study.overrides(experiment))  # type: ignore[arg-type]
    return found


def optimal(experiment: str, model: ToyModel) -> None:
    """At every point the named solution that is next to the exact optimum."""
    n_features = 2 if "2-1" in experiment else 3
    labels, _ = exact_optima(torch.tensor(P).double(), torch.tensor(IMPORTANCE).double(), n_features)
    W = torch.tensor(STARTS[n_features])[labels.flatten()]
    model.net.W.copy_(W.repeat_interleave(6, 0))


def never_superposed(experiment: str, model: ToyModel) -> None:
    """At every point the last feature is left out."""
    n_features = 2 if "2-1" in experiment else 3
    model.net.W.copy_(torch.tensor(STARTS[n_features][Phase.IGNORED]))


def test_planted_optima_are_found(tmp_path: Path) -> None:
    found = answer(SmallGrid(), runs(tmp_path, optimal))  # type: ignore[arg-type]
    assert found.verdict == Outcome.SUPPORTED
    assert all(claim.effect == 1 for claim in found.claims)


def test_planted_ignorance_is_refused(tmp_path: Path) -> None:
    found = answer(SmallGrid(), runs(tmp_path, never_superposed))  # type: ignore[arg-type]
    assert found.verdict == Outcome.NOT_SUPPORTED
    assert all(claim.effect < 0.5 for claim in found.claims)


def test_exact_optima_have_the_closed_form_labels_away_from_boundaries() -> None:
    p, importance = torch.tensor([0.02, 0.95]).double(), torch.tensor([0.1, 10.0]).double()
    assert torch.equal(exact_optima(p, importance, 2)[0], closed_phases(p, importance, 2))
    assert torch.equal(exact_optima(p, importance, 3)[0][0], closed_phases(p, importance, 3)[0])


def test_interior_of_a_map() -> None:
    labels = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 0, 0]])
    wanted = torch.tensor([[True, True, False], [True, False, False], [True, True, False]])
    assert torch.equal(interior(labels), wanted)
