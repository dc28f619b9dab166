"""M09 on neurons made by hand."""

from pathlib import Path

import torch
from torch import Tensor

from sup_lightning.functional.basis import random_rotations
from sup_lightning.modules import ToyModel
from sup_lightning.studies.paper.privileged_basis import RELU, PrivilegedBasis, monosemantic
from sup_lightning.studies.study import Answer
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import answer, planted

SINGLE = torch.cat([torch.eye(5), torch.zeros(5, 5)])
"""A neuron for each of the first five features."""
SHARED = torch.cat([torch.eye(5), torch.eye(5).roll(1, dims=0)]) * 0.7 + torch.eye(5).roll(2, dims=0).repeat(2, 1) * 0.7
"""Four features to a neuron."""


def found(folder: Path, dense: Tensor, sparse: Tensor) -> Answer:
    turn = random_rotations(5, 1)[0].float()

    def plant(experiment: str, model: ToyModel) -> None:
        p = torch.tensor(model.sweep.values("feature_probability", 0.0))
        W = torch.where((p > 0.2).view(-1, 1, 1), dense, sparse)
        model.net.W.copy_(W if experiment == RELU else W @ turn)

    study = PrivilegedBasis()
    few = {"val_batch_size": 256, "val_batches": 2}
    return answer(study, planted(study, folder, plant, data=few, sweep={"seed": 8}))


def test_dense_single_and_sparse_shared_neurons(tmp_path: Path) -> None:
    result = found(tmp_path, SINGLE, SHARED)
    assert result.verdict == Outcome.SUPPORTED
    assert [claim.effect for claim in result.claims[1:]] == [1.0, 0.0]
    spread = result.tables["neurons"].set_index("hidden")["rotation_spread_median"]
    assert (spread["linear"] < 1e-5).all()
    assert (spread["relu"] > 0.1).all()


def test_the_other_way_round(tmp_path: Path) -> None:
    result = found(tmp_path, SHARED, SINGLE)
    outcomes = [claim.outcome for claim in result.claims]
    assert outcomes == [Outcome.SUPPORTED, Outcome.NOT_SUPPORTED, Outcome.NOT_SUPPORTED]
    assert result.verdict == Outcome.MIXED


def test_nothing_is_privileged_without_weights(tmp_path: Path) -> None:
    result = found(tmp_path, 0 * SINGLE, SINGLE * 0)
    assert result.claims[0].outcome == Outcome.NOT_SUPPORTED
    assert result.claims[1].outcome == Outcome.NOT_SUPPORTED


def test_monosemantic() -> None:
    W = torch.tensor([[1.0, 1.0, 0.1, 1.0], [0.0, 0.5, 0.0, -0.2], [0.0, 0.0, 0.0, 0.2]])
    assert monosemantic(W).tolist() == [True, False, False, True]
