"""The LightningModule of the toy models: all instances of a sweep, several optimiser steps to a training batch."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, Protocol

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LRScheduler

from sup_lightning.errors import UserError, reject
from sup_lightning.functional.keyed_random import keyed_normal, keyed_uniform
from sup_lightning.metrics.reconstruction import FractionOfVarianceUnexplained, LossGivenActive, MeanRowLoss
from sup_lightning.modules.base import SupModule
from sup_lightning.modules.counters import count_optimizer_steps_as_batches, nobody_watches_steps, step_unwatched
from sup_lightning.nn.bottleneck import BottleneckModel
from sup_lightning.nn.objectives import Objective, SquaredError
from sup_lightning.nn.toy import ToyNetwork
from sup_lightning.sweep import Sweep


class Batch(Protocol):
    """What a step needs of a batch; `data.synthetic.ToyBatch` is one."""

    step: int
    rows: tuple[int, int]
    features: Tensor
    targets: Tensor


class Chunk(Protocol):
    """Batches of consecutive steps; `data.synthetic.ToyChunk` is one."""

    step: int

    def __iter__(self) -> Any: ...


class ToyModel(SupModule):
    """Trains every instance of a toy network at once.

    `train/loss` is the mean over instances at one step (under DDP, on this rank's rows); `val/loss` is that over the
    validation rows.

    The loss is the sum over instances of each instance's objective (importance-weighted squared error unless another is
    chosen: a sum over features, a mean over rows), so no instance sees another's gradient. AdamW without weight decay
    is the default: decay is a force of its own on the geometry.

    Args:
        n_features: Number of features; linked from the data.
        net: The network, called with `n_features` and the seed of each instance.
        importance: Weight of each output's error: one number, or one for each output.
        importance_decay: Multiplies the importance of output i by `importance_decay ** i`.
        importance_power: Divides the importance of output i by `(i + 1) ** importance_power`.
        objective: What is minimised; importance-weighted squared error if left out.
        dropout: Rate q of dropout on the hidden layer while training.
        dropout_noise: How it disturbs. `mask` is inverted dropout; `gaussian` adds noise of the same total variance,
            equal in all directions, q / (1 - q) · |h|² / n_hidden along each, which privileges no basis.
        sweep: What varies along the instances axis.
        optimizer: Called with the parameters.
        lr_scheduler: Called with the optimiser; stepped at each optimiser step.
    """

    def __init__(
        self,
        n_features: int,
        net: Callable[[int, list[int]], ToyNetwork] = BottleneckModel,
        importance: float | list[float] = 1.0,
        importance_decay: float = 1.0,
        importance_power: float = 0.0,
        objective: Objective | None = None,
        dropout: float = 0.0,
        dropout_noise: Literal["mask", "gaussian"] = "mask",
        sweep: Sweep | dict[str, Any] | None = None,
        optimizer: OptimizerCallable = lambda params: AdamW(params, lr=1e-3, weight_decay=0.0, fused=True),
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(optimizer, lr_scheduler)
        self.automatic_optimization = False
        self.sweep = Sweep.of(sweep)
        self._remember_hyperparameters()
        self.net = net(n_features, self.sweep.seeds)
        if not importance_decay > 0:
            reject("importance_decay", importance_decay, "a positive number")
        if not 0 <= importance_power < math.inf:
            reject("importance_power", importance_power, "a number ≥ 0")
        place = torch.arange(self.net.n_outputs)
        powers = importance_decay**place / (place + 1.0) ** importance_power
        values = [_importance(value, self.net.n_outputs) for value in self.sweep.values("importance", importance)]
        self.register_buffer("importance", torch.stack(values) * powers, persistent=False)
        self.dropout = [float(rate) for rate in self.sweep.values("dropout", dropout)]
        for rate in self.dropout:
            if not 0 <= rate < 1:
                reject("dropout", rate, "a number in [0, 1)")
        if dropout_noise not in ("mask", "gaussian"):
            reject("dropout_noise", dropout_noise, "mask or gaussian")
        if dropout_noise == "gaussian" and not isinstance(self.net, BottleneckModel):
            raise UserError(f"dropout_noise gaussian knows BottleneckModel, not {type(self.net).__name__}")
        self.dropout_noise = dropout_noise
        self.objective = objective or SquaredError()
        self.val_loss = MeanRowLoss(self.sweep.n_instances)
        self.val_fvu = FractionOfVarianceUnexplained(self.sweep.n_instances, self.net.n_outputs)
        self.val_loss_given_active = LossGivenActive(self.sweep.n_instances)
        self.instance_values: dict[str, Tensor] = {}
        """The newest validation results of each instance, `[n_instances]` each."""
        self.measured_at_step = -1
        """The optimiser step of these results."""
        self.training_losses: Tensor | None = None
        """The loss of each instance in the newest training step, `[n_instances]` (under DDP, on this rank's rows)."""

    importance: Tensor

    def _remember_hyperparameters(self) -> None:
        """Keep plain values only, so that a checkpoint loads without running any code of its own."""
        self.save_hyperparameters(ignore=["sweep"], logger=False)
        self.hparams["sweep"] = self.sweep.as_dict()
        for name in ("net", "objective", "optimizer", "lr_scheduler"):
            given = self.hparams.get(name)
            if callable(given) or isinstance(given, Objective):  # Python objects; from a config these are class paths
                del self.hparams[name]

    def setup(self, stage: str) -> None:
        self.check_data(getattr(self.trainer, "datamodule", None))

    def check_data(self, data: Any) -> None:
        """Refuse data whose task has another number of outputs than the network."""
        n_outputs = getattr(data, "n_outputs", self.net.n_outputs)
        if n_outputs != self.net.n_outputs:
            raise UserError(f"the task has {n_outputs} outputs, but {type(self.net).__name__} has {self.net.n_outputs}")

    def feature_directions(self) -> Tensor:
        """`[n_instances, n_features, n_hidden]`."""
        return self.net.feature_directions()

    def forward(self, features: Tensor) -> Tensor:
        return self.net(features)

    def instance_losses(self, batch: Batch) -> Tensor:
        """The training loss of each instance, `[n_instances]`."""
        disturbed = self.disturbance(batch)
        if isinstance(self.objective, SquaredError):  # networks know fast forms of it
            return self.net.loss(batch.features, batch.targets, self.importance, **disturbed)
        output = self.net(batch.features, **disturbed)
        return self.objective.row_losses(output, batch.targets, self.importance).mean(dim=-1)

    def disturbance(self, batch: Batch) -> dict[str, Tensor]:
        """What training does to the hidden layer, by the name under which a network takes it; nothing if not any."""
        if not any(self.dropout):
            return {}
        if self.dropout_noise == "gaussian":
            return {"noise": self.hidden_noise(batch)}
        return {"keep": self.dropout_factors(batch)}

    def hidden_noise(self, batch: Batch) -> Tensor:
        """Gaussian noise in units of |h|, `[n_instances, batch, n_hidden]`, keyed by (seed, step, global row)."""
        first_row, total_rows = batch.rows
        n_hidden, seeds = self.net.n_hidden, self.sweep.axes["seed"]
        normal = keyed_normal("hidden noise", seeds, batch.step, (n_hidden, total_rows)).to(self.device)
        normal = normal[..., first_row : first_row + batch.features.shape[-2]]
        rate = torch.tensor(self.dropout, device=self.device).view(self.sweep.n_points, self.sweep.n_seeds, 1, 1)
        return (normal * (rate / (1 - rate) / n_hidden).sqrt()).flatten(0, 1).mT

    def dropout_factors(self, batch: Batch) -> Tensor:
        """Inverted-dropout factors `[n_instances, batch, n_hidden]`, keyed by (seed, step, global row)."""
        first_row, total_rows = batch.rows
        seeds = self.sweep.axes["seed"]
        uniform = keyed_uniform("dropout", seeds, batch.step, (self.net.n_hidden, total_rows)).to(self.device)
        uniform = uniform[..., first_row : first_row + batch.features.shape[-2]]
        rate = torch.tensor(self.dropout, device=self.device).view(self.sweep.n_points, self.sweep.n_seeds, 1, 1)
        return torch.where(uniform >= rate, 1 / (1 - rate), 0.0).flatten(0, 1).mT

    def training_step(self, chunk: Chunk) -> None:
        self.check_step(chunk.step)
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizer, LightningOptimizer)
        parameters = list(self.parameters())
        unwatched = nobody_watches_steps(self.trainer)
        losses = []
        for batch in chunk:
            batch = self.transfer_batch_to_device(batch, self.device, 0) if self.device.type != "cpu" else batch
            loss = self.instance_losses(batch)
            for parameter in parameters:
                parameter.grad = None
            if unwatched:
                loss.sum().backward()
                step_unwatched(optimizer)
            else:
                self.manual_backward(loss.sum())
                optimizer.step()
            if isinstance(scheduler, LRScheduler):
                scheduler.step()
            losses.append(loss.detach())
        count_optimizer_steps_as_batches(self.trainer, len(losses))
        stacked = torch.stack(losses)
        self.check_finite(stacked, chunk.step, self.sweep.labels)
        self.training_losses = losses[-1]
        if self.logs_now:
            self.log("train/loss", stacked[-1].mean(), prog_bar=True)

    def validation_step(self, batch: Batch) -> None:
        self._update_metrics(batch)

    def on_validation_epoch_end(self) -> None:
        self._log_metrics("val")

    def test_step(self, batch: Batch) -> None:
        self._update_metrics(batch)

    def on_test_epoch_end(self) -> None:
        self._log_metrics("test")

    def predict_step(self, batch: Batch) -> Tensor:
        return self(batch.features)

    def _update_metrics(self, batch: Batch) -> None:
        output = self(batch.features)
        losses = self.objective.row_losses(output, batch.targets, self.importance)
        self.val_loss.update(losses)
        self.val_fvu.update(self.objective.prediction(output), batch.targets)
        self.val_loss_given_active.update(losses, batch.features)

    def _log_metrics(self, stage: str) -> None:
        """Log the mean over instances and the best, and keep each instance's values for whoever measures."""
        n_instances = self.sweep.n_instances
        loss, fvu = self.val_loss.compute().view(n_instances), self.val_fvu.compute().view(n_instances)
        given_active = self.val_loss_given_active.compute()
        self.instance_values = {"loss": loss, "fvu": fvu}
        self.instance_values |= {f"loss_{k}_active": given_active[:, k] for k in range(given_active.shape[1])}
        self.measured_at_step = self.global_step
        for metric in (self.val_loss, self.val_fvu, self.val_loss_given_active):
            metric.reset()
        self.log_equal({f"{stage}/loss": loss.mean()}, prog_bar=True)
        self.log_equal({f"{stage}/loss_best": loss.min(), f"{stage}/fvu": fvu.mean()})


def _importance(value: float | Iterable[float], n_outputs: int) -> Tensor:
    """One weight for each output, `[n_outputs]`."""
    weights = torch.as_tensor(value, dtype=torch.float32)
    if weights.ndim == 0:
        weights = weights.expand(n_outputs)
    if len(weights) != n_outputs:
        reject("importance", value, f"a number, or one for each of the {n_outputs} outputs")
    if not bool((weights >= 0).all()):
        reject("importance", value, "numbers ≥ 0")
    return weights
