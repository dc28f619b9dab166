"""A small study, run as `sup study` runs one: trained once, loaded after that, written down, shown on the page."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

from sup_lightning.callbacks import GeometryFigures
from sup_lightning.callbacks.checkpoint import LAST
from sup_lightning.cli import main
from sup_lightning.experiment import Run, options_of, train_or_load
from sup_lightning.functional.intervals import seed_interval
from sup_lightning.studies import report
from sup_lightning.studies.runner import Settings, run_study
from sup_lightning.studies.study import Answer, Comparison, Picture, Size, Study
from sup_lightning.studies.verdict import Claim, Outcome
from tests.helpers import TOY, events

TINY = {
    "trainer": {"max_epochs": 2, "log_every_n_steps": 10, "enable_progress_bar": False},
    "data": {"steps_per_epoch": 20, "val_batch_size": 64, "val_batches": 1, "batch_size": 16},
    "sweep": {"seed": 6},
}


class SmallStudy(Study):
    """Whether training lowers the loss.

    Args:
        p: Feature probability.
        model: Is not used.
    """

    id = "M01"
    title = "Small"
    question = "Does training lower the loss?"
    hypothesis = "Yes: the median is below 1."
    caveat = "It is a test."
    experiments = ("toy_relu-output_5-2",)
    minutes = (0.1, 0.1)

    def __init__(self, p: float = 0.05, model: str = "") -> None:
        self.p, self.model = p, model

    def overrides(self, experiment: str) -> dict[str, Any]:
        return TINY | {"data": {**TINY["data"], "feature_probability": self.p}}

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        (run,) = runs.values()
        loss = torch.tensor(run.final["loss"].to_numpy())
        median, low, high = (float(value) for value in seed_interval(loss))
        claim = Claim("the loss is low", median, (low, high), (-math.inf, 1.0), "zero: 0.08", "median loss")
        picture = Picture(Figure(), "Nothing to see.")
        comparison = Comparison("loss", "0.5", "0.4", f"{median:.2g}", contradicted=True)
        return Answer([claim], {"nothing": picture}, {"instances": run.final}, [comparison])


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(Size.QUICK, seed=3, runs=tmp_path / "runs")


def test_study_is_written_down(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["sup", "study", "M01", "--runs", str(settings.runs)])
    folder = run_study(SmallStudy(model=str(settings.runs / "experiment" / "version")), settings)
    for name in ("results.json", "report.md"):
        assert str(settings.runs) not in (folder / name).read_text()  # the folders of a machine are its own
    results = json.loads((folder / "results.json").read_text())
    assert results["command"] == "sup study M01 --quick --seed=3 --model=experiment/version"
    assert results["verdict"] == "supported"
    assert results["claims"][0]["holds"] == ["-inf", 1.0]
    assert results["experiments"][0]["n_instances"] == 6
    assert results["experiments"][0]["steps"] == 40
    assert results["record"]["version/torch"] == torch.__version__
    assert "trainer:" in results["experiments"][0]["configs"]["experiment/toy_relu-output_5-2.yaml"]
    assert (folder / "figures" / "nothing.png").is_file()
    assert (folder / "tables" / "instances.csv").read_text().count("\n") == 7
    assert "**Verdict: supported**" in (folder / "report.md").read_text()
    shown = events(folder)
    assert shown.Scalars("claim_1/effect")[0].value == pytest.approx(results["claims"][0]["effect"])
    assert shown.Tags()["images"] == ["nothing"]


def test_a_study_trains_once(settings: Settings) -> None:
    first = json.loads((run_study(SmallStudy(), settings) / "results.json").read_text())
    run_directory = settings.runs / first["experiments"][0]["directory"]
    written = (run_directory / LAST).stat().st_mtime_ns
    second = json.loads((run_study(SmallStudy(), settings) / "results.json").read_text())
    assert (run_directory / LAST).stat().st_mtime_ns == written
    assert second["claims"] == first["claims"]
    other = json.loads((run_study(SmallStudy(p=0.2), settings) / "results.json").read_text())
    assert other["experiments"][0]["directory"] != first["experiments"][0]["directory"]
    assert other["experiments"][0]["overrides"]["data"]["feature_probability"] == 0.2
    assert first["command"] == "sup study M01 --quick --seed=3"
    assert other["command"] == "sup study M01 --quick --seed=3 --p=0.2"


def test_what_is_loaded_is_what_was_trained(tmp_path: Path) -> None:
    options = options_of(TOY, **TINY)
    trained, loaded = (train_or_load(options, tmp_path) for _ in range(2))
    assert torch.equal(trained.model.feature_directions(), loaded.model.feature_directions())
    assert trained.final.equals(loaded.final)
    assert loaded.metrics == pytest.approx(trained.metrics, nan_ok=True, rel=0, abs=0)
    assert loaded.record["finished"]
    assert loaded.record["steps"] == 40


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train_or_load(options_of(TOY, **TINY), tmp_path / "whole")

    def stop(self: GeometryFigures, trainer: Any, module: Any) -> None:
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(GeometryFigures, "on_train_epoch_end", stop)
        with pytest.raises(KeyboardInterrupt):
            train_or_load(options_of(TOY, **TINY), tmp_path / "cut")
    resumed = train_or_load(options_of(TOY, **TINY), tmp_path / "cut")
    assert torch.equal(whole.model.feature_directions(), resumed.model.feature_directions())
    assert resumed.record["finished"]
    assert len(list((tmp_path / "cut" / "toy_relu-output_5-2").glob("run-*"))) == 1


def test_page_of_all_answers(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_study(SmallStudy(), settings)
    page = report.build(settings.runs, tmp_path / "page")
    text = page.read_text()
    for wanted in ("Does training lower the loss?", "supported", "contradicted", "M01/figures/nothing.png", "≤ 1"):
        assert wanted in text
    assert "http" not in text.replace("http-equiv", "")  # opens from disk, asks for nothing
    assert (page.parent / "M01" / "figures" / "nothing.png").is_file()
    assert "figures/nothing.png" in (page.parent / "M01" / "report.md").read_text()
    assert report.build(settings.runs, tmp_path / "page") == page  # an older page is replaced


def test_answers_stay_on_the_page_when_the_runs_are_gone(settings: Settings, tmp_path: Path) -> None:
    run_study(SmallStudy(), settings)
    before = report.build(settings.runs, tmp_path / "page").read_text()
    assert report.build(tmp_path / "no runs here", tmp_path / "page").read_text() == before


def test_full_size_is_shown_before_quick(settings: Settings) -> None:
    run_study(SmallStudy(), settings)
    run_study(SmallStudy(), Settings(Size.FULL, runs=settings.runs))
    assert [result["size"] for result in report.known_results(settings.runs)] == ["full"]


def test_a_failed_gate_is_inconclusive() -> None:
    claim = Claim("it holds", 1.0, (1.0, 1.0), (0.0, math.inf), "none")
    assert Answer([claim], {}).verdict == Outcome.SUPPORTED
    assert Answer([claim], {}, gate="the model learned nothing").verdict == Outcome.INCONCLUSIVE


def exit_status(arguments: list[str]) -> int:
    try:
        main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["study", "M99"], "study is 'M99'; allowed: one of M01, M02"),
        (["study", "--quick"], "study is '--quick'; allowed: an id first"),
        (["study", "M01", "--quick", "--full"], "--quick and --full exclude each other"),
        (["study", "M01", "--sed", "3"], "--sed is not an option (did you mean seed?)"),
        (["study", "M01", "--seed", "many"], "seed is 'many'; allowed: int"),
        (["study", "M01", "--quick", "--p", "7"], "feature_probability is 7.0; allowed: numbers in (0, 1]"),
        (["report"], "no study has been run"),
        (["studies", "M01"], "M01"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sup_lightning.studies.command.study_class", lambda _: SmallStudy)
    assert exit_status(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert [line for line in lines if line.startswith("sup: error")] == [lines[-1]]
    assert message in lines[-1]


def test_study_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sup_lightning.studies.command.study_class", lambda _: SmallStudy)
    assert exit_status(["study", "m01", "--quick", "--p", "0.2"]) == 0
    assert "supported" in capsys.readouterr().out
    assert exit_status(["studies"]) == 0
    assert "supported (quick" in " ".join(capsys.readouterr().out.split())
    assert exit_status(["report"]) == 0
    assert (tmp_path / "lightning_logs" / "report" / "index.html").is_file()
    assert (tmp_path / "lightning_logs" / "studies" / "M01" / "quick" / report.RESULTS).is_file()
