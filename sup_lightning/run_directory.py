"""Where a run writes: `<root>/<experiment>/<version>`, one run each."""

import os
import re
from pathlib import Path

from sup_lightning.callbacks.checkpoint import LAST
from sup_lightning.callbacks.superposition import TABLE
from sup_lightning.errors import UserError, reject

_INHERITED = "SUP_RUN_VERSION"
"""Set for the processes that a run launches: all ranks must agree on the directory, and one of them creates it."""


class RunDirectory:
    """The directory of one run.

    Args:
        root: Folder of all runs.
        experiment: Name of the experiment.
        version: Name of the run; the next free `version_<n>` if left out (when resuming, the newest that can be).
        resume: Whether the run continues from its last checkpoint.

    Raises:
        UserError: If a name is no name, the directory holds a run already, there is nothing to resume, or it cannot
            be written to.
    """

    def __init__(self, root: str | Path, experiment: str, version: str | None = None, resume: bool = False) -> None:
        for option, name in (("experiment", experiment), ("version", version)):
            if name is not None and not re.fullmatch(r"[\w.=+-]+", name):
                reject(option, name, "letters, digits and . _ = + -")
        self.root = Path(root)
        self.experiment = experiment
        self._check_writable(self.root / experiment / (version or ""))
        inherited = os.environ.get(_INHERITED)
        if inherited is not None:
            self.version = inherited
        elif resume:
            self.version = version or self._newest_resumable()
        else:
            self.version = version or self._claim_number()
            if any((self.path / mark).exists() for mark in (TABLE, LAST)):
                raise UserError(
                    f"{self.path} already holds a run; continue it with --ckpt_path last, or choose another --version"
                )
        if resume and not self.last_checkpoint.is_file():
            raise UserError(f"nothing to resume: {self.last_checkpoint} does not exist")

    @property
    def path(self) -> Path:
        return self.root / self.experiment / self.version

    @property
    def last_checkpoint(self) -> Path:
        return self.path / LAST

    def release(self) -> None:
        """Remove the directory if nothing was written to it."""
        for folder in (self.path, self.path.parent, self.root):
            try:
                folder.rmdir()
            except OSError:  # not there, or not empty
                return

    def share_with_ranks(self) -> None:
        """Let the processes that this one launches write to the same directory."""
        os.environ[_INHERITED] = self.version

    @staticmethod
    def forget() -> None:
        """End of `share_with_ranks`."""
        os.environ.pop(_INHERITED, None)

    def _numbers(self) -> list[int]:
        folder = self.root / self.experiment
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        return [int(match[1]) for name in names if (match := re.fullmatch(r"version_(\d+)", name))]

    def _claim_number(self) -> str:
        """The next free `version_<n>`, made at once, so that no run started beside this one takes it too."""
        number = max(self._numbers(), default=-1) + 1
        while True:
            name = f"version_{number}"
            try:
                (self.root / self.experiment / name).mkdir(parents=True)
            except FileExistsError:
                number += 1
            except OSError:
                return name  # not writable: said below
            else:
                return name

    def _newest_resumable(self) -> str:
        folder = self.root / self.experiment
        found = [path for path in folder.glob(f"*/{LAST}") if path.is_file()]
        if not found:
            raise UserError(f"nothing to resume: no run in {folder} has a {LAST}")
        return max(found, key=lambda path: path.stat().st_mtime).parents[1].name

    def _check_writable(self, folder: Path) -> None:
        existing = folder
        while not existing.exists():
            existing = existing.parent
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            raise UserError(f"the run directory {folder} cannot be written to ({existing} does not allow it)")
