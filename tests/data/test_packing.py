import os
from pathlib import Path

import numpy as np
import pytest

from sup_lightning.data.packing import Corpus, PackedText, build_cache, find_cache, is_held_out, read_manifest
from sup_lightning.data.text import LocalText
from sup_lightning.data.tokenizer import END_OF_TEXT, load_tokenizer, train_tokenizer
from sup_lightning.errors import UserError

CACHE = Path("cache")


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    rng = np.random.default_rng(0)
    for genre, words in {"animals": ["cat", "dog", "owl"], "colours": ["red", "blue", "green"]}.items():
        (tmp_path / "text" / genre).mkdir(parents=True)
        for number in range(20):
            (tmp_path / "text" / genre / f"{number:02}.txt").write_text(" ".join(rng.choice(words, 50)))
    return Corpus([LocalText("text")], d_vocab=270, val_fraction=0.2)


def build(corpus: Corpus) -> Path:
    return build_cache(corpus, CACHE, corpus.key())


def test_tokens_are_the_documents_in_order(corpus: Corpus) -> None:
    folder = build(corpus)
    tokenizer = load_tokenizer(str(folder / "tokenizer.json"))
    manifest = read_manifest(folder)
    seen = 0
    for split in ("train", "val"):
        text, documents = PackedText(folder, split), list(corpus.documents(split))
        seen += len(documents)
        ends = np.append(text.starts[1:], len(text.tokens))
        for document, start, end, genre in zip(documents, text.starts, ends, text.genre_of_document, strict=True):
            assert tokenizer.decode(text.tokens[start : end - 1].tolist()) == document.text
            assert text.tokens[end - 1] == tokenizer.token_to_id(END_OF_TEXT)
            assert text.genres[genre] == document.genre
            assert is_held_out(document.text, 0.2) == (split == "val")
        counts = manifest[split]
        assert (counts["documents"], counts["tokens"]) == (len(documents), len(text.tokens))
        assert counts["bytes"] == sum(len(d.text.encode()) for d in documents)
        assert sum(counts["tokens_of_genre"].values()) == counts["tokens"]
    assert seen == 40


def test_the_tokenizer_sees_training_text_alone(corpus: Corpus) -> None:
    trained = train_tokenizer((d.text for d in corpus.documents("train")), 270)
    assert (build(corpus) / "tokenizer.json").read_text() == trained.to_str(pretty=True)


def test_windows_predict_each_token_once(corpus: Corpus) -> None:
    text = PackedText(build(corpus), "train")
    n_windows = text.n_windows(16)
    windows = text.windows(np.arange(n_windows), 16)
    assert np.array_equal(windows[:, 1:].ravel(), text.tokens[1 : n_windows * 16 + 1])
    assert np.array_equal(windows[:, :-1].ravel(), text.tokens[: n_windows * 16])
    assert len(text.tokens) - 1 - n_windows * 16 < 16
    middle = np.arange(n_windows) * 16 + 8
    document = np.array([np.flatnonzero(text.starts <= place)[-1] for place in middle])
    assert np.array_equal(text.window_genres(np.arange(n_windows), 16), text.genre_of_document[document])


def test_a_complete_cache_is_reused(corpus: Corpus) -> None:
    folder = build(corpus)
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert build(corpus) == folder
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before
    assert [path.name for path in CACHE.iterdir()] == [folder.name]


@pytest.mark.parametrize("damage", ["truncated", "no manifest", "no tokens"])
def test_a_damaged_cache_is_made_again(corpus: Corpus, damage: str) -> None:
    folder = build(corpus)
    whole = (folder / "train.bin").read_bytes()
    if damage == "truncated":
        os.truncate(folder / "train.bin", 100)
    else:
        (folder / {"no manifest": "manifest.json", "no tokens": "val.bin"}[damage]).unlink()
    assert find_cache(CACHE, corpus.key()) is None
    assert (build(corpus) / "train.bin").read_bytes() == whole


def test_a_build_that_fails_leaves_nothing(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sup_lightning.data.packing._write_tokens", crash)
    with pytest.raises(KeyboardInterrupt):
        build(corpus)
    assert find_cache(CACHE, corpus.key()) is None
    assert list(CACHE.iterdir()) == []


def test_the_key_follows_text_and_settings(corpus: Corpus, tmp_path: Path) -> None:
    keys = {
        corpus.key(),
        Corpus(corpus.sources, 271, 0.2).key(),
        Corpus(corpus.sources, 270, 0.3).key(),
        Corpus([LocalText("text", genre="one")], 270, 0.2).key(),
    }
    assert len(keys) == 4
    (tmp_path / "text" / "animals" / "00.txt").write_text("a new text")
    assert corpus.key() not in keys


def test_a_given_tokenizer_is_used(corpus: Corpus) -> None:
    file = build(corpus) / "tokenizer.json"
    given = Corpus([LocalText("text/animals")], 300, 0.2, str(file))
    assert (build(given) / "tokenizer.json").read_text() == file.read_text()
    with pytest.raises(UserError, match="d_vocab is 260; allowed: 270 or more"):
        build(Corpus(corpus.sources, 260, 0.2, str(file)))


def test_large_vocabularies_take_four_bytes(corpus: Corpus) -> None:
    text = PackedText(build(Corpus(corpus.sources, 70_000, 0.2)), "train")
    assert text.tokens.dtype == np.uint32
    assert text.tokens.max() < 70_000


@pytest.mark.parametrize(("val_fraction", "split"), [(1e-9, "val"), (1 - 1e-9, "train")])
def test_an_empty_split_is_named(corpus: Corpus, val_fraction: float, split: str) -> None:
    with pytest.raises(UserError, match=f"val_fraction is .*, which puts none of 40 documents into the {split} split"):
        build(Corpus(corpus.sources, 270, val_fraction))


def test_copies_are_on_the_same_side(corpus: Corpus, tmp_path: Path) -> None:
    for name in ("copy_a", "copy_b"):
        (tmp_path / "text" / "animals" / f"{name}.txt").write_text("the same text twice")
    sides = [split for split in ("train", "val") for d in corpus.documents(split) if d.text.startswith("the same")]
    assert len(set(sides)) == 1
