"""Turns results into pages: `report.md` for one study, and one static HTML page for all."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from sup_lightning.errors import UserError
from sup_lightning.studies.registry import MODULES
from sup_lightning.studies.study import Size

RESULTS = "results.json"
"""A study's answer as plain values, in its folder."""
REPORT = "report.md"
MOST_ROWS = 40
"""Rows of a table that are shown; the whole is a click away."""


def _number(value: Any) -> str:
    """Four digits, whatever the magnitude; text as it is."""
    if isinstance(value, str):
        value = float(value) if value in ("inf", "-inf", "nan") else value
    return f"{value:.4g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def _region(holds: list[Any]) -> str:
    """Where a claim holds: `≥ .9`, `≤ .1` or `.3 to .5`."""
    low, high = (float(end) for end in holds)
    if high == float("inf"):
        return f"≥ {_number(low)}"
    return f"≤ {_number(high)}" if low == float("-inf") else f"{_number(low)} to {_number(high)}"


def _duration(seconds: Any) -> str:
    """`40 s`, `12 min`, `1.5 h`."""
    if seconds is None:
        return "unknown time"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("sup_lightning.studies"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "region": _region, "duration": _duration}
    return environment


def markdown(results: dict[str, Any]) -> str:
    """One study's answer as Markdown; figures by their relative paths."""
    return _environment().get_template("answer.md").render(study=results)


def known_results(runs: Path) -> list[dict[str, Any]]:
    """The answer of each study that was run, in the order of the list; the full size where there is one."""
    found = []
    for study_id in MODULES:
        for size in (Size.FULL, Size.QUICK):
            folder = runs / "studies" / study_id / size
            if (folder / RESULTS).is_file():
                found.append(json.loads((folder / RESULTS).read_text()) | {"folder": folder})
                break
    return found


def build(runs: Path, out: Path) -> Path:
    """Write the page of all answers; beside it, for each study, its results, `report.md`, figures and tables.

    Args:
        runs: Folder of all runs.
        out: Folder of the page. Answers of an older page stay where the runs have none: the runs behind a page need not
            be on one machine.

    Returns:
        The page.

    Raises:
        UserError: If no study has been run, or the folder is something else's.
    """
    page = out / "index.html"
    if out.exists() and any(out.iterdir()) and not page.is_file():
        raise UserError(
            f"out is {str(out)!r}, which holds something else; allowed: an empty folder, or an older report"
        )
    for study in known_results(runs):
        _copy(study, out / study["id"])
    studies = [_shown(out / study_id) for study_id in MODULES if (out / study_id / RESULTS).is_file()]
    if not studies:
        raise UserError(f"no study has been run: {runs / 'studies'} holds no results (run `sup study M01 --quick`)")
    page.write_text(_environment().get_template("report.html").render(studies=studies))
    return page


def _copy(study: dict[str, Any], target: Path) -> None:
    """Results, report, figures and tables into the page's folder."""
    if target.exists():
        shutil.rmtree(target)
    for file in [RESULTS, REPORT, *(figure["file"] for figure in study["figures"]), *study["tables"]]:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(study["folder"] / file, target / file)


def _shown(folder: Path) -> dict[str, Any]:
    """A study's results with the first rows of each table."""
    study = json.loads((folder / RESULTS).read_text())
    tables = {file: pd.read_csv(folder / file) for file in study["tables"]}
    study["previews"] = {
        file: {
            "columns": list(table),
            "rows": table.head(MOST_ROWS).astype(object).where(table.head(MOST_ROWS).notna(), "").values.tolist(),
            "n_rows": len(table),
        }
        for file, table in tables.items()
    }
    return study
