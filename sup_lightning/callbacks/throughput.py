"""How fast a run is, and how much of the device it uses."""

import resource
import sys
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from sup_lightning.functional.matmul_rate import matmul_rate


class Throughput(Callback):
    """Logs speed over the optimiser steps since the last values (`log_every_n_steps`); validation does not count.

    - `throughput/steps_per_second`, and `throughput/<items>_per_second` where the data says what a step holds: its
      `items_per_step` and `item_name` (tokens, samples), over all ranks.
    - `throughput/mfu`, the share of the devices' arithmetic that goes into the model (Chowdhery et al. 2022, "PaLM",
      appendix B), where the module has `flops_per_item`; all of it is the rate of a large matrix product, measured when
      training starts, in the run's precision.
    - `memory/peak_gigabytes`, at the end of each epoch: the most that this process has held so far, on the device or,
      without one, in main memory.
    """

    def __init__(self) -> None:
        self.rates: dict[str, float] = {}
        """The newest values."""
        self._step, self._since = 0, 0.0
        self._most_flops: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.loggers and hasattr(pl_module, "flops_per_item"):
            half = {"bf16": torch.bfloat16, "16": torch.float16}
            dtype = half.get(str(trainer.precision).split("-")[0], torch.float32)
            self._most_flops = matmul_rate(pl_module.device, dtype) * trainer.world_size

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
        self.rates = {"throughput/steps_per_second": steps_per_second}
        data = getattr(trainer, "datamodule", None)
        if (items := getattr(data, "items_per_step", None)) is not None:
            items_per_second = steps_per_second * items
            self.rates[f"throughput/{getattr(data, 'item_name', 'items')}_per_second"] = items_per_second
            if self._most_flops is not None:
                self.rates["throughput/mfu"] = items_per_second * pl_module.flops_per_item / self._most_flops  # type: ignore[operator]
        self._log(trainer, self.rates)
        self._restart(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log(trainer, {"memory/peak_gigabytes": peak_gigabytes(pl_module.device)})

    def _log(self, trainer: Trainer, values: dict[str, float]) -> None:
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step - 1)

    def _restart(self, trainer: Trainer) -> None:
        self._step, self._since = trainer.global_step, time.perf_counter()


def peak_gigabytes(device: torch.device) -> float:
    """The most memory that this process has held."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024  # what the system counts in
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
