"""T07, T08, T09 on weights made by hand, and what is known exactly of their value laws."""

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sup_lightning.data import ConstantValue, DiscreteValues, UniformValues, ValueLaw
from sup_lightning.errors import UserError
from sup_lightning.functional.expected_loss import Pieces, bottleneck_expected_loss, independent_supports
from sup_lightning.functional.phase import moments, superposition_boundary
from sup_lightning.modules import ToyModel
from sup_lightning.studies.study import Answer, Study
from sup_lightning.studies.toy import phase_point as exact
from sup_lightning.studies.toy.phase_point import LocalOptima, exact_phase_point, exact_savings, phase_point, saving
from sup_lightning.studies.toy.value_law_geometry import Geometry
from sup_lightning.studies.toy.value_law_study import gate
from sup_lightning.studies.toy.value_laws import BinaryFeatures, DiscreteLevels, NeverWeak
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import answer, planted

LAWS: dict[str, ValueLaw] = {
    "uniform": UniformValues(),
    "binary": ConstantValue(3**-0.5),
    "levels": DiscreteValues([level / 14**0.5 for level in (1, 2, 3)]),
    "upper-half": UniformValues(0.5 * (4 / 7) ** 0.5, (4 / 7) ** 0.5),
}
"""Of the second moment of uniform values."""
NATURAL: dict[str, ValueLaw] = {
    "binary-natural": ConstantValue(1.0),
    "levels-natural": DiscreteValues([1, 2, 3]),
    "upper-half-natural": UniformValues(0.5, 1.0),
}
P_STAR = {"uniform": 4 / 7, "binary": 1 / 3, "levels": 0.477, "upper-half": 0.394}


@cache
def _found(p: tuple[float, ...], pieces: Pieces, search: Callable[[Tensor, Pieces], LocalOptima]) -> LocalOptima:
    return search(torch.tensor(p, dtype=torch.float64), pieces)


def local_optima(p: Tensor, pieces: Pieces, search: Any = exact.local_optima) -> LocalOptima:
    """The module's own, looked for once for what several tests share."""
    return _found(tuple(p.tolist()), tuple(pieces), search)


@pytest.fixture(autouse=True)
def _shared_optima(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "local_optima", local_optima)


def law_of(experiment: str) -> ValueLaw:
    return (LAWS | NATURAL)[experiment.split("_")[-1]]


def points(model: ToyModel) -> Tensor:
    return torch.tensor(model.sweep.axes["feature_probability"], dtype=torch.float64)


def plant_optima(model: ToyModel, p: Tensor, law: ValueLaw) -> None:
    """At each point the best exact weights."""
    found = local_optima(p, law.pieces)
    best, at = found.savings.argmax(-1), torch.arange(len(p))
    model.net.W.copy_(found.W[at, best].repeat_interleave(model.sweep.n_seeds, 0))
    model.net.b.copy_(found.b[at, best].repeat_interleave(model.sweep.n_seeds, 0))


def plant_alone(model: ToyModel, p: Tensor, law: ValueLaw, n_hidden: int) -> None:
    """A dimension for each of the first features, the others at their mean."""
    model.net.W.zero_()
    model.net.W[:, :n_hidden] = torch.eye(n_hidden)
    model.net.b[:] = (p.repeat_interleave(model.sweep.n_seeds) * moments(law.pieces)[0]).unsqueeze(1)
    model.net.b[:, :n_hidden] = 0


def as_before(experiment: str, model: ToyModel) -> None:
    """The exact optima of two features, and two antipodal pairs of eight features, whatever the law."""
    p, law = points(model), law_of(experiment)
    if "phase" in experiment:
        plant_optima(model, p, law)
        return
    plant_alone(model, p, law, n_hidden=2)
    model.net.W[:, 2:4] = -torch.eye(2)
    model.net.b[:, :4] = 0


def not_as_before(experiment: str, model: ToyModel) -> None:
    """No sharing at all but in the control's geometry."""
    p, law = points(model), law_of(experiment)
    if experiment == "t07_geometry_uniform":
        as_before(experiment, model)
    else:
        plant_alone(model, p, law, n_hidden=1 if "phase" in experiment else 2)


def found(study: Study, plant: object, folder: Path) -> Answer:
    return answer(study, planted(study, folder, plant))  # type: ignore[arg-type]


@pytest.mark.parametrize("study", [BinaryFeatures(), DiscreteLevels(), NeverWeak()], ids=lambda study: study.id)
def test_planted_sameness_is_found(study: Study, tmp_path: Path) -> None:
    runs = planted(study, tmp_path, as_before)
    for experiment, run in runs.items():
        pieces = run.data.features.values.pieces  # type: ignore[attr-defined]
        for piece, wanted in zip(pieces, law_of(experiment).pieces, strict=True):
            assert piece == pytest.approx(wanted, abs=1e-7)
    result = answer(study, runs)
    assert result.gate == ""
    assert result.verdict == Outcome.SUPPORTED, result.claims
    counts = result.tables["geometry"]["represented_best"]
    assert (counts == 4).all()
    assert set(result.tables["geometry"]["polytopes_best"]) == {"2 digons"}


def test_planted_difference_is_found(tmp_path: Path) -> None:
    result = found(BinaryFeatures(), not_as_before, tmp_path)
    assert result.verdict == Outcome.NOT_SUPPORTED
    assert all(claim.outcome == Outcome.NOT_SUPPORTED for claim in result.claims)


def test_nothing_is_said_if_the_control_shows_no_superposition() -> None:
    W = torch.eye(2).repeat(4, 1)[:3] * torch.tensor([1.0, 1.0, 0.0]).unsqueeze(1)
    one = torch.ones(1, 1, dtype=torch.float64)
    control = Geometry([0.1], W.view(1, 1, 3, 2), one, one, one.unsqueeze(-1), 1 / 3)
    assert "only 2 features in 2 dimensions" in gate(control)


@pytest.mark.parametrize("name", LAWS)
def test_second_moments_match_and_closed_forms_do_not_depend_on_the_scale(name: str) -> None:
    pieces = LAWS[name].pieces
    mean, square, smaller = moments(pieces)
    assert square == pytest.approx(1 / 3)
    boundary = float(superposition_boundary(torch.tensor(1.0, dtype=torch.float64), pieces))
    assert boundary == pytest.approx(square / (2 * smaller + mean**2), rel=1e-12)
    assert boundary == pytest.approx(P_STAR[name], abs=5e-4)
    if name != "uniform":
        natural = NATURAL[f"{name}-natural"].pieces
        assert float(superposition_boundary(torch.tensor(1.0, dtype=torch.float64), natural)) == pytest.approx(boundary)


def test_binary_pairs_have_a_closed_form() -> None:
    """With t = p (1 - p), the best bias of a symmetric pair leaves 2 t² / (1 - 2 t) in place of t.

    One output is 1 where its feature fires alone and b where none or both do; b = p² / (p² + (1 - p)²) is best.
    """
    p = torch.tensor([0.3, 0.35, 0.4], dtype=torch.float64)
    t = p * (1 - p)
    pair, other = exact_savings(p, LAWS["binary"].pieces)
    torch.testing.assert_close(pair, 1 - 2 * t / (1 - 2 * t), rtol=0, atol=1e-5)
    assert ((other > 0) & (other < pair)).all()


def test_binary_features_are_a_pair_up_to_one_half() -> None:
    """By the four possible inputs: a pair of two lengths is better just below, other weights just above."""
    pieces = NATURAL["binary-natural"].pieces
    low, high = exact_phase_point(pieces)
    assert low <= 0.5 <= high
    assert high - low < 5e-3
    p = torch.tensor([0.48, 0.52], dtype=torch.float64)
    found = local_optima(p, pieces)
    x = torch.cartesian_prod(torch.arange(2.0), torch.arange(2.0)).double()
    chance = torch.where(x > 0, p.view(2, 1, 1), 1 - p.view(2, 1, 1)).prod(-1)  # [n_points, 4]
    output = (x @ found.W @ found.W.mT + found.b.unsqueeze(-2)).relu()
    losses = (chance.unsqueeze(1) * (output - x).square().sum(-1)).sum(-1)
    torch.testing.assert_close(saving(losses, p.unsqueeze(1), pieces), found.savings, rtol=0, atol=1e-7)
    pair = torch.where(found.antipodal, losses, math.inf).amin(1)
    other = torch.where(found.antipodal, math.inf, losses).amin(1)
    assert (pair < other).tolist() == [True, False]


@pytest.mark.parametrize("n", [5, 8, 12])
def test_single_binary_features_are_read_without_error_however_many_there_are(n: int) -> None:
    angle = 2 * torch.pi * torch.arange(n, dtype=torch.float64) / n
    cosine = math.cos(2 * math.pi / n)
    W = torch.stack([angle.cos(), angle.sin()], dim=1) / math.sqrt(1 - cosine)
    b = torch.full((n,), -cosine / (1 - cosine), dtype=torch.float64)
    supports, _ = independent_supports(torch.full((n,), 0.05, dtype=torch.float64))
    alone = supports[supports.sum(1) == 1]
    chance = torch.full((n,), 1 / n, dtype=torch.float64)
    for law, worst in (("binary-natural", 1e-12), ("upper-half-natural", None)):
        loss = float(bottleneck_expected_loss(W, b, alone, chance, pieces=NATURAL[law].pieces).loss)
        assert loss < worst if worst else loss > 1e-3


def test_phase_point_at_the_ends() -> None:
    assert phase_point([0.1, 0.2], torch.tensor([True, True])) == 0.2
    assert phase_point([0.1, 0.2], torch.tensor([False, True])) == 0.1


def test_options_are_checked() -> None:
    with pytest.raises(UserError, match="n_features is 2; allowed: more than n_hidden"):
        BinaryFeatures(n_features=2, n_hidden=2)
