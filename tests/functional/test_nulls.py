"""Data whose meaning is taken away: what is kept is exact, what goes is gone."""

import pytest
import torch

from sup_lightning.functional.intervals import document_interval
from sup_lightning.functional.nulls import gaussian_like, matched_tokens, shuffled_tokens, shuffled_within


def test_labels_stay_within_their_document() -> None:
    documents = torch.arange(40).repeat_interleave(25)[torch.randperm(1000, generator=torch.Generator().manual_seed(0))]
    labels = (torch.arange(1000) % 7 == 0).long() * (documents % 2)
    shuffled = shuffled_within(labels, documents, seed=3)
    for document in range(40):
        assert shuffled[documents == document].sum() == labels[documents == document].sum()
    odd = documents % 2 == 1
    assert abs(float(torch.corrcoef(torch.stack([labels[odd], shuffled[odd]]).double())[0, 1])) < 0.2
    assert not torch.equal(shuffled, shuffled_within(labels, documents, seed=4))


def test_tokens_stay_within_their_window() -> None:
    tokens, windows = torch.arange(600).view(20, 30), torch.arange(100, 120)
    shuffled = shuffled_tokens(tokens, windows)
    assert torch.equal(shuffled.sort(dim=1).values, tokens)
    assert (shuffled == tokens).float().mean() < 0.1
    assert torch.equal(shuffled_tokens(tokens[5:9], windows[5:9]), shuffled[5:9])  # whatever the batch
    assert len((shuffled % 30).unique(dim=0)) == 20  # each window has an order of its own
    assert not torch.equal(shuffled, shuffled_tokens(tokens, windows, seed=1))


def test_gaussians_have_the_covariance() -> None:
    x = torch.randn(4000, 3, generator=torch.Generator().manual_seed(1)).exp() @ torch.tensor(
        [[1.0, 0, 0], [2, 1, 0], [0, 1, 3]]
    )
    found = gaussian_like(x)
    torch.testing.assert_close(found.mean(0), x.mean(0), atol=0.5, rtol=0.1)
    torch.testing.assert_close(torch.cov(found.T), torch.cov(x.T), rtol=0.15, atol=2.0)
    standard = (found - found.mean(0)) / found.std(0)
    assert (standard**4).mean(0).max() < 3.5  # the exponential's is above 20


def test_tokens_that_occur_as_often() -> None:
    frequency = torch.arange(1000, 0, -1)
    wanted = torch.tensor([5, 100, 500, 990])
    taken = matched_tokens(wanted, frequency)
    assert not set(taken.tolist()) & set(wanted.tolist())
    assert taken.unique().numel() == 4
    assert (taken - wanted).abs().max() <= 9


def test_documents_are_resampled_whole() -> None:
    """Each document repeats one value: the interval is that of the documents, not of a hundred times as many tokens."""
    value = torch.randn(50, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    documents = torch.arange(50).repeat_interleave(100)
    tokens = value[documents]
    effect, low, high = document_interval(lambda w: float(w @ tokens / w.sum()), documents, n_resamples=1000)
    error = float(value.std() / 50**0.5)
    assert effect == pytest.approx(float(value.mean()))
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert torch.tensor(document_interval(lambda w: 0.0, torch.arange(5))[1:]).isnan().all()
    undefined = document_interval(lambda w: float(w[0] / w[0]), torch.arange(8))  # where document 0 is not drawn
    assert undefined[0] == 1
    assert torch.tensor(undefined[1:]).isnan().all()
