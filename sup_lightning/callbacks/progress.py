"""Progress in optimiser steps: a bar on a terminal, a line for each epoch elsewhere."""

import sys
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from sup_lightning.callbacks.throughput import Throughput

SHOWN = {"throughput/tokens_per_second": "tokens/s", "throughput/mfu": "mfu"}
"""What the bar shows of the speed, and how it is called there."""


class StepProgressBar(TQDMProgressBar):
    """Lightning's bar, at the true step of the epoch also where a training batch holds several steps.

    Args:
        refresh_rate: Training batches between refreshes of the bar.
    """

    def __init__(self, refresh_rate: int = 1) -> None:
        self.draws = sys.stderr.isatty() or "ipykernel" in sys.modules
        super().__init__(refresh_rate=refresh_rate if self.draws else 0)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, trainer.fit_loop.epoch_loop.batch_idx)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if not self.draws:
            shown = " ".join(f"{name}={value}" for name, value in self.get_metrics(trainer, pl_module).items())
            rank_zero_info(f"epoch {trainer.current_epoch} step {trainer.global_step} {shown}")

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)  # the run's directory says it
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Throughput):
                metrics |= {SHOWN[name]: value for name, value in callback.rates.items() if name in SHOWN}
        return {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in metrics.items()}
