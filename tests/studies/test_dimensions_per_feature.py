"""M04 on hand-made polytopes: the plateaus as they should be, and random directions in their place."""

from pathlib import Path

import pytest
import torch

from sup_lightning.functional.keyed_random import keyed_normal
from sup_lightning.modules import ToyModel
from sup_lightning.studies.paper.dimensions_per_feature import DimensionsPerFeature
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import answer, planted

N_FEATURES, N_HIDDEN = 100, 10


def plateaus(experiment: str, model: ToyModel) -> None:
    """Own dimensions down to 1/p = 1.2, antipodal pairs from there."""
    own, pairs = torch.zeros(2, N_FEATURES, N_HIDDEN)
    own[:N_HIDDEN] = torch.eye(N_HIDDEN)
    pairs[: 2 * N_HIDDEN] = torch.cat([torch.eye(N_HIDDEN), -torch.eye(N_HIDDEN)])
    p = torch.tensor(model.sweep.values("feature_probability", 1.0))
    model.net.W.copy_(torch.where((p > 0.8)[:, None, None], own, pairs))


def random_directions(experiment: str, model: ToyModel) -> None:
    """Forty features of length 1 anywhere."""
    W = keyed_normal("planted", model.sweep.seeds, 0, (N_FEATURES, N_HIDDEN))
    W /= W.norm(dim=-1, keepdim=True)
    W[:, 40:] = 0
    model.net.W.copy_(W)


@pytest.fixture
def study() -> DimensionsPerFeature:
    return DimensionsPerFeature()


def test_planted_plateaus_are_found(study: DimensionsPerFeature, tmp_path: Path) -> None:
    found = answer(study, planted(study, tmp_path, plateaus))
    assert found.verdict == Outcome.SUPPORTED
    assert [claim.effect for claim in found.claims] == pytest.approx([0, 0, 0, 0, 1, 0], abs=1e-6)
    table = found.tables["points"]
    assert table["share digon"].tolist() == [0.0 if x < 1.25 else 1.0 for x in table["inverse_p"]]


def test_planted_random_directions_are_refused(study: DimensionsPerFeature, tmp_path: Path) -> None:
    found = answer(study, planted(study, tmp_path, random_directions))
    assert found.verdict == Outcome.NOT_SUPPORTED
