"""Snapshots are of their true steps, whatever the chunks, and survive a kill."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.demos.boring_classes import BoringModel

from sup_lightning.callbacks import LastCheckpoint, WeightSnapshots, load_snapshots
from sup_lightning.callbacks.checkpoint import LAST
from sup_lightning.errors import UserError
from sup_lightning.modules import ToyModel
from tests.helpers import toy_data, toy_model, toy_trainer

SWEEP = {"seed": 2, "feature_probability": [0.1, 0.3]}
STEPS = [0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50]
"""0 and 10^(k / 10) up to 50, rounded."""


def run(folder: Path, *callbacks: Callback, steps: int = 50, chunk: int = 7, **settings: Any) -> ToyModel:
    model = toy_model(SWEEP)
    trainer = toy_trainer(folder, *callbacks, WeightSnapshots(per_decade=10), max_steps=steps)
    trainer.fit(model, toy_data(SWEEP, chunk_steps=chunk), **settings)
    return model


class EveryStep(Callback):
    """The weights and losses after each step, seen from within it."""

    def __init__(self) -> None:
        self.W: dict[int, torch.Tensor] = {}
        self.loss: dict[int, torch.Tensor] = {}

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        assert isinstance(pl_module, ToyModel)
        self.W[trainer.global_step] = pl_module.feature_directions().detach().clone()
        batch = trainer.datamodule.batch("features", trainer.global_step, range(32), 32)  # type: ignore[attr-defined]
        self.loss[trainer.global_step + 1] = pl_module.instance_losses(batch).detach()


@pytest.mark.parametrize("chunk", [1, 7, 48])
def test_snapshots_are_the_weights_of_their_steps(tmp_path: Path, chunk: int) -> None:
    seen = EveryStep()
    run(tmp_path / "seen", seen, steps=51)
    model = run(tmp_path / "kept", chunk=chunk)
    step, W, loss = load_snapshots(tmp_path / "kept")
    assert step.tolist() == STEPS
    assert (W.shape, loss.shape) == ((16, 4, 5, 2), (16, 4))
    for number, directions, losses in zip(step.tolist(), W, loss, strict=True):
        assert torch.equal(directions, seen.W[number])
        assert number == 0 or torch.equal(losses, seen.loss[number])
    assert loss[0].isnan().all()
    assert torch.equal(W[-1], model.feature_directions())


def files_are_equal(a: Path, b: Path) -> bool:
    return all(
        torch.equal(left.nan_to_num(-1), right.nan_to_num(-1))
        for left, right in zip(load_snapshots(a), load_snapshots(b), strict=True)
    )


class Die(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("step", [9, 23, 45])
def test_a_resumed_run_keeps_the_same(tmp_path: Path, step: int) -> None:
    run(tmp_path / "whole", LastCheckpoint())
    child = os.fork()
    if child == 0:
        try:
            run(tmp_path / "killed", LastCheckpoint(every_n_steps=6), Die(step))
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    run(tmp_path / "killed", LastCheckpoint(every_n_steps=6), ckpt_path=tmp_path / "killed" / LAST)
    assert files_are_equal(tmp_path / "whole", tmp_path / "killed")


def test_rows_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(folder, LastCheckpoint(), steps=20)
    (folder / LAST).rename(tmp_path / "early.ckpt")
    run(folder, ckpt_path=tmp_path / "early.ckpt", steps=50)
    assert load_snapshots(folder).step.tolist() == STEPS
    run(folder, ckpt_path=tmp_path / "early.ckpt", steps=30)
    assert load_snapshots(folder).step.tolist() == [step for step in STEPS if step <= 30]
    assert not list(folder.glob(".*.partial"))


def test_the_first_of_each_decade() -> None:
    callback, step, due = WeightSnapshots(per_decade=1), 0, []
    while step < 100_000:
        step = callback.next_due_step(step)
        due.append(step)
    assert due == [1, 10, 100, 1000, 10_000, 100_000]


def test_a_module_that_tells_no_losses(tmp_path: Path) -> None:
    class Plain(BoringModel):
        def feature_directions(self) -> torch.Tensor:
            return self.layer.weight

    settings = {"max_steps": 3, "limit_val_batches": 0}
    toy_trainer(tmp_path / "run", WeightSnapshots(), **settings).fit(Plain())
    kept = load_snapshots(tmp_path / "run")
    assert kept.step.tolist() == [0, 1, 2, 3]
    assert kept.W.shape == (4, 1, 2, 32)
    assert kept.loss.isnan().all()
    with pytest.raises(UserError, match="WeightSnapshots needs a module with a method feature_directions"):
        toy_trainer(tmp_path, WeightSnapshots(), **settings).fit(BoringModel())


def test_bad_use(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no .*snapshots.safetensors; train with the callback"):
        load_snapshots(tmp_path)
    with pytest.raises(UserError, match="per_decade is 0; allowed: a positive integer"):
        WeightSnapshots(0)
