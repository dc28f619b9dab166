"""The checkpoint that a run resumes from."""

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities import rank_zero_info

from sup_lightning.errors import require_positive

LAST = Path("checkpoints") / "last.ckpt"
"""Where the checkpoint lies in a run directory."""


class LastCheckpoint(Checkpoint):
    """Keeps one resumable checkpoint, `checkpoints/last.ckpt` in the run directory.

    It is written at the end of epochs (after all measurements), every so many steps if asked, and on Ctrl-C: the first
    one lets the present step finish, saves and stops; a second one stops at once.

    Args:
        every_n_epochs: Epochs between saves.
        every_n_steps: Optimiser steps between further saves within an epoch.
    """

    def __init__(self, every_n_epochs: int = 1, every_n_steps: int | None = None) -> None:
        require_positive(every_n_epochs=every_n_epochs, every_n_steps=every_n_steps or 1)
        self.every_n_epochs = every_n_epochs
        self.every_n_steps = every_n_steps
        self.directory: Path | None = None
        """The run directory, where it is not the logger's."""
        self._interrupted = False
        self._previous_handler: Any = None

    def next_due_step(self, step: int) -> int | None:
        """The next step after which this callback must see the model."""
        return None if self.every_n_steps is None else (step // self.every_n_steps + 1) * self.every_n_steps

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._interrupted = False
        if threading.current_thread() is threading.main_thread():
            self._previous_handler = signal.signal(signal.SIGINT, self._on_interrupt)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._previous_handler is not None:
            signal.signal(signal.SIGINT, self._previous_handler)
            self._previous_handler = None

    def _on_interrupt(self, signum: int, frame: FrameType | None) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.fit_loop._should_accumulate():
            return
        epoch_ends = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if epoch_ends:  # saved, and stopped, when it has been measured
            return
        if self._stops_now(trainer):
            self._save_and_stop(trainer)
        if self.every_n_steps and trainer.global_step % self.every_n_steps == 0:
            self._save(trainer)

    def _stops_now(self, trainer: Trainer) -> bool:
        if trainer.world_size == 1:
            return self._interrupted
        return trainer.strategy.reduce_boolean_decision(self._interrupted, all=False)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        final = trainer.global_step == trainer.max_steps or trainer.current_epoch + 1 == trainer.max_epochs
        due = (trainer.current_epoch + 1) % self.every_n_epochs == 0
        due = due or (self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0)
        if final or trainer.should_stop or due:
            self._save(trainer)
        if not final and self._stops_now(trainer):
            self._save_and_stop(trainer)

    def _save_and_stop(self, trainer: Trainer) -> None:
        path = self._save(trainer)
        rank_zero_info(f"Interrupted after step {trainer.global_step}; resume from {path} with --ckpt_path last")
        raise KeyboardInterrupt

    def _save(self, trainer: Trainer) -> Path:
        path = Path(self.directory or trainer.log_dir or trainer.default_root_dir) / LAST
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.save_checkpoint(path)
        return path
