"""`sup compare`: what two runs, or two answers of studies, differ in."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from sup_lightning.callbacks.run_record import RECORD, read_record
from sup_lightning.errors import UserError
from sup_lightning.lightning_cli import SupArgumentParser

CONFIG = "config.yaml"
RESULTS = "results.json"
NAMES_OF_A_RUN = ("runs", "version", "ckpt_path", "threads")
"""Settings that say where a run is or how fast, not what it is."""
HASHES = ("init_hash", "init_hashes", "data_hash")
"""Of a record: of all initial weights together, of each by name, and of the first batches."""


@dataclass(frozen=True)
class Described:
    """A run, or a study's answer, as flat values.

    Attributes:
        kind: `a run` or `an answer`.
        settings: What was asked for, by dotted name.
        metrics: What was measured.
        origin: Versions, commit and seed.
        hashes: Of initial weights and data order, as far as they are known.
    """

    kind: str
    settings: dict[str, Any]
    metrics: dict[str, float]
    origin: dict[str, Any]
    hashes: dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """What differs between two, each as name to (first, second); None is what one of them has not.

    Attributes:
        settings: Those that differ.
        metrics: All, equal ones too.
        origin: Versions, commit and seed where they differ.
        same: Whether initial weights and data order are the same: yes, no or unknown. Models of which one has weights
            that the other has not (a LayerNorm, a layer) have the same if all others are.
    """

    settings: dict[str, tuple[Any, Any]]
    metrics: dict[str, tuple[float | None, float | None]]
    origin: dict[str, tuple[Any, Any]]
    same: dict[str, str]


def compare(first: str | Path, second: str | Path) -> Comparison:
    """Compare two run directories, or two result folders of studies.

    Raises:
        UserError: If one is neither, or they are not of one kind.
    """
    a, b = describe(first), describe(second)
    if a.kind != b.kind:
        raise UserError(f"{first} is {a.kind}, {second} is {b.kind}; allowed: two runs, or two answers")
    same = {
        "initial weights": _same_weights(a.hashes, b.hashes),
        "data order": _same(a.hashes.get("data_hash"), b.hashes.get("data_hash")),
    }
    return Comparison(
        _differing(a.settings, b.settings), _pairs(a.metrics, b.metrics), _differing(a.origin, b.origin), same
    )


def describe(folder: str | Path) -> Described:
    """What a run directory or a study's result folder says.

    Raises:
        UserError: If it is neither.
    """
    folder = Path(folder)
    if (folder / RESULTS).is_file():
        return _describe_answer(json.loads((folder / RESULTS).read_text()))
    if (folder / CONFIG).is_file() and (folder / RECORD).is_file():
        return _describe_run(yaml.safe_load((folder / CONFIG).read_text()), read_record(folder))
    raise UserError(
        f"{folder} is not a run; allowed: a run directory, with {CONFIG} and {RECORD}, or a study's result folder, "
        f"with {RESULTS}"
    )


def _describe_run(config: Mapping[str, Any], record: Mapping[str, Any]) -> Described:
    settings = {name: value for name, value in config.items() if name not in NAMES_OF_A_RUN}
    metrics = {name: record[name] for name in ("steps", "seconds") if name in record} | record.get("metrics", {})
    hashes = {name: record[name] for name in HASHES if name in record}
    return Described("a run", _flat(settings), metrics, _origin(record), hashes)


def _describe_answer(results: Mapping[str, Any]) -> Described:
    settings: dict[str, Any] = {name: results[name] for name in ("id", "size", "seed", "command")}
    for experiment in results["experiments"]:
        for name, text in experiment["configs"].items():
            settings |= _flat(yaml.safe_load(text), f"{name}: ")
        settings |= _flat(experiment["overrides"], f"{experiment['name']}: ")
    outcomes = {f"outcome of {claim['text']!r}": claim["outcome"] for claim in results["claims"]}
    metrics = {claim["text"]: float(claim["effect"]) for claim in results["claims"]}
    origin = _origin(results["record"]) | {"verdict": results["verdict"]} | outcomes
    return Described("an answer", settings, metrics, origin, {})


def _origin(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name.startswith("version/") or name in ("commit", "seed")}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name; a list stays whole."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _pairs(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (a.get(name), b.get(name)) for name in [*a, *(name for name in b if name not in a)]}


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: pair for name, pair in _pairs(a, b).items() if pair[0] != pair[1]}


def _same(a: str | None, b: str | None) -> str:
    if a is None or b is None:
        return "unknown"
    return "yes" if a == b else "no"


def _same_weights(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    together = _same(a.get("init_hash"), b.get("init_hash"))
    by_name: tuple[dict[str, str], dict[str, str]] = (a.get("init_hashes", {}), b.get("init_hashes", {}))
    shared = by_name[0].keys() & by_name[1].keys()
    if together == "no" and shared and all(by_name[0][name] == by_name[1][name] for name in shared):
        return f"yes, the {len(shared)} that both have"
    return together


def command(arguments: Sequence[str]) -> None:
    """Print what two runs or answers differ in."""
    parser = SupArgumentParser(
        prog="sup compare", description="Compare two run directories, or two result folders of studies."
    )
    parser.add_argument("first", type=str, help="A run directory, or a study's result folder.")
    parser.add_argument("second", type=str, help="Another of the same kind.")
    given = parser.parse_args(list(arguments))
    _show(Console(markup=False), given.first, given.second, compare(given.first, given.second))


def _show(console: Console, first: str, second: str, found: Comparison) -> None:
    console.print(f"A: {first}\nB: {second}", soft_wrap=True)
    for title, pairs in (
        ("settings that differ", found.settings),
        ("versions, commit, seed that differ", found.origin),
    ):
        if pairs:
            table = Table(title, "A", "B")
            for name, (a, b) in pairs.items():
                table.add_row(name, _text(a), _text(b))
            console.print(table)
        else:
            console.print(f"{title}: no difference")
    table = Table("metric", "A", "B", "B - A")
    for name, (x, y) in found.metrics.items():
        table.add_row(name, _text(x), _text(y), "" if x is None or y is None else f"{y - x:+.4g}")
    console.print(table)
    for what, verdict in found.same.items():
        console.print(f"same {what}: {verdict}")


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
