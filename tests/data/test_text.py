from pathlib import Path
from typing import Any

import datasets
import pytest

from sup_lightning.data.text import Document, HubText, LocalText, StdlibText, cut
from sup_lightning.errors import UserError


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)


def test_stdlib_is_python_without_tests() -> None:
    documents = list(StdlibText().documents())
    assert sum(len(d.text) for d in documents) > 5e6
    names = [d.name for d in documents]
    assert any(name.startswith("ast.py") for name in names)
    assert not any({"test", "tests", "site-packages", "lib2to3"} & set(Path(name).parts) for name in names)
    assert {d.genre for d in documents} == {"python"}
    assert max(len(d.text.encode()) for d in documents) <= 65536


def test_local_files_are_labelled_by_folder_and_sorted(tmp_path: Path) -> None:
    write(tmp_path / "corpus" / "novels", b="second", a="first")
    write(tmp_path / "corpus" / "letters", c="dear")
    write(tmp_path / "corpus" / ".hidden", d="not this")
    expected = [("dear", "letters"), ("first", "novels"), ("second", "novels")]
    for paths in ("corpus", "corpus/**", ["corpus/novels/*.txt", "corpus/letters", "corpus/novels/a.txt"]):
        assert [(d.text, d.genre) for d in LocalText(paths).documents()] == expected
    assert {d.genre for d in LocalText("corpus", genre="mixed").documents()} == {"mixed"}
    write(tmp_path / "corpus", readme="beside the folders")
    assert [(d.text, d.genre) for d in LocalText("corpus/*/").documents()] == expected


def test_fingerprint_follows_the_text(tmp_path: Path) -> None:
    write(tmp_path / "corpus", a="one", b="two")
    source = LocalText("corpus")
    before = source.fingerprint()
    assert source.fingerprint() == before
    write(tmp_path / "corpus", a="onet", b="wo")
    assert source.fingerprint() != before


def test_long_text_is_cut_at_paragraphs_then_lines_then_anywhere() -> None:
    paragraphs = "\n\n".join(["x" * 40] * 10)
    assert [len(block) for block in cut(paragraphs, most=100)] == [84, 84, 84, 84, 82]
    lines = "\n".join(["x" * 40] * 10)
    assert all(block.endswith("\n") for block in list(cut(lines, most=100))[:-1])
    for text in (paragraphs, lines, "é" * 500, "€" * 333, ""):
        blocks = list(cut(text, most=100))
        assert "".join(blocks) == text
        assert all(len(block.encode()) <= 100 for block in blocks)


def test_blocks_of_a_file_are_documents(tmp_path: Path) -> None:
    write(tmp_path / "corpus", long="word " * 20_000)
    names = [Path(d.name).name for d in LocalText("corpus").documents()]
    assert names == ["long.txt#0", "long.txt#1"]


def test_empty_files_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "corpus", empty="", blank=" \n", full="text")
    assert [d.text for d in LocalText("corpus").documents()] == ["text"]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ("missing", "paths has 'missing', which matches nothing"),
        (["corpus", "*.md"], r"paths has '\*.md', which matches nothing"),
        ("no_files", "no file is there"),
        ("empty", "all files there are empty"),
        ("binary", "zeros.txt is binary"),
        ("latin", "old.txt is not UTF-8 text"),
    ],
)
def test_bad_paths_are_named(tmp_path: Path, paths: str | list[str], message: str) -> None:
    write(tmp_path / "corpus", a="text")
    (tmp_path / "no_files").mkdir()
    write(tmp_path / "empty", a="")
    write(tmp_path / "binary", zeros="ab\0cd")
    write(tmp_path / "latin")
    (tmp_path / "latin" / "old.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(UserError, match=message):
        list(LocalText(paths).documents())


def test_hub_rows_are_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load(*args: Any, **kwargs: Any) -> list[dict[str, str]]:
        asked.append((args, kwargs))
        return [{"body": "one"}, {"body": ""}, {"body": "three"}, {"body": "four"}]

    monkeypatch.setattr(datasets, "load_dataset", load)
    source = HubText("owner/name", config="en", text_field="body", max_documents=3)
    assert list(source.documents()) == [
        Document("one", "name", "owner/name/0"),
        Document("three", "name", "owner/name/2"),
    ]
    assert asked == [(("owner/name", "en"), {"split": "train", "streaming": True})]
    with pytest.raises(UserError, match="text_field is 'text'; allowed for owner/name: body"):
        list(HubText("owner/name").documents())
    assert source.fingerprint() != HubText("owner/name").fingerprint()


def test_unreachable_hub_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(UserError, match=r"'owner/name' cannot be read \(ConnectionError: no route.*LocalText"):
        list(HubText("owner/name").documents())
    with pytest.raises(UserError, match="max_documents is 0"):
        HubText("owner/name", max_documents=0)
