"""The DataModule of the toy models: batches of synthetic features, as a function of (seed, step)."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sup_lightning.data.base import SupData, describe
from sup_lightning.data.features import FeatureDistribution, IndependentFeatures
from sup_lightning.data.stream import Slot, StepStream
from sup_lightning.data.tasks import Identity, Task
from sup_lightning.errors import UserError, reject, require_positive
from sup_lightning.functional.keyed_random import keyed_uniform
from sup_lightning.sweep import Sweep

DEFAULT_PROBABILITY = 0.05

VALIDATION_SEED = 0
"""Validation rows are the same for every instance and run: a fair comparison, and no cost for each seed."""


class ToyBatch(NamedTuple):
    """The rows of one optimiser step.

    Attributes:
        step: Optimiser step (index of the batch in validation).
        rows: First global row, and number of rows in the step's global batch (over all ranks).
        features: `[n_instances, batch, n_features]`.
        targets: `[n_instances, batch, n_outputs]`.
    """

    step: int
    rows: tuple[int, int]
    features: Tensor
    targets: Tensor


class ToyChunk:
    """The batches of several consecutive optimiser steps, drawn one by one as they are iterated over.

    Attributes:
        step: The first step.
        n_steps: Number of steps.
    """

    def __init__(self, step: int, n_steps: int, draw: Callable[[int], ToyBatch]) -> None:
        self.step = step
        self.n_steps = n_steps
        self._draw = draw

    def __len__(self) -> int:
        return self.n_steps

    def __iter__(self) -> Iterator[ToyBatch]:
        return map(self._draw, range(self.step, self.step + self.n_steps))


class SyntheticFeatures(SupData):
    """Sparse features and their targets, for all instances of a sweep.

    Args:
        n_features: Number of features.
        feature_probability: p, the probability that a feature is active: one number, or one for each feature. If left
            out (null), what the law of the features fixes it to, else 0.05.
        features: The law of the features; independent, uniform on [0, 1] if left out.
        task: What the targets are; the features themselves if left out.
        batch_size: Rows of one optimiser step, over all ranks, for each instance.
        steps_per_epoch: Optimiser steps between two measurements.
        val_batch_size: Rows of one validation batch, over all ranks.
        val_batches: Number of validation batches.
        chunk_steps: Most optimiser steps that a module with manual optimisation, such as ToyModel, is handed at once.
            Speed only: it changes no result.
        sweep: What varies along the instances axis.
    """

    item_name = "samples"

    def __init__(
        self,
        n_features: int,
        feature_probability: float | list[float] | None = None,
        features: FeatureDistribution | None = None,
        task: Task | None = None,
        batch_size: int = 1024,
        steps_per_epoch: int = 1000,
        val_batch_size: int = 4096,
        val_batches: int = 16,
        chunk_steps: int = 50,
        sweep: Sweep | dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        require_positive(
            n_features=n_features,
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            val_batch_size=val_batch_size,
            val_batches=val_batches,
            chunk_steps=chunk_steps,
        )
        self.n_features = n_features
        self.features = features or IndependentFeatures()
        self.task = task or Identity()
        self.n_outputs = self.task.n_outputs(n_features)
        self.batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch
        self.val_batch_size = val_batch_size
        self.val_batches = val_batches
        self.chunk_steps = chunk_steps
        self.sweep = Sweep.of(sweep)
        self.n_instances = self.sweep.n_instances
        self.items_per_step = self.n_instances * batch_size
        if feature_probability is None:
            feature_probability = self.features.fixed_probability(n_features) or DEFAULT_PROBABILITY
        values = self.sweep.values("feature_probability", feature_probability)
        self.feature_probability = torch.stack([self._probabilities(p) for p in values])
        """The setting p of each instance and feature, `[n_instances, n_features]`."""
        self.features.check(n_features, self.feature_probability)
        self.marginal_probability = self.features.marginals(self.feature_probability, n_features)
        """The probability that each feature fires, `[n_instances, n_features]`."""
        # Seeds vary fastest, and all seeds of a point have its p. So may consecutive points (those that differ in the
        # importance, say), which then share their features: [n_distinct, 1, n_features, 1].
        of_points = self.feature_probability[:: self.sweep.n_seeds]
        distinct, counts = of_points.unique_consecutive(dim=0, return_counts=True)
        self._distinct_probability = (distinct if bool((counts == counts[0]).all()) else of_points)[:, None, :, None]

    def _probabilities(self, p: float | list[float]) -> Tensor:
        values = torch.tensor(p, dtype=torch.float32).expand(self.n_features) if isinstance(p, (int, float)) else None
        if values is None:
            if len(p) != self.n_features:  # type: ignore[arg-type]
                reject("feature_probability", p, f"a number, or one for each of the {self.n_features} features")
            values = torch.tensor(p, dtype=torch.float32)
        if not bool(((values > 0) & (values <= 1)).all()):
            reject("feature_probability", p, "numbers in (0, 1]")
        return values

    def setup(self, stage: str) -> None:
        trainer = self.trainer
        assert trainer is not None
        for name in ("batch_size", "val_batch_size"):
            if getattr(self, name) % trainer.world_size:
                reject(f"data.{name}", getattr(self, name), f"a multiple of the {trainer.world_size} ranks")
        if stage == "fit" and trainer.accumulate_grad_batches > 1:
            raise UserError(
                f"trainer.accumulate_grad_batches is {trainer.accumulate_grad_batches}; allowed: 1 for synthetic "
                "features (raise data.batch_size instead)"
            )

    def settings(self) -> dict[str, Any]:
        return {
            "feature_probability": self.feature_probability.tolist(),
            "features": describe(self.features),
            "task": describe(self.task),
            "batch_size": self.batch_size,
        }

    def train_dataloader(self) -> StepStream[Any]:
        """Chunks for a module that steps its optimiser itself, single batches for one that Lightning steps."""
        trainer = self.trainer
        assert trainer is not None
        if trainer.lightning_module.automatic_optimization:
            return StepStream(lambda slot: next(iter(self.draw(slot))), trainer, self.steps_per_epoch)
        return StepStream(self.draw, trainer, self.steps_per_epoch, self.chunk_steps)

    def draw(self, slot: Slot) -> ToyChunk:
        """The rows of one rank, for the steps of a slot."""
        rows = slot.rows(self.batch_size)
        return ToyChunk(slot.step, slot.n_steps, lambda step: self.batch("features", step, rows, self.batch_size))

    def val_dataloader(self) -> "ValidationRows":
        return ValidationRows(self, "validation")

    def test_dataloader(self) -> "ValidationRows":
        return ValidationRows(self, "test")

    def predict_dataloader(self) -> "ValidationRows":
        return ValidationRows(self, "validation")

    def batch(self, purpose: str, step: int, rows: range, total_rows: int) -> ToyBatch:
        """Rows `rows` of the `total_rows` that belong to a step.

        Args:
            purpose: `features` draws for each seed; any other purpose draws the same rows for all instances.
            step: Which draw.
            rows: Global row numbers to keep.
            total_rows: Rows of the whole step.
        """
        seeds = self.sweep.axes["seed"] if purpose == "features" else [VALIDATION_SEED]

        def uniform(purpose: str, n_draws: int) -> Tensor:
            drawn = keyed_uniform(purpose, seeds, step, (n_draws, total_rows))
            return drawn if len(rows) == total_rows else drawn[..., rows.start : rows.stop]

        draws = uniform(purpose, self.features.n_draws(self.n_features))
        features = self.features.sample(draws, self._distinct_probability)  # [n_distinct or 1, n_seeds or 1, ...]
        n_draws = self.task.n_draws(self.n_features)
        targets = self.task.sample(features, uniform(f"{purpose}/targets", n_draws)) if n_draws else self.task(features)
        x = self._of_instances(features)
        y = x if targets is features else self._of_instances(targets)
        return ToyBatch(step, (rows.start, total_rows), x, y)

    def _of_instances(self, values: Tensor) -> Tensor:
        """`[n_instances, batch, n]` from `[n_distinct or 1, n_seeds or 1, n, batch]`."""
        values = values if values.ndim == 4 else values.unsqueeze(0)
        n_distinct = len(self._distinct_probability)
        shape = (n_distinct, self.sweep.n_points // n_distinct, self.sweep.n_seeds, *values.shape[2:])
        return values.unsqueeze(1).expand(shape).flatten(0, 2).mT


class ValidationRows:
    """The fixed validation (or test) rows of one rank: the same in every epoch and run, split evenly over ranks."""

    def __init__(self, data: SyntheticFeatures, purpose: str) -> None:
        self.data = data
        self.purpose = purpose

    def __len__(self) -> int:
        return self.data.val_batches

    def __iter__(self) -> Iterator[ToyBatch]:
        trainer, total = self.data.trainer, self.data.val_batch_size
        rank, world_size = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        rows = Slot(step=0, rank=rank, world_size=world_size).rows(total)
        for index in range(len(self)):
            yield self.data.batch(self.purpose, index, rows, total)
