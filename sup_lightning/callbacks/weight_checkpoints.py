"""The weights of a language model along the way, at log-spaced steps."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from sup_lightning.callbacks.run_folder import run_folder
from sup_lightning.errors import UserError, require_positive
from sup_lightning.functional.dynamics import log_spaced_steps
from sup_lightning.snapshot_io import save_snapshot


class WeightCheckpoints(Callback):
    """Writes `checkpoints/step-<n>.safetensors` at log-spaced optimiser steps: the weights alone, to analyse training.

    The first is step 0, the initial weights; the last step of the run is among them too. As the tokens of a step are
    constant, the files are log-spaced in tokens as well, which each of them states. `last.ckpt`, from which a run
    resumes, is another file.

    Args:
        per_decade: Files for each factor of 10 in the steps, at the whole numbers nearest to 10^(k / per_decade).
        first_step: The first step after 0 that is kept.
    """

    def __init__(self, per_decade: int = 4, first_step: int = 10) -> None:
        require_positive(per_decade=per_decade, first_step=first_step)
        self.per_decade, self.first_step = per_decade, first_step
        self._due: set[int] = set()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and not hasattr(getattr(pl_module, "net", None), "token_losses"):
            raise UserError(f"WeightCheckpoints needs a language model, not {type(pl_module).__name__}; remove it")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        last = trainer.max_steps if trainer.max_steps > 0 else 10**9
        steps = log_spaced_steps(last, self.per_decade)
        self._due = {step for step in steps if step == 0 or step >= self.first_step}
        if trainer.global_step == 0:
            self._write(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step in self._due and not trainer.fit_loop._should_accumulate():
            self._write(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, pl_module)

    def _write(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = run_folder(trainer)
        if folder is None:
            return
        path = folder / "checkpoints" / f"step-{trainer.global_step:08d}.safetensors"
        exists = trainer.strategy.broadcast(path.exists())  # on all ranks, as a sharded model is gathered by all
        if exists and trainer.global_step > 0:
            return
        state = trainer.strategy.lightning_module_state_dict()
        if trainer.is_global_zero:
            weights = {name.removeprefix("net."): value for name, value in state.items() if name.startswith("net.")}
            items = getattr(getattr(trainer, "datamodule", None), "items_per_step", 0)
            save_snapshot(weights, pl_module.hparams, path, trainer.global_step, items * trainer.global_step)


def weight_checkpoints(folder: str | Path) -> dict[int, Path]:
    """The files that a run kept, by optimiser step, ascending.

    Args:
        folder: The run directory.
    """
    found = (Path(folder) / "checkpoints").glob("step-*.safetensors")
    return {int(path.stem.removeprefix("step-")): path for path in sorted(found)}
