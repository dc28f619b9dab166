"""Runs a study: trains or loads what it needs, lets it answer, and writes the answer down."""

import dataclasses
import inspect
import json
import math
import shlex
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch.utils.tensorboard import SummaryWriter

from sup_lightning.callbacks.run_record import run_record
from sup_lightning.experiment import Run, options_of, train_or_load
from sup_lightning.studies.report import REPORT, RESULTS, markdown
from sup_lightning.studies.study import Answer, Size, Study, config_of, seed_of, without_folders


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a study is run.

    Attributes:
        size: Quick or full.
        seed: First training seed.
        device: Lightning's accelerator, `auto`, `cpu`, `gpu` …; as the experiment says if left out.
        runs: Folder of all runs.
    """

    size: Size = Size.FULL
    seed: int = 0
    device: str | None = None
    runs: Path = Path("lightning_logs")

    def folder(self, study_id: str) -> Path:
        """Where a study's answer is written."""
        return self.runs / "studies" / study_id / self.size


def run_study(study: Study, settings: Settings) -> Path:
    """Train what is missing, answer, and write results, report, figures, tables and TensorBoard events.

    Returns:
        The folder of the answer.
    """
    started = time.perf_counter()
    runs = {
        name: train_or_load(options_for(study, name, settings), settings.runs, label=settings.size)
        for name in study.experiments
    }
    training_ended = time.perf_counter()
    with torch.no_grad():
        answer = study.answer(runs)
    results = _results(study, settings, answer, runs)
    results["seconds"] = {
        "training": round(sum(float(run.record.get("seconds", 0.0)) for run in runs.values()), 1),
        "measuring": round(time.perf_counter() - training_ended, 1),
        "this call": round(time.perf_counter() - started, 1),
    }
    folder = settings.folder(study.id)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):  # another process may have answered it as well
        _write(answer, results, folder)
    return folder


def _write(answer: Answer, results: dict[str, Any], folder: Path) -> None:
    """Write beside the folder and rename, so that figures, tables and claims there are always of one answer."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for part in ("figures", "tables"):
        (partial / part).mkdir(parents=True)
    for name, picture in answer.pictures.items():
        picture.figure.savefig(partial / "figures" / f"{name}.png", dpi=130)
    for name, table in answer.tables.items():
        table.to_csv(partial / "tables" / f"{name}.csv", index=False)
    _write_events(answer, partial)
    (partial / REPORT).write_text(markdown(results))
    (partial / RESULTS).write_text(json.dumps(results, indent=1, ensure_ascii=False))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def options_for(study: Study, experiment: str, settings: Settings) -> list[str]:
    """The options of `sup fit` with which a study trains one of its experiments."""
    options = options_of(
        config_of(experiment),
        *study.overlays(experiment, settings.size),
        seed_everything=seed_of(experiment, settings.seed),
        **study.overrides(experiment),
    )
    if settings.device is not None:
        options.append(f"--trainer.accelerator={settings.device}")
    return options


def _write_events(answer: Answer, folder: Path) -> None:
    with SummaryWriter(str(folder)) as writer:
        writer.add_text("verdict", answer.verdict)
        for number, claim in enumerate(answer.claims, start=1):
            for name, value in zip(("effect", "low", "high"), (claim.effect, *claim.interval), strict=True):
                writer.add_scalar(f"claim_{number}/{name}", value)
        for name, picture in answer.pictures.items():
            writer.add_figure(name, picture.figure, close=False)


def _results(study: Study, settings: Settings, answer: Answer, runs: dict[str, Run]) -> dict[str, Any]:
    """The answer as plain values."""
    return {
        "id": study.id,
        "title": study.title,
        "question": study.question,
        "hypothesis": study.hypothesis,
        "revised": study.revised,
        "caveat": study.caveat,
        "size": str(settings.size),
        "seed": settings.seed,
        "verdict": str(answer.verdict),
        "gate": answer.gate,
        "claims": [
            {
                **{name: _plain(value) for name, value in dataclasses.asdict(claim).items()},
                "outcome": str(claim.outcome),
            }
            for claim in answer.claims
        ],
        "comparisons": [dataclasses.asdict(comparison) for comparison in answer.comparisons],
        "figures": [
            {"file": f"figures/{name}.png", "caption": picture.caption} for name, picture in answer.pictures.items()
        ],
        "tables": [f"tables/{name}.csv" for name in answer.tables],
        "experiments": [_experiment(name, run, study, settings) for name, run in runs.items()],
        "command": _command(study, settings),
        # The command as it was typed has the machine's folders in it, which give nobody the same answer.
        "record": run_record(settings.seed) | {"command": _command(study, settings)},
        "date": datetime.now(UTC).date().isoformat(),
    }


def _command(study: Study, settings: Settings) -> str:
    """What to type for the same answer."""
    words = ["sup", "study", study.id, f"--{settings.size}", f"--seed={settings.seed}"]
    if settings.device is not None:
        words.append(f"--device={settings.device}")
    for name, parameter in inspect.signature(type(study)).parameters.items():
        value = getattr(study, name, parameter.default)
        if value != parameter.default:
            words.append(f"--{name}={without_folders(value)}")
    return shlex.join(words)


def _experiment(name: str, run: Run, study: Study, settings: Settings) -> dict[str, Any]:
    assert run.directory is not None
    configs = [config_of(name), *study.overlays(name, settings.size)]
    return {
        "name": name,
        "directory": str(run.directory.relative_to(settings.runs)),
        "configs": {f"{path.parent.name}/{path.name}": path.read_text() for path in configs},
        "overrides": study.overrides(name),
        "n_instances": getattr(getattr(run.model, "sweep", None), "n_instances", 1),
        "steps": run.record.get("steps"),
        "seconds": run.record.get("seconds"),
        "commit": run.record.get("commit"),
    }


def _plain(value: Any) -> Any:
    """JSON has no infinity: it is written as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return [_plain(each) for each in value] if isinstance(value, (tuple, list)) else value
