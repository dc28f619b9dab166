import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from sup_lightning.data import SyntheticFeatures
from sup_lightning.data.tasks import AbsoluteValue
from sup_lightning.errors import UserError
from sup_lightning.experiment import Run
from sup_lightning.modules import ToyModel
from sup_lightning.nn.bottleneck import BottleneckModel
from sup_lightning.nn.exact_loss import ExactLoss
from sup_lightning.studies.exact import (
    exact_losses,
    network,
    optima_of,
    optimum_from,
    points,
    toy_parts,
    untrained_directions,
)
from sup_lightning.studies.paper.intro import Intro
from tests.studies.planting import planted

SMALL = {"seed": 3, "feature_probability": [0.1, 0.05]}
ANGLES = 2 * math.pi * torch.arange(5) / 5
PENTAGON = torch.stack([ANGLES.cos(), ANGLES.sin()], dim=1)


def test_the_pentagon_has_its_known_optimum() -> None:
    objective = ExactLoss.independent(torch.full((2, 5), 0.05), tolerance=1e-7)
    losses, W, b, converged = optimum_from(objective, PENTAGON.expand(2, 5, 2), torch.zeros(2, 5))
    assert objective.tolerance == 1e-7
    assert converged.all()
    assert losses.tolist() == pytest.approx([0.0089036] * 2, abs=2e-6)
    assert W.norm(dim=-1).flatten().tolist() == pytest.approx([1.135] * 10, abs=2e-3)
    assert b.flatten().tolist() == pytest.approx([-0.246] * 10, abs=2e-3)


def test_exact_losses_are_those_of_the_rows(tmp_path: Path) -> None:
    def plant(experiment: str, module: ToyModel) -> None:
        module.net.W[::3] = PENTAGON

    rows = {"val_batch_size": 4096, "val_batches": 32}
    run = planted(Intro(), tmp_path, plant, sweep=SMALL, data=rows)["m01_intro-uniform"]
    assert points(run) == [[0, 1, 2], [3, 4, 5]]
    exact = exact_losses(run)
    assert exact.flatten().tolist() == pytest.approx(run.final["loss"].tolist(), rel=0.03)
    optimum, W, _, converged = optima_of(run)
    assert converged.all()
    assert (optimum.unsqueeze(1) <= exact).all()
    assert W.shape == (2, 5, 2)
    before = untrained_directions(run)
    assert torch.equal(before[1], run.model.feature_directions()[1])  # not planted
    assert torch.equal(before[1], before[4])  # the same seed


def test_network_holds_the_weights() -> None:
    net = network(PENTAGON.double().unsqueeze(0), torch.zeros(1, 5).double())
    assert torch.equal(net.W[0], PENTAGON.double())


def test_an_optimum_that_all_seeds_miss_is_found(tmp_path: Path) -> None:
    def plant(experiment: str, module: ToyModel) -> None:
        module.net.W[:] = PENTAGON[0] * torch.eye(5)[:, :1]  # one direction: a stationary line, above the pentagon
        module.net.b.zero_()

    run = planted(Intro(), tmp_path, plant, sweep={"seed": 6, "feature_probability": [0.05]})["m01_intro-uniform"]
    found = optima_of(run)
    assert found.converged.all()
    assert found.losses.item() == pytest.approx(0.0089036, abs=2e-6)
    assert (exact_losses(run) > 2 * found.losses).all()


@pytest.mark.parametrize(
    ("net", "task", "option"),
    [
        ({"tied": False}, None, "tied"),
        ({"hidden_activation": "relu"}, None, "hidden_activation"),
        ({}, AbsoluteValue(), "task"),
    ],
)
def test_other_models_and_tasks_are_rejected(net: dict[str, Any], task: AbsoluteValue | None, option: str) -> None:
    module, data = ToyModel(n_features=5), SyntheticFeatures(n_features=5, task=task)
    module.net = BottleneckModel(5, [0], **net)
    with pytest.raises(UserError, match=f"^{option} is"):
        toy_parts(Run(module, data, Trainer(logger=False, enable_checkpointing=False), None, {}))


def test_the_linear_optimum_keeps_two_of_five() -> None:
    p = torch.full((1, 5), 0.1).double()
    found = optimum_from(ExactLoss.independent(p), PENTAGON.unsqueeze(0), torch.zeros(1, 5), activation="linear")
    assert found.converged.all()
    assert found.losses.item() == pytest.approx(3 * (0.1 / 3 - 0.1**2 / 4), rel=1e-5)  # variance of three features
