"""Every committed config runs."""

from pathlib import Path

import pytest
import yaml

from sup_lightning import cli
from tests.helpers import EXPERIMENTS, ROOT

TEXT = "\n\n".join(f"Sentence {n} of a small text, with the words one two three {n % 7}." for n in range(30))


def small_text() -> list[str]:
    """Options that replace the text by a little of it."""
    Path("text").mkdir(exist_ok=True)
    for number in range(150):
        Path(f"text/{number}.txt").write_text(f"Document {number}.\n\n{TEXT}")
    sources = "[{class_path: LocalText, init_args: {paths: [text]}}]"
    return ["--data.sources", sources, "--data.d_vocab", "400", "--data.val_windows", "8"]


@pytest.mark.parametrize("config", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiment_runs(config: Path) -> None:
    settings = yaml.safe_load(config.read_text())
    data = yaml.safe_load((config.parent / settings["data"]).read_text())
    more = small_text() if data["class_path"] == "TextData" else []
    cli.main(["fit", "--config", str(config), "--trainer.fast_dev_run", "true", "--threads", "1", *more])


@pytest.mark.parametrize("config", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiment_says_what_it_asks(config: Path) -> None:
    lines = config.read_text().splitlines()
    assert lines[0].startswith("# ")
    assert lines[0].endswith("?")
    assert lines[1].startswith("# Expected: ")
    assert yaml.safe_load(config.read_text())["experiment"] == config.stem


@pytest.mark.parametrize("group", ["trainer", "model", "data"])
def test_every_group_file_is_used(group: str) -> None:
    used = {Path(yaml.safe_load(config.read_text())[group]).name for config in EXPERIMENTS}
    assert {path.name for path in (ROOT / "configs" / group).glob("*.yaml")} == used
