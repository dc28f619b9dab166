"""`sup study`, `sup studies` and `sup report`."""

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sup_lightning.errors import UserError, reject
from sup_lightning.lightning_cli import SupArgumentParser
from sup_lightning.studies.registry import MODULES, study_class
from sup_lightning.studies.report import RESULTS, build, known_results
from sup_lightning.studies.runner import Settings, run_study
from sup_lightning.studies.study import Size, Study, check_id

COLOURS = {"supported": "green", "not supported": "red", "mixed": "yellow", "inconclusive": "bright_black"}
RUNS = Path("lightning_logs")


def study(arguments: Sequence[str]) -> None:
    """Run one study and say what it found."""
    if not arguments or arguments[0] in ("-h", "--help"):
        Console().print("usage: sup study <id> [options]; `sup study M01 --help` lists the options of one\n")
        studies([])
        return
    if arguments[0].startswith("-"):
        reject("study", arguments[0], f"an id first, one of {', '.join(MODULES)}")
    chosen = study_class(check_id(arguments[0], MODULES))
    given = _study_parser(chosen).parse_args(list(arguments[1:]))
    if given.quick and given.full:
        raise UserError("--quick and --full exclude each other")
    options = {name: given[name] for name in _option_names(chosen)}
    settings = Settings(Size.QUICK if given.quick else Size.FULL, given.seed, given.device, Path(given.runs))
    folder = run_study(chosen(**options), settings)
    _summarise(json.loads((folder / RESULTS).read_text()), folder)


def _study_parser(chosen: type[Study]) -> SupArgumentParser:
    quick, full = chosen.minutes
    about = f"{chosen.title}: {chosen.question} About {quick:g} minutes quick, {full:g} full, on two cores."
    parser = SupArgumentParser(prog=f"sup study {chosen.id}", description=about)
    parser.add_argument("--quick", action="store_true", help="Minutes on two cores.")
    parser.add_argument("--full", action="store_true", help="The size that is meant to hold up (the default).")
    parser.add_argument("--seed", type=int, default=0, help="First training seed.")
    parser.add_argument("--device", type=str | None, help="Lightning's accelerator: cpu, gpu, auto …")
    parser.add_argument("--runs", type=str, default=str(RUNS), help="Folder of all runs.")
    parser.add_class_arguments(chosen)
    return parser


def _option_names(chosen: type[Study]) -> list[str]:
    return [name for name in inspect.signature(chosen).parameters if name not in ("args", "kwargs")]


def _summarise(results: dict[str, Any], folder: Path) -> None:
    """The verdict and the claims, on the terminal."""
    console = Console()
    console.print(f"\n[bold]{results['id']} {results['title']}[/]: {_coloured(results['verdict'])}")
    if results["gate"]:
        console.print(results["gate"])
    table = Table("claim", "effect", "95 % interval", "outcome")
    for claim in results["claims"]:
        low, high = (f"{float(end):.4g}" for end in claim["interval"])
        table.add_row(claim["text"], f"{float(claim['effect']):.4g}", f"{low} to {high}", _coloured(claim["outcome"]))
    console.print(table)
    console.print(f"Answer, figures and tables: {folder}", soft_wrap=True)


def _coloured(outcome: str) -> str:
    return f"[{COLOURS[outcome]}]{outcome}[/]"


def studies(arguments: Sequence[str]) -> None:
    """List all studies with what is known so far."""
    parser = SupArgumentParser(prog="sup studies", description="List all studies, and what they found.")
    parser.add_argument("--runs", type=str, default=str(RUNS), help="Folder of all runs.")
    runs = Path(parser.parse_args(list(arguments)).runs)
    answers = {result["id"]: result for result in known_results(runs)}
    table = Table("study", "question", "minutes (quick, full)", "answer")
    for study_id in MODULES:
        chosen, result = study_class(study_id), answers.get(study_id)
        status = f"{_coloured(result['verdict'])} ({result['size']}, {result['date']})" if result else "not run"
        table.add_row(study_id, chosen.question, f"{chosen.minutes[0]:g}, {chosen.minutes[1]:g}", status)
    Console().print(table)


def report(arguments: Sequence[str]) -> None:
    """Write the page of all answers."""
    parser = SupArgumentParser(prog="sup report", description="Write a static page of all answers.")
    parser.add_argument("--runs", type=str, default=str(RUNS), help="Folder of all runs.")
    parser.add_argument(
        "--out", type=str | None, help="Folder of the page; `report` in the folder of runs if left out."
    )
    given = parser.parse_args(list(arguments))
    runs = Path(given.runs)
    page = build(runs, Path(given.out) if given.out else runs / "report")
    Console().print(f"Report: {page.resolve()}", soft_wrap=True)
