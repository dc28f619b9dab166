"""What every module of the project shares: its optimiser, and the checks that keep a run honest."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from sup_lightning.errors import UserError
from sup_lightning.modules.counters import align_loops, log_at_true_step


class SupModule(LightningModule):
    """A LightningModule whose optimiser and schedule come from the config and whose batches carry their step.

    Args:
        optimizer: Called with the parameter groups.
        lr_scheduler: Called with the optimiser; stepped once for each optimiser step.
    """

    def __init__(self, optimizer: OptimizerCallable, lr_scheduler: LRSchedulerCallable | None = None) -> None:
        super().__init__()
        self._make_optimizer = optimizer
        self._make_lr_scheduler = lr_scheduler
        self._saved_optimizer: dict[str, Any] = {}

    def parameter_groups(self) -> list[dict[str, Any]] | list[nn.Parameter]:
        """What the optimiser is given: the parameters that train; a group's `lr_scale` multiplies its rate."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self._make_optimizer(self.parameter_groups())
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * group.get("lr_scale", 1.0)
        if self._make_lr_scheduler is None:
            return optimizer
        scheduler = self._make_lr_scheduler(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """As Lightning does, and in bfloat16 also for fused optimisers, which it refuses: nothing is scaled there."""
        by_norm = gradient_clip_algorithm in (None, "norm")
        plugin = self.trainer.precision_plugin
        bfloat16 = type(plugin) is MixedPrecision and plugin.precision == "bf16-mixed"  # not a sharded one
        if gradient_clip_val and by_norm and bfloat16:
            nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self._trainer is None:  # loaded by hand, with the settings that the caller chose
            return
        self._check_settings(checkpoint.get("hyper_parameters", {}))
        self._saved_optimizer = checkpoint.get("optimizer_settings", {})
        steps_per_epoch = getattr(getattr(self.trainer, "datamodule", None), "steps_per_epoch", None)
        if steps_per_epoch and self.trainer.state.fn == TrainerFn.FITTING:
            align_loops(checkpoint, self.trainer, steps_per_epoch)

    def _check_settings(self, saved: Mapping[str, Any]) -> None:
        """A checkpoint continues the run that wrote it; with other settings it would be another experiment."""
        free = {"optimizer", "lr_scheduler"}  # compared when training starts; the schedule may be lengthened
        for name, present in self.hparams.items():
            if name not in free and not name.startswith("_") and name in saved and saved[name] != present:
                raise UserError(f"the checkpoint was made with {name}={saved[name]!r}, but the config has {present!r}")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["optimizer_settings"] = self._optimizer_settings()

    def on_train_start(self) -> None:
        """A resumed optimiser has the checkpoint's settings; that must not happen behind the user's back."""
        saved, present = self._saved_optimizer, self._optimizer_settings()
        for name in sorted(saved.keys() & present.keys()):
            if saved[name] != present[name]:
                raise UserError(
                    f"the checkpoint was made with the optimizer's {name}={saved[name]!r}, "
                    f"but the config has {present[name]!r}"
                )

    def _optimizer_settings(self) -> dict[str, Any]:
        """What the config says of the optimiser, as plain values."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        settings = {"class": type(optimizer).__name__, **getattr(optimizer, "defaults", {})}
        return {k: v for k, v in settings.items() if isinstance(v, (bool, int, float, str, tuple))}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        log_at_true_step(self.trainer)

    def check_step(self, step: int) -> None:
        """Stop a run whose data and weights are at different steps: it would be another experiment."""
        if step != self.global_step:
            raise RuntimeError(f"the batch is for step {step}, but the weights are at step {self.global_step}")

    def check_finite(self, losses: Tensor, step: int, labels: Sequence[str] | None = None) -> None:
        """Stop at the first loss that is not finite.

        Args:
            losses: `[n_steps]`, or `[n_steps, n_instances]`.
            step: The optimiser step of the first row.
            labels: Names of the instances.
        """
        if torch.isfinite(losses).all():
            return
        row = int((~torch.isfinite(losses.reshape(len(losses), -1)).all(dim=1)).nonzero()[0])
        where = f"at step {step + row}"
        if losses.ndim > 1:
            column = int((~torch.isfinite(losses[row])).nonzero()[0])
            where += f" in instance {column}" + (f" ({labels[column]})" if labels else "")
        raise UserError(f"the loss is not finite {where}; lower the learning rate or look at the data")

    def log_equal(self, values: Mapping[str, Tensor], **kwargs: Any) -> None:
        """Log epoch values that all ranks agree on already, under DDP without Lightning's doubts about them."""
        self.log_dict(dict(values), sync_dist=True, reduce_fx="max", **kwargs)  # the maximum of equal numbers is exact

    @property
    def logs_now(self) -> bool:
        """Whether Lightning will write what the training step logs now.

        Calling `self.log` on the other steps costs more than a toy step and writes nothing.
        """
        completed = self.global_step + int(self.automatic_optimization)  # Lightning's own step comes after ours
        return completed % self.trainer.log_every_n_steps == 0  # type: ignore[attr-defined]
