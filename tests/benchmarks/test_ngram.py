import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch


@pytest.fixture(scope="module")
def ngram() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ngram", Path(__file__).parents[2] / "benchmarks" / "ngram.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Batch(SimpleNamespace):
    def _replace(self, **changes: Any) -> "Batch":
        return Batch(**(vars(self) | changes))


def data_of(chain: np.ndarray, n_train: int, d_vocab: int) -> Any:
    windows = torch.from_numpy(chain[n_train:])[None]
    batch = Batch(tokens=windows[:, :-1], targets=windows[:, 1:], weights=torch.ones(1))
    return SimpleNamespace(
        train=SimpleNamespace(tokens=chain[:n_train].astype(np.uint16)),
        d_vocab=d_vocab,
        val_dataloader=lambda: [batch],
    )


def test_a_markov_chain_is_predicted_to_its_entropy(ngram: ModuleType) -> None:
    rng = np.random.default_rng(0)
    transition = rng.dirichlet(np.full(8, 0.3), size=8)
    chain = np.zeros(60_000, dtype=np.int64)
    for i in range(1, len(chain)):
        chain[i] = rng.choice(8, p=transition[chain[i - 1]])
    context, target = chain[40_000:-1], chain[40_001:]
    stationary = np.bincount(chain, minlength=8) / len(chain)
    baselines = ngram.ngram_baselines(data_of(chain, 40_000, 8))
    assert baselines.bigram == pytest.approx(-np.log(transition[context, target]).mean(), abs=0.003)
    assert baselines.unigram == pytest.approx(-np.log(stationary[target]).mean(), abs=0.003)


def test_independent_tokens_gain_nothing_from_their_context(ngram: ModuleType) -> None:
    tokens = np.random.default_rng(0).integers(
        0, 300, 30_000
    )  # each pair about 0.2 times: counting alone would overfit
    baselines = ngram.ngram_baselines(data_of(tokens, 20_000, 300))
    assert baselines.unigram == pytest.approx(np.log(300), abs=0.02)
    assert baselines.bigram == pytest.approx(baselines.unigram, abs=0.005)
