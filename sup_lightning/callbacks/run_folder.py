"""Where callbacks put their files."""

from pathlib import Path

from lightning.pytorch import Trainer


def run_folder(trainer: Trainer) -> Path | None:
    """The run directory; None in a `fast_dev_run`, and where nobody has named a folder.

    Safe on rank zero alone, unlike `trainer.log_dir`, which waits for all ranks.
    """
    directory = getattr(trainer.logger, "log_dir", None)
    if trainer.logger is None and Path(trainer.default_root_dir) != Path.cwd():
        directory = trainer.default_root_dir
    return Path(directory) if directory and not trainer.fast_dev_run else None  # type: ignore[attr-defined]
