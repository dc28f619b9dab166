from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

from sup_lightning.data.text import Document, HubText, LocalText, StdlibText, TextSource, cut, weights_of
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
    assert len(set(names)) == len(names)  # a file is a document


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


def test_a_file_is_a_document_unless_it_is_to_be_cut(tmp_path: Path) -> None:
    text = "word\n" * 20_000
    write(tmp_path / "corpus", long=text)
    assert [d.text for d in LocalText("corpus").documents()] == [text]
    cut_up = list(LocalText("corpus", document_bytes=60_000).documents())
    assert [Path(d.name).name for d in cut_up] == ["long.txt#0", "long.txt#1"]
    assert "".join(d.text for d in cut_up) == text
    assert all(len(d.text.encode()) <= 60_000 for d in cut_up)
    assert LocalText("corpus").fingerprint() != LocalText("corpus", document_bytes=60_000).fingerprint()
    with pytest.raises(UserError, match="document_bytes is 0; allowed: a positive integer"):
        LocalText("corpus", document_bytes=0)


def test_parts_are_whole_files_and_are_read_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sup_lightning.data.text.PART_BYTES", 10)
    write(tmp_path / "corpus", a="four", b="a longer text", c="last")
    source = LocalText("corpus")
    parts = list(source.parts())
    (tmp_path / "corpus" / "c.txt").write_text("new!")
    assert [[d.text for d in part] for part in parts] == [["four", "a longer text"], ["new!"]]
    assert source.n_bytes() == 21


def test_documents_of_other_sources_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    class Numbers(TextSource):
        def documents(self) -> Iterator[Document]:
            yield from (Document(str(n), "number", str(n)) for n in range(5))

    monkeypatch.setattr("sup_lightning.data.text.PART_DOCUMENTS", 2)
    source = Numbers()
    assert [[d.text for d in part] for part in source.parts()] == [["0", "1"], ["2", "3"], ["4"]]
    assert (source.n_bytes(), source.weight, str(source)) == (None, None, "Numbers")


def test_weights_are_given_to_all_sources_or_none() -> None:
    assert weights_of([StdlibText(), LocalText("a")]) is None
    assert weights_of([StdlibText(2), LocalText("a", weight=0.5)]) == [2, 0.5]
    with pytest.raises(UserError, match=r"weight is \[2, None\]; allowed: a weight for every source, or for none"):
        weights_of([StdlibText(2), LocalText("a")])
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match=r"weight is .*; allowed: a positive number"):
            weights_of([StdlibText(bad)])


def test_empty_files_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "corpus", empty="", blank=" \n", full="text")
    assert [d.text for d in LocalText("corpus").documents()] == ["text"]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ("missing", "paths has 'missing', which matches nothing"),
        (["corpus", "*.md"], r"paths has '\*.md', which matches nothing"),
        ("no_files", "no file is there"),
        ("binary", "zeros.txt is binary"),
        ("latin", "old.txt is not UTF-8 text"),
    ],
)
def test_bad_paths_are_named(tmp_path: Path, paths: str | list[str], message: str) -> None:
    write(tmp_path / "corpus", a="text")
    (tmp_path / "no_files").mkdir()
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
    assert asked.pop() == (("owner/name", "en"), {"split": "train", "streaming": True})
    assert len(list(HubText("owner/name", text_field="body", max_documents=None).documents())) == 3
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
