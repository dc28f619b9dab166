import json
import os
import signal
import threading
from collections import namedtuple
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from sup_lightning.data.packing import PackedText
from sup_lightning.data.preparation import Corpus, Preparation, build_cache, find_cache
from sup_lightning.data.preparation_bar import PreparationBar
from sup_lightning.data.shards import read_manifest, verify_shards
from sup_lightning.data.text import Document, LocalText, TextSource, is_held_out
from sup_lightning.data.tokenizer import END_OF_TEXT, load_tokenizer, train_tokenizer
from sup_lightning.errors import UserError
from tests.data.corpora import CACHE, build, contents, small_corpus


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return small_corpus(tmp_path)


def documents_of(corpus: Corpus, split: str) -> list[Document]:
    documents = [document for source in corpus.sources for document in source.documents()]
    return [d for d in documents if is_held_out(d.text, corpus.val_fraction) == (split == "val")]


def test_tokens_are_the_documents_in_order(corpus: Corpus) -> None:
    folder = build(corpus)
    tokenizer = load_tokenizer(str(folder / "tokenizer.json"))
    seen = 0
    for split in ("train", "val"):
        text, documents = PackedText.open(folder, split), documents_of(corpus, split)
        seen += len(documents)
        ends = np.append(text.starts[1:], len(text.tokens))
        for document, start, end, genre in zip(documents, text.starts, ends, text.genre_of_document, strict=True):
            assert tokenizer.decode(text.tokens[start : end - 1].tolist()) == document.text
            assert text.tokens[end - 1 : end] == tokenizer.token_to_id(END_OF_TEXT)
            assert text.genres[genre] == document.genre
    assert seen == 40


def test_the_tokenizer_sees_training_text_alone(corpus: Corpus) -> None:
    trained = train_tokenizer((d.text for d in documents_of(corpus, "train")), 270)
    assert (build(corpus) / "tokenizer.json").read_text() == trained.to_str(pretty=True)


def test_a_long_file_is_on_one_side(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / "long").mkdir(exist_ok=True)
        (tmp_path / "long" / f"{number}.txt").write_text(f"word {number}\n\n" * 10_000)  # two blocks each
    folder = build(Corpus([LocalText("long")], 270, 0.5))
    assert [len(PackedText.open(folder, split).starts) for split in ("train", "val")] == [
        8 - (n_held_out := sum(is_held_out(f"word {n}\n\n" * 10_000, 0.5) for n in range(8))),
        n_held_out,
    ]


def test_copies_are_on_the_same_side(corpus: Corpus, tmp_path: Path) -> None:
    for name in ("copy_a", "copy_b"):
        (tmp_path / "text" / "animals" / f"{name}.txt").write_text("the same text twice")
    sides = [split for split in ("train", "val") for d in documents_of(corpus, split) if d.text.startswith("the same")]
    assert len(sides) == 2
    assert len(set(sides)) == 1


def test_a_complete_cache_is_reused(corpus: Corpus) -> None:
    folder = build(corpus)
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert build(corpus) == folder
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before
    assert not [file for file in (CACHE / ".partial").iterdir() if file.suffix != ".lock"]


def test_a_folder_without_a_manifest_is_made_again(corpus: Corpus) -> None:
    folder = build(corpus)
    whole = contents(folder)
    (folder / "manifest.json").unlink()
    assert find_cache(CACHE, corpus.key()) is None
    assert contents(build(corpus)) == whole


class Interrupted(TextSource):
    """Another source's text, whose reading stops before a document."""

    def __init__(self, source: TextSource, stop_before: int | None) -> None:
        self.source, self.stop_before = source, stop_before
        self.read: list[str] = []

    def documents(self) -> Iterator[Document]:
        return self.source.documents()

    def parts(self) -> Iterator[Iterable[Document]]:
        number = 0
        for part in self.source.parts():
            documents = list(part)
            yield self._watched(documents, number)
            number += len(documents)

    def _watched(self, documents: list[Document], first: int) -> Iterator[Document]:
        for number, document in enumerate(documents, first):
            if number == self.stop_before:
                raise KeyboardInterrupt
            self.read.append(document.name)
            yield document

    def __str__(self) -> str:
        return str(self.source)


@pytest.mark.parametrize("stop_before", [0, 7, 13, 19])
def test_an_interrupted_preparation_goes_on(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, stop_before: int, tmp_path: Path
) -> None:
    monkeypatch.setattr("sup_lightning.data.text.PART_BYTES", 600)  # three files
    monkeypatch.setattr("sup_lightning.data.shards.SHARD_TOKENS", 500)
    first, second = corpus.sources
    whole = contents(build_cache(corpus, tmp_path / "whole", corpus.key()))
    stopped = Interrupted(second, stop_before)
    key = corpus.key()
    with pytest.raises(KeyboardInterrupt):
        build_cache(Corpus([first, stopped], 270, 0.2), CACHE, key)
    assert find_cache(CACHE, key) is None
    monkeypatch.setattr(Corpus, "make_tokenizer", lambda self: pytest.fail("the tokenizer is there"))
    resumed = [Interrupted(source, None) for source in corpus.sources]
    folder = build_cache(Corpus(resumed, 270, 0.2), CACHE, key)
    assert contents(folder) == whole
    assert resumed[0].read == []
    n_finished = len(list(second.documents())) - len(resumed[1].read)
    assert 0 <= stop_before - n_finished <= 3
    verify_shards(folder)


def build_and_die(corpus: Corpus, moment: str) -> None:
    """Prepare in a forked process that is killed, either with text on disk that was not committed, or at the end."""
    child = os.fork()
    if child == 0:
        add, replace = Preparation._add_documents, os.replace

        def add_and_die(self: Preparation, batch: Sequence[Document], source: int) -> tuple[int, int, int]:
            counts = add(self, batch, source)
            for writer in self.writers.values():
                writer.sync()
            if (source, self.part) == (1, 2):
                os.kill(os.getpid(), signal.SIGKILL)
            return counts

        def die_before_the_manifest(source: Path, target: Path) -> None:
            if target.name == "manifest.json":
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)

        if moment == "writing":
            Preparation._add_documents = add_and_die  # type: ignore[method-assign]
        else:
            os.replace = die_before_the_manifest  # type: ignore[assignment]
        try:
            build(corpus)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.parametrize("moment", ["writing", "finishing"])
def test_a_killed_preparation_goes_on(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, moment: str
) -> None:
    monkeypatch.setattr("sup_lightning.data.text.PART_BYTES", 600)
    build_and_die(corpus, moment)
    assert find_cache(CACHE, corpus.key()) is None
    partial = CACHE / ".partial" / corpus.key()
    assert json.loads(partial.with_suffix(".json").read_text())["source"] == (1 if moment == "writing" else 2)
    whole = contents(build_cache(corpus, tmp_path / "whole", corpus.key()))
    monkeypatch.setattr(Corpus, "make_tokenizer", lambda self: pytest.fail("the tokenizer is there"))
    assert contents(build(corpus)) == whole


def test_a_damaged_partial_state_is_started_over(corpus: Corpus, tmp_path: Path) -> None:
    whole = contents(build_cache(corpus, tmp_path / "whole", corpus.key()))
    with pytest.raises(KeyboardInterrupt):
        build_cache(Corpus([corpus.sources[0], Interrupted(corpus.sources[1], 5)], 270, 0.2), CACHE, corpus.key())
    os.truncate(CACHE / ".partial" / corpus.key() / "train-00000.bin", 10)
    assert contents(build(corpus)) == whole


def test_two_preparations_at_once_do_the_work_once(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    started = threading.Barrier(2)
    runs: list[int] = []
    run = Preparation.run

    def counted(self: Preparation) -> None:
        runs.append(1)
        run(self)

    def prepare() -> None:
        started.wait()
        build(corpus)

    monkeypatch.setattr(Preparation, "run", counted)
    threads = [threading.Thread(target=prepare) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(runs) == 1
    verify_shards(CACHE / corpus.key())


def test_the_key_follows_text_and_settings(corpus: Corpus, tmp_path: Path) -> None:
    keys = {
        corpus.key(),
        Corpus(corpus.sources, 271, 0.2).key(),
        Corpus(corpus.sources, 270, 0.3).key(),
        Corpus([LocalText("text/animals", genre="one"), corpus.sources[1]], 270, 0.2).key(),
    }
    assert len(keys) == 4
    weighted = [LocalText("text/animals", weight=1), LocalText("text/colours", weight=2)]
    assert Corpus(weighted, 270, 0.2).key() == corpus.key()  # the tokens are the same
    (tmp_path / "text" / "animals" / "00.txt").write_text("a new text")
    assert corpus.key() not in keys


def test_a_given_tokenizer_is_used(corpus: Corpus) -> None:
    file = build(corpus) / "tokenizer.json"
    given = Corpus([LocalText("text/animals")], 300, 0.2, str(file))
    assert (build(given) / "tokenizer.json").read_text() == file.read_text()
    with pytest.raises(UserError, match=r"d_vocab is 260; allowed: 270 or more, as .* has the token 269"):
        build(Corpus(corpus.sources, 260, 0.2, str(file)))


def test_a_token_number_beyond_the_vocabulary_is_named(corpus: Corpus) -> None:
    """A tokenizer may have few tokens and large numbers."""
    file = build(corpus) / "tokenizer.json"
    definition = json.loads(file.read_text())
    last = max(definition["model"]["vocab"], key=definition["model"]["vocab"].get)
    definition["model"]["vocab"][last] = 5000
    Path("gap.json").write_text(json.dumps(definition))
    with pytest.raises(UserError, match=r"d_vocab is 300; allowed: 5001 or more, as gap.json has the token 5000"):
        build(Corpus(corpus.sources, 300, 0.2, "gap.json"))


def test_large_vocabularies_take_four_bytes(corpus: Corpus) -> None:
    file = build(corpus) / "tokenizer.json"
    definition = json.loads(file.read_text())
    definition["model"]["vocab"] |= {chr(0x4E00 + n): 70_000 + n for n in range(3)}
    last = max(definition["model"]["vocab"], key=lambda t: definition["model"]["vocab"][t] * (ord(t[0]) < 0x4E00))
    definition["model"]["vocab"][last] = 69_999  # a token of this text
    Path("large.json").write_text(json.dumps(definition))
    folder = build(Corpus(corpus.sources, 70_003, 0.2, "large.json"))
    text = PackedText.open(folder, "train")
    assert read_manifest(folder).dtype == "uint32"
    assert text.tokens.dtype == np.uint32
    assert np.asarray(text.tokens).max() == 69_999


@pytest.mark.parametrize(("val_fraction", "split"), [(1e-9, "val"), (1 - 1e-9, "train")])
def test_an_empty_split_is_named(corpus: Corpus, val_fraction: float, split: str) -> None:
    with pytest.raises(UserError, match=f"val_fraction is .*, which puts none of 40 documents into the {split} split"):
        build(Corpus(corpus.sources, 270, val_fraction))


def test_a_source_without_text_is_named(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "blank.txt").write_text(" \n")
    message = r"sources is 'LocalText\(empty\)'; allowed: sources with text; this one yields no document"
    with pytest.raises(UserError, match=message):
        build(Corpus([corpus.sources[0], LocalText("empty")], 270, 0.2))


def test_a_full_disk_is_foreseen(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10**9, 10**9 - 100, 100))
    message = "cache_dir is 'cache', whose disk has 0.00 GB free; the tokens need about 0.00 GB"
    with pytest.raises(UserError, match=message):
        build(corpus)


def test_a_disk_that_fills_up_is_named(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("sup_lightning.data.shards.ShardWriter.sync", full)
        with pytest.raises(UserError, match="the disk of cache is full; make room, preparation goes on where it was"):
            build(corpus)
    build(corpus)


def test_progress_is_shown_on_a_terminal_alone() -> None:
    for is_terminal in (True, False):
        shown = StringIO()
        with PreparationBar(2000, Console(file=shown, force_terminal=is_terminal, width=120)) as bar:
            bar.advance(3, 100, 500)
            bar.advance(1000, 20_000, 1500)
        assert ("1,003 documents, 20,100 tokens" in shown.getvalue()) == is_terminal
        assert ("MB/s" in shown.getvalue()) == is_terminal
        assert is_terminal or shown.getvalue() == ""
