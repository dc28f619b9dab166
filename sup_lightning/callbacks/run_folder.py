"""Where callbacks put their files."""

from pathlib import Path

from lightning.pytorch import Trainer


def run_folder(trainer: Trainer) -> Path | None:
    """The run directory; None without a logger, and in a `fast_dev_run`, which leaves no files.

    Safe on rank zero alone, unlike `trainer.log_dir`, which waits for all ranks.
    """
    directory = getattr(trainer.logger, "log_dir", None)
    return Path(directory) if directory and not trainer.fast_dev_run else None  # type: ignore[attr-defined]
