from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sup_lightning.data import ngram


def data_of(chain: np.ndarray, n_train: int, d_vocab: int) -> Any:
    windows = torch.from_numpy(chain[n_train:])[None]
    batch = SimpleNamespace(
        tokens=windows[:, :-1],
        targets=windows[:, 1:],
        weights=torch.ones(1),
        n_bytes=torch.tensor([3 * windows.numel()]),
    )
    return SimpleNamespace(
        train=SimpleNamespace(tokens=chain[:n_train].astype(np.uint16)),
        d_vocab=d_vocab,
        val_dataloader=lambda: [batch],
    )


@pytest.mark.parametrize("chunk", [2**22, 7001])
def test_a_markov_chain_is_predicted_to_its_entropy(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each token depends on the two before: three tokens give the entropy rate, fewer what their frequencies give."""
    monkeypatch.setattr(ngram, "CHUNK", chunk)
    rng = np.random.default_rng(0)
    transition = rng.dirichlet(np.full(6, 0.3), size=(6, 6))
    chain = np.zeros(60_000, dtype=np.int64)
    for i, u in enumerate(rng.random(len(chain) - 2), 2):
        chain[i] = np.searchsorted(transition[chain[i - 2], chain[i - 1]].cumsum()[:-1], u)
    counts = np.zeros((6, 6))
    np.add.at(counts, (chain[:39_999], chain[1:40_000]), 1)
    pairs = counts / counts.sum(axis=1, keepdims=True)
    earlier, context, target = chain[40_000:-2], chain[40_001:-1], chain[40_002:]
    baselines = ngram.ngram_baselines(data_of(chain, 40_000, 6))
    assert baselines.trigram == pytest.approx(-np.log(transition[earlier, context, target]).mean(), abs=0.005)
    assert baselines.bigram == pytest.approx(-np.log(pairs[context, target]).mean(), abs=0.005)
    assert baselines.unigram == pytest.approx(-np.log(np.bincount(chain[:40_000])[target] / 40_000).mean(), abs=0.005)
    assert baselines.bits_per_byte(np.log(2)) == pytest.approx(1 / 3, rel=1e-3)
    assert baselines.trigram + 0.5 < baselines.bigram < baselines.unigram - 0.05


def test_counts_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against counting one by one, in chunks that cut through every kind of n-gram."""
    monkeypatch.setattr(ngram, "CHUNK", 5)
    tokens = np.random.default_rng(0).integers(0, 3, 203)
    asked = np.array(np.meshgrid([-1, 0, 1, 2], [0, 1, 2], [0, 1, 2])).reshape(3, -1)
    data = SimpleNamespace(train=SimpleNamespace(tokens=tokens), d_vocab=3)
    found = ngram._Frequencies(data, 200, ngram.Targets(*asked))
    text = tokens[:200].tolist()
    ones, twos = text, list(pairwise(text))
    threes = list(zip(text, text[1:], text[2:], strict=False))
    for row, (a, b, c) in enumerate(asked.T.tolist()):
        assert found.unigram[row] == (ones.count(c) + 1) / 203
        assert found.bigram[row] == twos.count((b, c)) / ones[:-1].count(b)
        assert found.trigram[row] == threes.count((a, b, c)) / max(1, twos[:-1].count((a, b)))
        assert (found.bin_two[row] == 0) == (a == -1)


def test_independent_tokens_gain_nothing_from_their_context() -> None:
    tokens = np.random.default_rng(0).integers(
        0, 300, 30_000
    )  # each pair about 0.2 times: counting alone would overfit
    baselines = ngram.ngram_baselines(data_of(tokens, 20_000, 300))
    assert baselines.unigram == pytest.approx(np.log(300), abs=0.02)
    assert baselines.bigram == pytest.approx(baselines.unigram, abs=0.005)
    assert baselines.trigram == pytest.approx(baselines.unigram, abs=0.005)
