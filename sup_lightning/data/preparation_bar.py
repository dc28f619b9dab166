"""What a preparation shows on a terminal."""

import sys
import time
from types import TracebackType

from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class PreparationBar:
    """A progress bar with documents, tokens and MB/s; only on a terminal, and only of rank zero.

    Args:
        text_bytes: The size of the whole text, if it is known.
        console: Where it is drawn; standard error if not given.
    """

    def __init__(self, text_bytes: int | None, console: Console | None = None) -> None:
        console = console or Console(file=sys.stderr)
        self._progress = Progress(
            TextColumn("Preparing text"),
            BarColumn(),
            TextColumn("{task.fields[shown]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal or getattr(rank_zero_only, "rank", 0) != 0,
            transient=True,
        )
        self._task = self._progress.add_task("", total=text_bytes, shown="")
        self._documents = self._tokens = 0
        self._before: int | None = None

    def __enter__(self) -> "PreparationBar":
        self._start = time.monotonic()
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def advance(self, documents: int, tokens: int, n_bytes: int) -> None:
        """Count what was prepared; the first call says what was there already, which is left out of the speed."""
        if self._before is None:
            self._before = n_bytes
        self._documents += documents
        self._tokens += tokens
        done = int(self._progress.tasks[0].completed) + n_bytes
        speed = (done - self._before) / 1e6 / max(1e-9, time.monotonic() - self._start)
        shown = f"{self._documents:,} documents, {self._tokens:,} tokens, {speed:.1f} MB/s"
        self._progress.update(self._task, completed=done, shown=shown)
