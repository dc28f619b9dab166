"""The weights along the way, at log-spaced steps: what the dynamics of learning are read from."""

import os
from bisect import bisect_right
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from safetensors.torch import load_file, save_file
from torch import Tensor

from sup_lightning.callbacks.geometry_protocol import directions_of
from sup_lightning.callbacks.run_folder import run_folder
from sup_lightning.errors import UserError, require_positive
from sup_lightning.functional.dynamics import log_spaced_steps

FILE = "snapshots.safetensors"


class Snapshots(NamedTuple):
    """What `WeightSnapshots` kept.

    Attributes:
        step: `[n_times]` int64, the optimiser steps done; the first is 0, the initial weights.
        W: `[n_times, n_instances, n_features, n_hidden]`, the feature directions.
        loss: `[n_times, n_instances]`, the loss in the training step just done, on its batch and before its update; NaN
            at step 0, and everywhere if the module does not tell it.
    """

    step: Tensor
    W: Tensor
    loss: Tensor


def load_snapshots(folder: str | Path) -> Snapshots:
    """The snapshots of a run.

    Args:
        folder: The run directory.

    Raises:
        UserError: If the run kept none.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise UserError(f"there is no {path}; train with the callback WeightSnapshots")
    return Snapshots(**load_file(path))


class WeightSnapshots(Callback):
    """Keeps the feature directions at log-spaced optimiser steps; works on any module with `feature_directions()`.

    They are written to `snapshots.safetensors` in the run directory at the end of each epoch and of the run; read them
    with `load_snapshots`. They are in the checkpoints too, so that a resumed run writes the file that it would have
    written uninterrupted. A module's attribute `training_losses` (`[n_instances]`, of the newest step) is kept beside
    them.

    Args:
        per_decade: Snapshots for each factor of 10 in the steps: at 0 and the whole numbers nearest to
            10^(k / per_decade).
    """

    def __init__(self, per_decade: int = 20) -> None:
        require_positive(per_decade=per_decade)
        self.per_decade = per_decade
        self.kept: list[tuple[int, Tensor, Tensor]] = []
        """(step, W, loss) of each."""

    def next_due_step(self, step: int) -> int:
        """The next step after which this callback must see the model."""
        steps = log_spaced_steps(10 * (step + 1), self.per_decade)  # further than the next one
        return steps[bisect_right(steps, step)]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        directions_of(pl_module, type(self).__name__)
        if trainer.global_step == 0:
            self.kept.clear()
            self._keep(trainer, pl_module, at_start=True)
        self._write(trainer)  # a file of a killed run may hold what the checkpoint has not seen

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step > 0 and self.next_due_step(step - 1) == step and (not self.kept or self.kept[-1][0] < step):
            self._keep(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer)

    def state_dict(self) -> dict[str, Any]:
        return dict(self._snapshots()._asdict()) if self.kept else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict:
            saved = Snapshots(**state_dict)
            self.kept = list(zip(saved.step.tolist(), saved.W, saved.loss, strict=True))

    def _keep(self, trainer: Trainer, pl_module: LightningModule, at_start: bool = False) -> None:
        W = directions_of(pl_module, type(self).__name__)
        loss = None if at_start else getattr(pl_module, "training_losses", None)
        loss = torch.full((len(W),), torch.nan) if loss is None else trainer.strategy.reduce(loss, reduce_op="mean")
        assert isinstance(loss, Tensor)
        copies = (each.detach().to("cpu", torch.float32, copy=True) for each in (W, loss))
        self.kept.append((trainer.global_step, *copies))  # type: ignore[arg-type]

    def _snapshots(self) -> Snapshots:
        step, W, loss = zip(*self.kept, strict=True)
        return Snapshots(torch.tensor(step), torch.stack(W), torch.stack(loss))

    def _write(self, trainer: Trainer) -> None:
        """Write beside the file and rename, so that a kill at any moment leaves the old one or the new one."""
        folder = run_folder(trainer)
        if folder is None or not trainer.is_global_zero or not self.kept:
            return
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{FILE}.partial"
        save_file(self._snapshots()._asdict(), partial)
        os.replace(partial, folder / FILE)
