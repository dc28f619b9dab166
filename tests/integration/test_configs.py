"""Every committed config runs."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from sup_lightning import cli
from sup_lightning.experiment import resolved
from sup_lightning.modules import LanguageModel
from tests.helpers import EXPERIMENTS, ROOT

QUICK = sorted((ROOT / "configs" / "quick").glob("*.yaml"))
TEXT = "\n\n".join(f"Sentence {n} of a small text, with the words one two three {n % 7}." for n in range(30))


def small_text() -> list[str]:
    """Options that replace the text by a little of it."""
    Path("text").mkdir(exist_ok=True)
    for number in range(150):
        Path(f"text/{number}.txt").write_text(f"Document {number}.\n\n{TEXT}")
    sources = "[{class_path: LocalText, init_args: {paths: [text]}}]"
    sizes = ["--data.d_vocab", "400", "--data.n_ctx", "32", "--data.batch_size", "4", "--data.val_windows", "8"]
    return ["--data.sources", sources, "--data.tokenizer", "null", *sizes]


def here(settings: dict[str, Any]) -> list[str]:
    """Options that run a configuration for GPUs on a CPU, and compile nothing."""
    trainer = ["--trainer.accelerator", "cpu", "--trainer.devices", "1", "--trainer.strategy", "auto"]
    compiled = settings["model"]["init_args"].get("compile", False)
    return [*trainer, "--trainer.precision", "32-true"] + (["--model.compile", "false"] if compiled else [])


def untrained_source() -> list[str]:
    """Options that name a small model to be widened, of the small text's sizes and not yet of any tokenizer."""
    model = LanguageModel(n_layers=1, d_model=16, n_heads=2, n_ctx=32, d_vocab=400)
    torch.save({"hyper_parameters": dict(model.hparams), "state_dict": model.state_dict()}, "source.ckpt")
    return ["--model.source", "source.ckpt"]


def few_rows(settings: dict[str, Any]) -> list[str]:
    """Options that keep what an experiment is, and make its batches small."""
    if settings["data"]["class_path"] == "TextData":
        widened = settings["model"]["class_path"] == "WidenedLanguageModel"
        return small_text() + here(settings) + (untrained_source() if widened else [])
    rows = ["--data.batch_size", "8", "--data.val_batch_size", "16"]
    return rows + ([] if settings["data"]["class_path"] == "TokenSequences" else ["--sweep.seed", "2"])


@pytest.mark.parametrize("config", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiment_runs(config: Path) -> None:
    more = few_rows(resolved(config))
    cli.main(["fit", "--config", str(config), "--trainer.fast_dev_run", "true", "--threads", "1", *more])


@pytest.mark.parametrize("overlay", QUICK, ids=lambda path: path.stem)
def test_quick_size_runs(overlay: Path) -> None:
    config = ROOT / "configs" / "experiment" / overlay.name
    more = few_rows(resolved(config))
    configs = ["--config", str(config), "--config", str(overlay)]
    cli.main(["fit", *configs, "--trainer.fast_dev_run", "true", "--threads", "1", *more])


@pytest.mark.parametrize("config", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiment_says_what_it_asks(config: Path) -> None:
    lines = config.read_text().splitlines()
    assert lines[0].startswith("# ")
    assert lines[0].endswith("?")
    assert lines[1].startswith("# Expected: ")
    assert yaml.safe_load(config.read_text())["experiment"] == config.stem


@pytest.mark.parametrize("group", ["trainer", "model", "data"])
def test_every_group_file_is_used(group: str) -> None:
    groups = [yaml.safe_load(config.read_text())[group] for config in EXPERIMENTS]
    used = {Path(each).name for each in groups if isinstance(each, str)}
    assert {path.name for path in (ROOT / "configs" / group).glob("*.yaml")} == used
