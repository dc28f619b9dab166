"""The one place that touches Lightning's own counters, so that they all mean optimiser steps."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.plugins import Precision
from lightning.pytorch.utilities.model_helpers import is_overridden

_STEP_HOOKS = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")


def count_optimizer_steps_as_batches(trainer: Trainer, n_steps: int) -> None:
    """Make Lightning count a training batch of several optimiser steps as that many batches.

    Lightning counts batches for the epoch's end, `val_check_interval`, the progress bar and the step of everything
    that is logged. Called at the end of `training_step`, this adds the steps that Lightning did not see, so all of
    these read true optimiser steps.

    Args:
        trainer: The trainer, inside `training_step`.
        n_steps: Optimiser steps that the present batch held.
    """
    extra = n_steps - 1
    if extra == 0:
        return
    loop = trainer.fit_loop.epoch_loop
    for progress in (loop.batch_progress.total, loop.batch_progress.current):
        for counter in ("ready", "started", "processed", "completed"):
            setattr(progress, counter, getattr(progress, counter) + extra)
    loop._batches_that_stepped += extra
    loop.batch_progress.is_last_batch = loop.batch_progress.current.ready >= trainer.num_training_batches
    if trainer.fit_loop._data_fetcher is not None:
        trainer.fit_loop._data_fetcher.fetched += extra


def log_at_true_step(trainer: Trainer) -> None:
    """Called at the start of a training batch: what is logged next carries the true optimiser step.

    Lightning counts the batches that stepped on its own, and is off by one after some resumes.
    """
    trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step


def align_loops(checkpoint: dict[str, Any], trainer: Trainer, steps_per_epoch: int) -> None:
    """Rewrite a checkpoint's loop counters as those of a run that is about to do its next step.

    Everything follows from the number of optimiser steps. Lightning instead remembers in which hook it was saved, and
    then repeats the end of an epoch, or slips by a micro-batch when the number of ranks has changed.

    Args:
        checkpoint: The loaded checkpoint, changed in place.
        trainer: The trainer that will resume.
        steps_per_epoch: Optimiser steps in an epoch.
    """
    step = checkpoint["global_step"]
    epoch, in_epoch = divmod(step, steps_per_epoch)
    begun = int(in_epoch > 0)
    state = checkpoint["loops"]["fit_loop"]
    for progress in (state["epoch_progress"]["total"], state["epoch_progress"]["current"]):
        progress.update(ready=epoch + begun, started=epoch + begun, processed=epoch, completed=epoch)
    batches = state["epoch_loop.batch_progress"]
    batches["is_last_batch"] = False
    for progress, steps in ((batches["total"], step), (batches["current"], in_epoch)):
        n = steps * trainer.accumulate_grad_batches
        # Within an epoch Lightning expects a checkpoint from the end of a batch, not yet counted as completed.
        progress.update(ready=n, started=n, processed=n, completed=n - begun)


def nobody_watches_steps(trainer: Trainer) -> bool:
    """Whether a step may go around Lightning's hooks, which cost as much as a toy step's arithmetic.

    True on a single device in full precision, if no callback and not the module has a hook within the step.
    """
    module = trainer.lightning_module
    watched = any(
        is_overridden(hook, each, parent)
        for hook in _STEP_HOOKS
        for parent, watchers in ((Callback, trainer.callbacks), (LightningModule, [module]))  # type: ignore[attr-defined]
        for each in watchers
    )
    return not watched and trainer.world_size == 1 and type(trainer.precision_plugin) is Precision


def step_unwatched(optimizer: LightningOptimizer) -> None:
    """Step the wrapped optimiser and count it, as `optimizer.step()` does, without the hooks."""
    optimizer._on_before_step()
    optimizer.optimizer.step()
    optimizer._on_after_step()
