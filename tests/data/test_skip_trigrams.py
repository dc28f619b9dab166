"""Contexts of tokens and what follows from them, against their definition."""

import pytest
import torch

from sup_lightning.data import SkipTrigramContexts, SkipTrigrams, SyntheticFeatures
from sup_lightning.data.skip_trigrams import trigram_rows
from sup_lightning.errors import UserError

P = torch.tensor([0.3, 0.1, 0.5, 0.2, 0.0, 0.0, 0.0, 0.0])
"""Two sources, two random tokens; the blank and three destinations have no say."""


def follows(tokens: list[int], task: SkipTrigrams, current: int) -> list[float]:
    """What is to follow a list of tokens, one by one."""
    target = [0.0] * task.n_labels
    for token in tokens:
        if token < task.n_sources:
            target[token if task.coherent else (token + current) % task.n_labels] = 1.0
    return target


@pytest.mark.parametrize("coherent", [False, True])
def test_targets_of_sequences(coherent: bool) -> None:
    law, task = SkipTrigramContexts(), SkipTrigrams(2, 3, coherent)
    x, _ = law.contexts(8, P)
    for row, target in zip(x, task(x.mT).mT, strict=True):
        tokens = [t for t in range(5) for _ in range(int(row[t]))]
        assert len(tokens) == 6
        assert target.tolist() == follows(tokens, task, int(row[5:].argmax()))


def test_trigrams_of_a_source_or_destination_all_differ_unless_coherent() -> None:
    labels = SkipTrigrams(4, 6).labels
    assert all(len(row.unique()) == 6 for row in labels)
    assert all(len(column.unique()) == 4 for column in labels.T)
    assert (SkipTrigrams(4, 6, coherent=True).labels == torch.arange(4).unsqueeze(1)).all()


def test_drawn_contexts_have_the_probabilities_of_the_listed_ones() -> None:
    law = SkipTrigramContexts()
    x, probability = law.contexts(8, P)
    assert float(probability.sum()) == pytest.approx(1)
    assert torch.allclose(probability @ (x > 0).float(), law.marginals(P, 8))
    drawn = law.sample(torch.rand(5, 200_000, generator=torch.Generator().manual_seed(0)), P.unsqueeze(1)).T
    code = 2.0 ** torch.arange(8)
    rows = {float(value): place for place, value in enumerate((x > 0).float() @ code)}
    seen = torch.zeros(len(x))
    values, counts = ((drawn > 0).float() @ code).unique(return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        seen[rows[value]] = count / 200_000
    assert (seen - probability).abs().max() < 5 * (0.25 * probability.max() / 200_000) ** 0.5 * 2


def test_batches_are_functions_of_seed_and_step() -> None:
    settings = {"features": SkipTrigramContexts(), "task": SkipTrigrams()}
    sweep = {"seed": 2, "feature_probability": [0.3, 0.1]}
    data = SyntheticFeatures(n_features=11, sweep=sweep, **settings)  # type: ignore[arg-type]
    whole = data.batch("features", 7, range(64), 64)
    part = data.batch("features", 7, range(16, 32), 64)
    assert whole.features.shape == (4, 64, 11)
    assert whole.targets.shape == (4, 64, 6)
    assert torch.equal(part.features, whole.features[:, 16:32])
    assert torch.equal(part.targets, whole.targets[:, 16:32])
    alone = SyntheticFeatures(n_features=11, feature_probability=0.1, sweep={"seed": [1]}, **settings)  # type: ignore[arg-type]
    assert torch.equal(alone.batch("features", 7, range(64), 64).features[0], whole.features[3])
    more, fewer = whole.features[0, :, :4], whole.features[2, :, :4]
    assert (more >= fewer).all()  # the same draws at another p


def test_rows_of_one_trigram() -> None:
    x, _ = SkipTrigramContexts().contexts(8, P)
    rows, without = trigram_rows(x, 4, token=1)
    assert (x[rows, :4] == torch.tensor([0.0, 1.0, 0.0, 0.0])).all()
    assert (x[without, :4] == 0).all()
    assert torch.equal(x[rows, 5:], torch.eye(3))
    assert torch.equal(x[without, 5:], torch.eye(3))


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(UserError, match="context_length is 4; allowed: more than the 4"):
        SkipTrigramContexts(2, 2, context_length=4)
    with pytest.raises(UserError, match="n_random is -1"):
        SkipTrigramContexts(n_random=-1)
    with pytest.raises(UserError, match="n_features is 5; allowed: more than 5"):
        SyntheticFeatures(n_features=5, features=SkipTrigramContexts())
    with pytest.raises(UserError, match="n_features is 8; allowed: more than the 2 sources and 6"):
        SyntheticFeatures(n_features=8, features=SkipTrigramContexts(), task=SkipTrigrams())
