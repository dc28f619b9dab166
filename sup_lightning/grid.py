"""`sup sweep`: what cannot share a tensor (widths, activations, data) as a grid of runs that ends in one table."""

import hashlib
import itertools
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from rich.console import Console
from rich.table import Table

from sup_lightning.errors import UserError
from sup_lightning.experiment import Run, experiment_of, train_or_load, untrained

if TYPE_CHECKING:
    import pandas as pd

USAGE = """\
usage: sup sweep --config CONFIG --over NAME=VALUES [--over NAME=VALUES ...] [options of sup fit]

Train a grid of runs, one after another. What was finished is not trained again, what was interrupted goes on, and all
ends in one table. Settings that can share a tensor (seed, feature_probability, importance, dropout) are faster in the
config's `sweep:` block, which trains them side by side.

  sup sweep --config configs/experiment/toy_relu-output_5-2.yaml \\
      --over model.net.n_hidden=2,3,4 --over model.net.activation=relu,linear

options:
  --over NAME=VALUES  a dotted option of sup fit and its values: comma-separated, or a YAML list
  --runs FOLDER       folder of all runs (default: lightning_logs)
  --table FILE        where the table goes (default: <runs>/<experiment>/sweep-<digest>.csv)
"""
SHOWN = ("val/loss", "val/loss_best", "val/fvu", "sup/represented_features", "sup/feature_dimensionality")
"""Columns on the terminal, those of them that the runs have; the file has every metric."""


@dataclass(frozen=True)
class Grid:
    """Axes of a grid of runs, and the options that all share."""

    axes: dict[str, list[str]]
    options: list[str]
    runs: Path
    table: Path | None

    @property
    def points(self) -> list[dict[str, str]]:
        """The settings of each run; the last axis varies fastest."""
        return [dict(zip(self.axes, values, strict=True)) for values in itertools.product(*self.axes.values())]

    def options_of(self, point: dict[str, str]) -> list[str]:
        return [*self.options, *(f"--{name}={value}" for name, value in point.items())]


def parse(arguments: Sequence[str]) -> Grid:
    """The grid that a command line describes.

    Raises:
        UserError: If an axis is missing, empty, given twice, or has a value twice.

    >>> grid = parse(["--config", "a.yaml", "--over", "model.net.n_hidden=2,3"])
    >>> grid.axes, grid.options
    ({'model.net.n_hidden': ['2', '3']}, ['--config=a.yaml'])
    """
    axes: dict[str, list[str]] = {}
    options: list[str] = []
    runs, table = Path("lightning_logs"), None
    words = list(arguments)
    while words:
        name, equals, value = words.pop(0).partition("=")
        if not name.startswith("--"):
            raise UserError(f"{name!r} is not an option; options start with --")
        if not equals:
            if not words:
                raise UserError(f"{name} needs a value")
            value = words.pop(0)
        if name == "--over":
            axis, values = _axis(value)
            if axis in axes:
                raise UserError(f"--over names {axis} twice")
            axes[axis] = values
        elif name == "--runs":
            runs = Path(value)
        elif name == "--table":
            table = Path(value)
        elif name in ("--version", "--ckpt_path"):
            raise UserError(f"{name} is not an option of sup sweep: each point of the grid has a run of its own")
        else:
            options.append(f"{name}={value}")
    if not axes:
        raise UserError("sup sweep needs --over NAME=VALUES, such as --over model.net.n_hidden=2,3")
    return Grid(axes, options, runs, table)


def _axis(text: str) -> tuple[str, list[str]]:
    name, equals, listed = text.partition("=")
    if not equals or not name:
        raise UserError(f"--over is {text!r}; allowed: NAME=VALUES, such as model.net.n_hidden=2,3")
    if listed.startswith("["):
        try:
            parsed = yaml.safe_load(listed)
        except yaml.YAMLError:
            raise UserError(f"--over {name} is {listed!r}; allowed: comma-separated values, or a YAML list") from None
        values = [each if isinstance(each, str) else yaml.safe_dump(each, default_flow_style=True) for each in parsed]
        values = [each.removesuffix("\n...\n").strip() for each in values]
    else:
        values = [each.strip() for each in listed.split(",")]
    if "" in values or len(set(values)) < len(values):
        raise UserError(f"--over {name} is {listed!r}; allowed: values that differ, none of them empty")
    return name.removeprefix("--"), values


def sweep(arguments: Sequence[str]) -> None:
    """Train a grid of runs, and print and save one table."""
    console = Console()
    if not arguments or arguments[0] in ("-h", "--help"):
        console.print(USAGE, highlight=False, markup=False)
        return
    grid = parse(arguments)
    for point in grid.points:  # a mistake in the last point is not found out hours later
        untrained(grid.options_of(point))
    rows = []
    for number, point in enumerate(grid.points, start=1):
        label = ",".join(f"{name.rpartition('.')[2]}={value}" for name, value in point.items())
        console.print(f"[bold]{number} of {len(grid.points)}[/] {label}", highlight=False)
        rows.append(point | _measured(train_or_load(grid.options_of(point), grid.runs, label="sweep")))
    import pandas as pd

    table = pd.DataFrame(rows)
    path = grid.table or _default_path(grid)
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)
    _print(console, table[[*grid.axes, *(name for name in SHOWN if name in table)]])
    console.print(f"All metrics: {path}", soft_wrap=True)


def _measured(run: Run) -> dict[str, object]:
    return {**run.record.get("metrics", {}), "seconds": run.record.get("seconds"), "directory": str(run.directory)}


def _default_path(grid: Grid) -> Path:
    text = shlex.join([*grid.options, *(f"{name}={values}" for name, values in grid.axes.items())])
    digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    return grid.runs / experiment_of(grid.options) / f"sweep-{digest}.csv"


def _print(console: Console, table: "pd.DataFrame") -> None:
    shown = Table(*[str(name).rpartition(".")[2] for name in table])
    for _, row in table.iterrows():
        shown.add_row(*[f"{value:.5g}" if isinstance(value, float) else str(value) for value in row])
    console.print(shown)
