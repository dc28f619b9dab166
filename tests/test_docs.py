"""The guide pages say what is: their Python runs, and their commands run or at least parse."""

import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from sup_lightning.cli import COMMANDS, main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
QUICK = (
    "--trainer.max_epochs=1 --trainer.log_every_n_steps=10 --data.steps_per_epoch=20 "
    "--data.val_batch_size=64 --data.val_batches=1 --sweep.seed=1"
)
PARSED_ONLY = ("configs/experiment/lm_", "--print_config", "--trainer.devices")
"""Commands with one of these would train on a corpus, or launch processes."""


class Block(NamedTuple):
    """A fenced code block; `line` is that of its first line in the page."""

    language: str
    code: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text()
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [Block(match[1], match[2], text.count("\n", 0, match.start(2)) + 1) for match in found]


def commands_of(block: Block) -> Iterator[list[str]]:
    """The arguments of each `sup` in a block of shell commands."""
    for line in block.code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        if words and words[0] == "sup":
            yield words[1:]


def exit_status(arguments: list[str]) -> int | str:
    try:
        main(arguments)
    except SystemExit as end:  # also how --print_config ends
        return end.code or 0
    return 0


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a `sup` command in this process; one that would take long is only parsed."""
    assert arguments[0] in COMMANDS
    if arguments[0] == "study":
        arguments = [*arguments, "--help"]
    elif arguments[0] in ("studies", "report", "compare", "export"):
        arguments = [arguments[0], "--help"]
    elif any(part in word for word in arguments for part in PARSED_ONLY):
        arguments = [*arguments, "--print_config"]
    else:
        arguments = [*arguments, *QUICK.split()]
    monkeypatch.setattr("sys.argv", ["sup"])
    assert exit_status(arguments) == 0, shlex.join(["sup", *arguments])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "corpus").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    namespace: dict[str, object] = {"__name__": page.stem}
    modules: list[str] = []
    try:
        for block in blocks_of(page):
            named = re.match(r"# (\w+)\.py\n", block.code)
            if block.language == "python" and named:
                (tmp_path / f"{named[1]}.py").write_text(block.code)
                modules.append(named[1])
                importlib.import_module(named[1])
            elif block.language == "python":
                code = "\n" * (block.line - 1) + block.code  # so that a traceback has the page's line
                exec(compile(code, str(page), "exec"), namespace)
            elif block.language == "bash":
                for arguments in commands_of(block):
                    run(arguments, monkeypatch)
            else:
                assert block.language == "yaml"
                yaml.safe_load(block.code)
    finally:
        for name in modules:
            sys.modules.pop(name, None)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    files = re.findall(r"`((?:sup_lightning|configs|docs)/[\w/.-]+\.\w+)`", page.read_text())
    assert all((page.parent / target).exists() for target in targets), targets
    assert all((ROOT / file).exists() for file in files), files


def test_quoted_config_is_the_committed_one() -> None:
    quoted = [block.code for page in PAGES for block in blocks_of(page) if block.code.startswith("# configs/")]
    assert quoted
    for code in quoted:
        name = code.splitlines()[0].removeprefix("# ")
        assert yaml.safe_load(code) == yaml.safe_load((ROOT / name).read_text())


def test_answers_name_no_folder_of_a_machine() -> None:
    for page in (ROOT / "docs" / "answers").rglob("*"):
        if page.suffix in (".html", ".json", ".md", ".csv"):
            found = re.search(r"(?<![\w./])/(?:home|root|tmp|work|Users|mnt|data)/[\w./-]*", page.read_text())
            assert found is None, f"{page}: {found[0]}"
