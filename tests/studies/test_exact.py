import math
from pathlib import Path

import pytest
import torch

from sup_lightning.modules import ToyModel
from sup_lightning.nn.exact_loss import ExactLoss
from sup_lightning.studies.exact import exact_losses, network, optima_of, optimum_from, points, untrained_directions
from sup_lightning.studies.paper.intro import Intro
from tests.studies.planting import planted

SMALL = {"seed": 3, "feature_probability": [0.1, 0.05]}
ANGLES = 2 * math.pi * torch.arange(5) / 5
PENTAGON = torch.stack([ANGLES.cos(), ANGLES.sin()], dim=1)


def test_the_pentagon_has_its_known_optimum() -> None:
    objective = ExactLoss.independent(torch.full((2, 5), 0.05), tolerance=1e-7)
    losses, W, b = optimum_from(objective, PENTAGON.expand(2, 5, 2), torch.zeros(2, 5))
    assert objective.tolerance == 1e-7
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
    optimum, W, _ = optima_of(run)
    assert (optimum.unsqueeze(1) <= exact).all()
    assert W.shape == (2, 5, 2)
    before = untrained_directions(run)
    assert torch.equal(before[1], run.model.feature_directions()[1])  # not planted
    assert torch.equal(before[1], before[4])  # the same seed


def test_network_holds_the_weights() -> None:
    net = network(PENTAGON.double().unsqueeze(0), torch.zeros(1, 5).double())
    assert torch.equal(net.W[0], PENTAGON.double())
