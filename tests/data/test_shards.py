import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from sup_lightning.data.language import TextData
from sup_lightning.data.packing import PackedText
from sup_lightning.data.preparation import Corpus, find_cache
from sup_lightning.data.shards import FORMAT, read_manifest, verify_shards
from sup_lightning.data.tokenizer import load_tokenizer
from sup_lightning.errors import UserError
from tests.data.corpora import CACHE, build, small_corpus

GOLDEN = Path(__file__).parents[1] / "golden" / "shards"


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return small_corpus(tmp_path)


def test_the_manifest_counts_and_hashes_every_shard(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sup_lightning.data.shards.SHARD_TOKENS", 500)
    folder = build(corpus)
    manifest = read_manifest(folder)
    assert manifest.format == FORMAT
    assert (manifest.d_vocab, manifest.dtype, manifest.genres) == (270, "uint16", ["animals", "colours"])
    assert manifest.sources == ["LocalText(text/animals)", "LocalText(text/colours)"]
    n_bytes = 0
    for split, shards in manifest.shards.items():
        assert [shard.name for shard in shards] == [f"{split}-{number:05}" for number in range(len(shards))]
        for shard in shards:
            assert shard.tokens * 2 == (folder / f"{shard.name}.bin").stat().st_size
            for name, sha256 in shard.sha256.items():
                assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256
            assert sum(count.documents for count in shard.genres.values()) == shard.documents
            assert sum(count.tokens for count in shard.genres.values()) == shard.tokens
            n_bytes += shard.bytes
        of_genre = [count.tokens for count in manifest.genre_counts(split).values()]
        assert of_genre == manifest.tokens_of_source[split]  # here each source is a genre
        assert sum(of_genre) == len(PackedText.open(folder, split).tokens)
    assert n_bytes == sum(len(d.text.encode()) for source in corpus.sources for d in source.documents())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", "shard cache/.*/train-00000.bin is missing; put it back, or delete the folder"),
        ("truncated", "shard cache/.*/val-00000.documents has 8 bytes, its manifest says"),
    ],
)
def test_a_shard_that_is_missing_or_cut_is_named(corpus: Corpus, damage: str, message: str) -> None:
    folder = build(corpus)
    if damage == "missing":
        (folder / "train-00000.bin").unlink()
    else:
        os.truncate(folder / "val-00000.documents", 8)
    for use in (lambda: build(corpus), lambda: find_cache(CACHE, corpus.key()), lambda: verify_shards(folder)):
        with pytest.raises(UserError, match=message):
            use()


def text_data(corpus: Corpus) -> TextData:
    return TextData(list(corpus.sources), 16, corpus.d_vocab, 4, val_fraction=corpus.val_fraction, cache_dir=str(CACHE))


def test_a_changed_shard_is_found_at_setup(corpus: Corpus) -> None:
    folder = build(corpus)
    verify_shards(folder)
    file = folder / "train-00000.bin"
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)
    for use in (text_data(corpus).setup, lambda: verify_shards(folder)):
        with pytest.raises(UserError, match=r"shard cache/.*/train-00000.bin has changed since it was prepared"):
            use()


def test_another_tokenizer_beside_the_shards_is_named(corpus: Corpus) -> None:
    folder = build(corpus)
    file = folder / "tokenizer.json"
    file.write_text(file.read_text().replace('"add_prefix_space": false', '"add_prefix_space": true'))
    with pytest.raises(UserError, match=r"tokenizer.json is \w+, but the shards beside it were made with \w+"):
        text_data(corpus).setup()


def test_another_format_is_named(corpus: Corpus) -> None:
    folder = build(corpus)
    file = folder / "manifest.json"
    file.write_text(file.read_text().replace(f'"format": {FORMAT}', '"format": 99'))
    with pytest.raises(UserError, match=f"manifest.json has format 99; allowed: {FORMAT}"):
        build(corpus)


def test_shards_of_the_first_version_with_this_format_still_load() -> None:
    """They were written once and are never written again: what users have on their disks must stay readable."""
    verify_shards(GOLDEN)
    assert json.loads((GOLDEN / "manifest.json").read_text())["format"] == 2
    train, val = PackedText.open(GOLDEN, "train"), PackedText.open(GOLDEN, "val")
    assert train.genres == val.genres == ["letter", "recipe"]
    assert [len(shard) for shard in train.tokens.shards] == [530, 206]
    assert (int(np.asarray(train.tokens).sum()), int(np.asarray(val.tokens).sum())) == (105_019, 72_833)
    assert np.bincount(train.genre_of_document).tolist() == [4, 3]
    tokenizer = load_tokenizer(str(GOLDEN / "tokenizer.json"))
    start, stop = train.starts[:2]
    assert tokenizer.decode(train.tokens[start : stop - 1].tolist()) == (
        "Dear Ben,\n\nthank you for the rice. They came on Monday, with the rain, and we ate them the same evening.\n"
        "Write soon; the garden is as you left it.\n\nYours,\nAda\n"
    )
