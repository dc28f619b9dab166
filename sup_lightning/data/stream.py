"""Training data as a function of the optimiser step.

Nothing here has state: which rows a rank gets is index arithmetic on the trainer's step counter. So a resumed run, also
on another number of ranks, repeats and loses nothing, and there is no loader state to save.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class Slot:
    """What one rank is to draw next.

    Attributes:
        step: First optimiser step of the batch.
        n_steps: Number of consecutive optimiser steps that the batch holds.
        micro: Index of the micro-batch within the step (gradient accumulation).
        n_micro: Micro-batches in a step.
        rank: Global rank.
        world_size: Number of ranks.
    """

    step: int
    n_steps: int = 1
    micro: int = 0
    n_micro: int = 1
    rank: int = 0
    world_size: int = 1

    def rows(self, batch_size: int) -> range:
        """The rows of a step's global batch that belong to this rank and micro-batch, as global row numbers."""
        size = batch_size // (self.n_micro * self.world_size)
        start = (self.micro * self.world_size + self.rank) * size
        return range(start, start + size)


class StepStream(Generic[Batch]):
    """The training loader: an endless iterator whose next batch is `draw(slot)` at the trainer's present step.

    Args:
        draw: Maps a `Slot` to a batch. It must depend on the slot alone.
        trainer: Whose step counter is followed.
        steps_per_epoch: Optimiser steps in an epoch.
        chunk: Most optimiser steps that one batch may hold. A batch is cut short where something is due (end of the
            epoch, `max_steps`, logging, validation, a checkpoint), so that it happens on its true step.
    """

    def __init__(self, draw: Callable[[Slot], Batch], trainer: Trainer, steps_per_epoch: int, chunk: int = 1) -> None:
        self.draw = draw
        self.trainer = trainer
        self.steps_per_epoch = steps_per_epoch
        self.chunk = chunk

    def __len__(self) -> int:
        return self.steps_per_epoch * self.trainer.accumulate_grad_batches

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self.draw(self.next_slot())

    def next_slot(self) -> Slot:
        trainer = self.trainer
        n_micro = trainer.accumulate_grad_batches
        return Slot(
            step=trainer.global_step,
            n_steps=min(self.chunk, steps_until_due(trainer)) if self.chunk > 1 else 1,
            micro=trainer.fit_loop.epoch_loop.batch_progress.current.ready % n_micro,
            n_micro=n_micro,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )

    # Lightning asks a loader for its state before it trusts a mid-epoch resume; there is none to keep.
    def state_dict(self) -> dict[str, int]:
        return {"step": self.trainer.global_step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        pass


def steps_until_due(trainer: Trainer) -> int:
    """Optimiser steps until something must see the model: at least 1.

    Counts the end of the epoch, `max_steps`, `log_every_n_steps`, `val_check_interval`, checkpoints by step, and any
    callback that has a method `next_due_step(step: int) -> int | None`.
    """
    step = trainer.global_step
    progress = trainer.fit_loop.epoch_loop.batch_progress
    gaps = [int(trainer.num_training_batches) - progress.current.ready]
    if trainer.max_steps > 0:
        gaps.append(trainer.max_steps - step)
    if trainer.loggers:
        gaps.append(_gap(step, trainer.log_every_n_steps))  # type: ignore[attr-defined]
    if trainer.val_check_batch not in (None, float("inf")):
        done = progress.total.ready if trainer.check_val_every_n_epoch is None else progress.current.ready
        gaps.append(_gap(done, int(trainer.val_check_batch)))
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, ModelCheckpoint):
            gaps.append(_gap(step, callback._every_n_train_steps))
        elif hasattr(callback, "next_due_step") and (due := callback.next_due_step(step)) is not None:
            gaps.append(due - step)
    return max(1, min(gap for gap in gaps if gap > 0))


def _gap(done: int, every: int) -> int:
    """Steps until `done` is the next multiple of `every`; 0 (nothing due) if `every` is."""
    return every - done % every if every > 0 else 0
