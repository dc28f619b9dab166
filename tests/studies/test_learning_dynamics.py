"""M07 on trajectories made by hand."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from sup_lightning.callbacks.snapshots import FILE, Snapshots
from sup_lightning.experiment import Run
from sup_lightning.functional.dynamics import log_spaced_steps
from sup_lightning.modules import ToyModel
from sup_lightning.studies.paper.learning_dynamics import LEVELS, LearningDynamics, fitted_loss, set_stages
from sup_lightning.studies.study import Answer
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import answer, planted

N_SEEDS = 8
STEPS = log_spaced_steps(20_000)
PAIRS = torch.cat([torch.eye(10), -torch.eye(10), torch.zeros(10, 10)])
"""Ten antipodal pairs, and ten features that are not represented."""
ALONE = torch.cat([torch.eye(10), torch.zeros(20, 10)])
OCTAHEDRON = torch.cat([torch.eye(3), -torch.eye(3)])
"""Antipodes across the sets {0, 1, 2} and {3, 4, 5}."""
MIXED = OCTAHEDRON[[0, 3, 1, 4, 2, 5]]
"""Antipodes within the sets, but for one pair."""
BUNDLES = torch.tensor([[1.0, 0.2, 0.0], [1.0, -0.2, 0.1], [1.0, 0.0, -0.2]]).repeat(2, 1)
BUNDLES[3:] *= -1


def path(*parts: tuple[int, Tensor]) -> Tensor:
    """Weights at STEPS `[n_times, N_SEEDS, ...]`: each part from its step on, a little later in each seed."""
    shown = [[[W for start, W in parts if step >= start * 1.13**k][-1] for k in range(N_SEEDS)] for step in STEPS]
    return torch.stack([torch.stack(row) for row in shown])


def found(folder: Path, levels: Tensor, octahedron: Tensor, twin: Tensor) -> Answer:
    def plant(experiment: str, model: ToyModel) -> None:
        pass

    study = LearningDynamics()
    few = {"val_batch_size": 512, "val_batches": 1}
    runs: dict[str, Run] = planted(study, folder, plant, data=few, sweep={"seed": N_SEEDS})
    for (name, run), W in zip(runs.items(), (levels, octahedron, twin), strict=True):
        assert run.directory is not None
        loss = torch.ones(len(STEPS), N_SEEDS)
        save_file({"step": torch.tensor(STEPS), "W": W.contiguous(), "loss": loss}, run.directory / FILE)
        assert (name == LEVELS) == (W.shape[-1] == 10)
    return answer(study, runs)


def test_jumps_with_drops_and_stages(tmp_path: Path) -> None:
    stages = path((0, MIXED), (30, BUNDLES), (1000, OCTAHEDRON))
    result = found(tmp_path, path((0, ALONE), (1200, PAIRS)), stages, path((0, MIXED)))
    assert {result.claims[k].outcome for k in (0, 1, 2, 4)} == {Outcome.SUPPORTED}
    assert result.claims[5].effect == 1.0  # of 8 models: too few for the interval to lie above .7
    assert result.claims[2].effect > 0.99
    assert "0.00" in result.claims[5].control


def test_drift_without_stages(tmp_path: Path) -> None:
    """All features spread at a constant rate, on the log axis: no jump; and antipodes of one set."""
    share = torch.linspace(0, 1, len(STEPS)).view(-1, 1, 1, 1)
    result = found(tmp_path, ALONE + share * path((0, PAIRS - ALONE)), path((0, MIXED)), path((0, MIXED)))
    drift, _, _, parts, across = result.claims[1:]
    assert drift.effect == 0
    assert {claim.outcome for claim in (drift, parts, across)} == {Outcome.NOT_SUPPORTED}
    assert result.tables["jumps"].empty


def test_loss_that_falls_by_itself(tmp_path: Path) -> None:
    """Two features trade places, which costs nothing; then all lengths grow, which moves no D_i."""
    swap = torch.arange(30)
    swap[[0, 29]] = swap[[29, 0]]
    length = torch.linspace(0.7, 1.0, len(STEPS)).view(-1, 1, 1, 1)
    steps = torch.tensor(STEPS)
    length = torch.where((steps < 3000).view(-1, 1, 1, 1), 0.85, length)
    result = found(tmp_path, length * path((0, ALONE), (600, ALONE[swap])), path((0, MIXED)), path((0, MIXED)))
    assert result.claims[1].effect == 1.0
    assert result.claims[2].outcome == Outcome.NOT_SUPPORTED


def test_a_feature_that_is_hardly_there_has_no_antipode() -> None:
    length = torch.tensor([1.0, 1, 0.1, 1, 1, 1]).unsqueeze(-1)
    W = torch.stack([OCTAHEDRON, OCTAHEDRON * length, MIXED]).unsqueeze(0)
    stages = set_stages(Snapshots(torch.tensor([0]), W, torch.zeros(1, 3)))
    assert stages.crossed.tolist() == [[6, 4, 2]]
    assert stages.paired.tolist() == [[6, 4, 6]]
    assert stages.across.tolist() == [True, False, False]
    assert stages.octahedron.tolist() == [True, False, True]


def test_fitted_loss_is_that_of_the_best_bias() -> None:
    W, x = torch.tensor([[[1.0], [-1.0]]]), torch.rand(2, 4000) * (torch.rand(2, 4000) < 0.4)

    def loss(b: float) -> float:
        return float(((W @ (W.mT @ x) + b).relu() - x).square().mean(dim=-1).sum())

    assert abs(float(fitted_loss(W, x)) - min(loss(b / 400) for b in range(-100, 101))) < 1e-3
