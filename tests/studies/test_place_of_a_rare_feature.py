"""O01 on planted weights, and exact facts about its shapes."""

import math
from pathlib import Path

import pytest
import torch

from sup_lightning.functional.geometry import find_polytopes
from sup_lightning.modules import ToyModel
from sup_lightning.nn.exact_loss import ExactLoss
from sup_lightning.studies import places
from sup_lightning.studies.crossover import bracket
from sup_lightning.studies.exact import network
from sup_lightning.studies.open import place_of_a_rare_feature as study
from sup_lightning.studies.open.place_of_a_rare_feature import (
    CAPPED,
    HEXAGON,
    PENTAGON,
    PLACES,
    SEVEN,
    PlaceOfARareFeature,
    Search,
    capped_octahedron,
    saved_by_a_pair,
)
from sup_lightning.studies.places import Crossover
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import OWN_ROWS, answer, planted

TIMES = {0.005: 6.8, 0.01: 6.3, 0.02: 5.4, 0.05: 3.7, 0.1: 2.36, 0.15: 1.65}
SEVEN_SEEDS = {"seed": 6, "feature_probability": [[0.05 / times, *[0.05] * 6] for times in (1.0, 2.0, 3.0, 4.5, 7.0)]}


def instead(monkeypatch: pytest.MonkeyPatch, power: float | None, hexagon: float, excess: float) -> None:
    """Known crossovers and searches in place of those that take minutes."""

    def crossover(name: str, p: float) -> Crossover:
        times = TIMES[p] if power is None else 3.7 * (0.05 / p) ** power
        times = hexagon if name == HEXAGON else times
        return Crossover(times, 0.01, 1.1, (1.1, 1.1), 0.1)

    def branches(place: places.Place, p: float, ratios: torch.Tensor, *_: float) -> places.Branches:
        W = torch.stack([place.kept, place.dropped]).unsqueeze(1).expand(-1, len(ratios), -1, -1)
        losses = torch.stack([torch.ones_like(ratios), 1.5 * ratios**0.3])
        return places.Branches(ratios, losses, W, W[..., 0], torch.ones(2, len(ratios), dtype=torch.bool))

    monkeypatch.setattr(study, "crossover", crossover)
    monkeypatch.setattr(study, "search", lambda name, p, times: Search(times, excess, 0.5))
    monkeypatch.setattr(study.places, "branches", branches)


def plant(module: ToyModel, until: float) -> None:
    """Pentagon and pair up to some rarity of the first feature, then three pairs."""
    for k, p in enumerate(module.sweep.axes["feature_probability"]):
        place = PLACES[SEVEN]
        module.net.W[6 * k : 6 * k + 6] = (place.kept if p[1] / p[0] < until else place.dropped).float()


@pytest.mark.parametrize(
    ("power", "hexagon", "excess", "until", "outcomes"),
    [
        (None, 1.4, 0.0, 3.7, "YYYYYYY"),
        (0.7, 1.4, 0.0, 3.7, "NYNYYYY"),  # a power law
        (None, 5.0, -0.07, 20.0, "YYYYNNN"),  # another shape of seven, which keeps the feature; a hexagon that holds
    ],
)
def test_verdicts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    power: float | None,
    hexagon: float,
    excess: float,
    until: float,
    outcomes: str,
) -> None:
    instead(monkeypatch, power, hexagon, excess)
    runs = planted(
        PlaceOfARareFeature(), tmp_path, lambda _, module: plant(module, until), sweep=SEVEN_SEEDS, data=OWN_ROWS
    )
    found = answer(PlaceOfARareFeature(), runs)
    names = {"Y": Outcome.SUPPORTED, "N": Outcome.NOT_SUPPORTED}
    assert [claim.outcome for claim in found.claims] == [names[each] for each in outcomes]
    assert found.verdict == (Outcome.SUPPORTED if "N" not in outcomes else Outcome.MIXED)


def test_no_places_are_lost_in_pairs() -> None:
    saved = saved_by_a_pair(0.1, [1.0, 100.0])  # a pair costs r p² / 3 of r p / 3 without a bias, which saves more
    assert (saved > 1 - 0.1 / (1 - 0.75 * 0.1) - 0.01).all()
    assert (saved < 1).all()


def test_shapes_in_dimensions_of_their_own_add_up() -> None:
    p = torch.tensor([0.02, *[0.05] * 6], dtype=torch.float64)
    W, b = PLACES[SEVEN].kept, torch.tensor([-0.2] * 5 + [0.01] * 2, dtype=torch.float64)

    def loss(rows: slice, columns: slice) -> float:
        net = network(W[rows, columns].unsqueeze(0), b[rows].unsqueeze(0))
        return float(ExactLoss.independent(p[rows].unsqueeze(0), tolerance=1e-7)(net).detach())

    whole = loss(slice(0, 7), slice(0, 3))
    assert whole == pytest.approx(loss(slice(0, 5), slice(0, 2)) + loss(slice(5, 7), slice(2, 3)), abs=1e-6)


def test_capped_octahedron() -> None:
    W = capped_octahedron()
    assert torch.allclose(W.norm(dim=1), torch.ones(7, dtype=torch.float64))
    cosine = W @ W.T
    assert torch.allclose(cosine[0, 1:4], torch.tensor(0.25, dtype=torch.float64))  # the face that is pushed open
    assert torch.allclose(cosine[0, 4:], torch.tensor(-0.66, dtype=torch.float64))
    assert int((cosine < -0.85).sum()) == 6  # three near-antipodal pairs
    assert len(find_polytopes(W)) == 1  # it does not fall into shapes in dimensions of their own


def test_bracket_of_a_known_crossing() -> None:
    low, high = bracket(lambda x: x + math.log(3.7), -math.log(12), 0.0, error=2e-6, n=6, rounds=3)
    assert low < -math.log(3.7) < high
    assert high - low < 0.021
    assert set(PLACES) == {PENTAGON, HEXAGON, CAPPED, SEVEN}
