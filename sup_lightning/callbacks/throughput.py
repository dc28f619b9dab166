"""How fast a run is."""

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class Throughput(Callback):
    """Logs `throughput/steps_per_second`, and `throughput/<items>_per_second` where the data says what a step holds.

    Each value is over the optimiser steps since the one before (`log_every_n_steps`); time spent in validation does not
    count. The data's `items_per_step` and `item_name` (tokens, samples) are over all ranks.
    """

    def __init__(self) -> None:
        self._step, self._since = 0, 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restart(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restart(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step, every = trainer.global_step, trainer.log_every_n_steps  # type: ignore[attr-defined]
        if not every or step % every or step == self._step:
            return
        steps_per_second = (step - self._step) / (time.perf_counter() - self._since)
        rates = {"throughput/steps_per_second": steps_per_second}
        data = getattr(trainer, "datamodule", None)
        if (items := getattr(data, "items_per_step", None)) is not None:
            rates[f"throughput/{getattr(data, 'item_name', 'items')}_per_second"] = steps_per_second * items
        for logger in trainer.loggers:
            logger.log_metrics(rates, step=step - 1)
        self._restart(trainer)

    def _restart(self, trainer: Trainer) -> None:
        self._step, self._since = trainer.global_step, time.perf_counter()
