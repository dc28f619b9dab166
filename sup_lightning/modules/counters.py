"""The one place that touches Lightning's own step counters."""

from lightning.pytorch import Trainer


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
        progress.ready += extra
        progress.started += extra
        progress.processed += extra
        progress.completed += extra
    loop._batches_that_stepped += extra
    loop.batch_progress.is_last_batch = loop.batch_progress.current.ready >= trainer.num_training_batches
    if trainer.fit_loop._data_fetcher is not None:
        trainer.fit_loop._data_fetcher.fetched += extra
