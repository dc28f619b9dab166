import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sup_lightning import fit
from sup_lightning.compare import command, compare
from sup_lightning.errors import UserError
from tests.helpers import TOY

RUNS = ("a", "b", "c")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Real runs: b and c have another feature probability, and b another seed."""
    folder = tmp_path_factory.mktemp("runs")
    data = {"steps_per_epoch": 20, "batch_size": 32, "val_batches": 1, "val_batch_size": 64}
    made = {}
    for name, seed, p in (("a", 0, 0.05), ("b", 1, 0.5), ("c", 0, 0.5)):
        made[name] = fit(
            TOY, version=name, runs=str(folder), seed_everything=seed, sweep={"seed": 2}, threads=1,
            data=data | {"feature_probability": p}, trainer={"max_epochs": 1, "callbacks": []},
        ).directory  # fmt: skip
    return made


def record(run: Path) -> dict[str, Any]:
    return yaml.safe_load((run / "run.yaml").read_text())


def test_what_two_runs_differ_in(runs: dict[str, Path]) -> None:
    found = compare(runs["a"], runs["b"])
    assert found.settings == {
        "seed_everything": (0, 1),
        "data.init_args.feature_probability": (0.05, 0.5),
    }
    assert found.origin == {"seed": (0, 1)}
    expected = [record(runs[name])["metrics"]["val/loss"] for name in "ab"]
    assert found.metrics["val/loss"] == tuple(expected)
    assert expected[1] > expected[0]
    assert found.metrics["steps"] == (20, 20)
    assert found.same == {"initial weights": "unknown", "data order": "unknown"}


def test_a_run_differs_from_itself_in_nothing(runs: dict[str, Path]) -> None:
    found = compare(runs["a"], runs["a"])
    assert (found.settings, found.origin) == ({}, {})
    assert all(a == b for a, b in found.metrics.values())


def test_hashes_tell_whether_two_runs_are_twins(runs: dict[str, Path]) -> None:
    for name, hashes in {
        "a": {"init_hash": "1", "data_hash": "2"},
        "b": {"init_hash": "1", "data_hash": "3"},
        "c": {"init_hash": "1"},
    }.items():
        (runs[name] / "run.yaml").write_text(yaml.safe_dump(record(runs[name]) | hashes))
    assert compare(runs["a"], runs["b"]).same == {"initial weights": "yes", "data order": "no"}
    assert compare(runs["a"], runs["c"]).same == {"initial weights": "yes", "data order": "unknown"}


@pytest.mark.parametrize(
    ("weights", "verdict"),
    [
        ({"embed": "1", "ln": "2"}, "yes, the 1 that both have"),
        ({"embed": "9", "ln": "2"}, "no"),
        ({"ln": "2"}, "no"),
        ({}, "no"),
    ],
)
def test_twins_may_have_weights_of_their_own(weights: dict[str, str], verdict: str, runs: dict[str, Path]) -> None:
    for name, by_name in (("a", {"embed": "1"}), ("b", weights)):
        hashes = {"init_hash": name, "init_hashes": by_name}
        (runs[name] / "run.yaml").write_text(yaml.safe_dump(record(runs[name]) | hashes))
    assert compare(runs["a"], runs["b"]).same["initial weights"] == verdict


def test_a_metric_that_one_has_not(runs: dict[str, Path]) -> None:
    unfinished = {name: value for name, value in record(runs["c"]).items() if name != "metrics"}
    (runs["c"] / "run.yaml").write_text(yaml.safe_dump(unfinished))
    found = compare(runs["a"], runs["c"])
    assert found.metrics["val/loss"] == (record(runs["a"])["metrics"]["val/loss"], None)


def test_the_tables(runs: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    command([str(runs["a"]), str(runs["b"])])
    shown = capsys.readouterr().out
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines()]
    assert ["data.init_args.feature_probability", "0.05", "0.5"] in cells
    a, b = (record(runs[name])["metrics"]["val/loss"] for name in "ab")
    assert ["val/loss", f"{a:.6g}", f"{b:.6g}", f"{b - a:+.4g}"] in cells
    assert "same initial weights: " in shown


def answer(folder: str, effect: float, **more: Any) -> Path:
    """A study's result folder; `test_runner` has the real thing."""
    claim = {"text": "pairs [of two] are opposite", "effect": effect, "outcome": "supported" if effect > 0 else "mixed"}
    experiment = {
        "name": "e",
        "configs": {"experiment/e.yaml": "data:\n  p: 0.1\n"},
        "overrides": {"sweep": {"seed": 3}},
    }
    results = {"id": "M01", "size": "quick", "seed": 0, "command": "sup study M01", "verdict": "supported"}
    results |= {"claims": [claim], "experiments": [experiment], "record": {"commit": "a", "version/torch": "2"}, **more}
    Path(folder).mkdir()
    Path(folder, "results.json").write_text(json.dumps(results))
    return Path(folder)


def test_what_two_answers_differ_in(capsys: pytest.CaptureFixture[str]) -> None:
    one, other = answer("one", 0.5), answer("other", -0.25, size="full", record={"commit": "b", "version/torch": "2"})
    found = compare(one, other)
    assert found.settings == {"size": ("quick", "full")}
    assert found.metrics == {"pairs [of two] are opposite": (0.5, -0.25)}
    assert found.origin == {
        "commit": ("a", "b"),
        "outcome of 'pairs [of two] are opposite'": ("supported", "mixed"),
    }
    command([str(one), str(other)])
    assert "[of two]" in capsys.readouterr().out  # brackets are text, not markup


def test_what_is_no_run_is_named(runs: dict[str, Path]) -> None:
    Path("empty").mkdir()
    for folder in ("empty", "nowhere"):
        with pytest.raises(UserError, match=f"{folder} is not a run; allowed: a run directory, with config.yaml"):
            compare(runs["a"], folder)
    with pytest.raises(UserError, match="is a run, one is an answer; allowed: two runs, or two answers"):
        compare(runs["a"], answer("one", 1.0))
