from pathlib import Path

import numpy as np
import pytest

from sup_lightning.data.packing import PackedText
from sup_lightning.data.preparation import Corpus
from sup_lightning.data.shards import ShardedTokens, read_manifest
from tests.data.corpora import build, small_corpus


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    monkeypatch.setattr("sup_lightning.data.shards.SHARD_TOKENS", 500)
    return small_corpus(tmp_path)


def test_windows_predict_each_token_once_across_shards(corpus: Corpus) -> None:
    folder = build(corpus)
    shards = read_manifest(folder).shards["train"]
    assert len(shards) > 3
    files = [np.fromfile(folder / f"{shard.name}.bin", dtype="<u2") for shard in shards]
    tokens = np.concatenate(files)
    text = PackedText.open(folder, "train")
    n_windows = text.n_windows(16)
    windows = text.windows(np.arange(n_windows), 16)
    assert np.array_equal(windows[:, 1:].ravel(), tokens[1 : n_windows * 16 + 1])
    assert np.array_equal(windows[:, :-1].ravel(), tokens[: n_windows * 16])
    assert len(text.tokens) - 1 - n_windows * 16 < 16
    assert any(len(files[0]) % 16 for _ in files)  # so some windows lie in two shards


def test_genres_are_those_at_the_middle_of_the_windows(corpus: Corpus) -> None:
    text = PackedText.open(build(corpus), "train")
    index = np.arange(text.n_windows(16))
    document = np.array([np.flatnonzero(text.starts <= place)[-1] for place in index * 16 + 8])
    assert np.array_equal(text.window_genres(index, 16), text.genre_of_document[document])
    assert np.array_equal(text.starts[1:], np.flatnonzero(text.tokens[:] == text.tokens[-1:])[:-1] + 1)
    assert set(text.genre_of_document) == {0, 1}


def test_shards_read_as_one_array() -> None:
    whole = np.arange(100, dtype=np.uint16)
    for cuts in ([], [1], [10, 50, 51]):
        tokens = ShardedTokens(np.split(whole, cuts))
        assert len(tokens) == 100
        assert np.array_equal(np.asarray(tokens), whole)
        for part in (slice(0, 0), slice(5, 60), slice(-3, None), slice(50, 51), slice(51, 100)):
            assert np.array_equal(tokens[part], whole[part])
        index = np.array([[0, 9, 10], [49, 50, 99]])
        assert np.array_equal(tokens[index], whole[index])
        assert tokens[index].dtype == tokens.dtype == np.uint16
