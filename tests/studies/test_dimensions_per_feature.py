"""M04 on hand-made polytopes: the plateaus as they should be, and random directions in their place."""

from pathlib import Path

import pytest
import torch

from sup_lightning.functional.dimensionality import feature_dimensionality
from sup_lightning.functional.keyed_random import keyed_normal
from sup_lightning.modules import ToyModel
from sup_lightning.nn import BottleneckModel, ExactLoss, find_optimum
from sup_lightning.studies.paper.dimensions_per_feature import DimensionsPerFeature, dense_optimum
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import answer, planted

N_FEATURES, N_HIDDEN = 100, 10


def plateaus(experiment: str, model: ToyModel) -> None:
    """Own dimensions up to 1/p = 1.2, antipodal pairs from there."""
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
    assert [claim.effect for claim in found.claims] == pytest.approx([0, 1, 0, 0, 1, 0], abs=1e-6)
    table = found.tables["points"]
    assert table["share digon"].tolist() == [0.0 if x < 1.25 else 1.0 for x in table["inverse_p"]]


def test_planted_random_directions_are_refused(study: DimensionsPerFeature, tmp_path: Path) -> None:
    found = answer(study, planted(study, tmp_path, random_directions))
    assert found.verdict == Outcome.NOT_SUPPORTED


def test_dense_features_are_better_mixed_than_with_a_dimension_each() -> None:
    """The exact claim against plain sampling: at p = .9 the optimum beats the aligned solution on the same rows."""
    p = 0.9
    W, optimum, aligned = dense_optimum(p)
    assert optimum < aligned - 1e-3
    assert feature_dimensionality(W).max() < 0.7
    generator = torch.Generator().manual_seed(0)
    rows = 2_000_000
    x = torch.rand(rows, 4, generator=generator) * (torch.rand(rows, 4, generator=generator) < p)
    b = fit_bias(W.float(), p)
    mixed = ((x @ W.float() @ W.float().T + b).relu() - x).square().sum(1)
    apart = (x[:, 2:] - p / 2).square().sum(1)
    difference = apart - mixed
    assert difference.mean() > 8 * difference.std() / rows**0.5
    assert mixed.mean().item() == pytest.approx(optimum, abs=4 * float(mixed.std()) / rows**0.5)


def fit_bias(W: torch.Tensor, p: float) -> torch.Tensor:
    """The bias of the optimum with these directions."""
    net = BottleneckModel(4, [0], n_hidden=2)
    net.W.data.copy_(W)
    net.W.requires_grad_(False)
    net.b.data.fill_(0.3)
    find_optimum(net, ExactLoss.independent(torch.full((4,), p)), max_evaluations=100)
    return net.b.detach()[0].float()
