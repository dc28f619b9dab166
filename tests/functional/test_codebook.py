"""Codes of many tokens in few dimensions, against closed forms and full matrices."""

import math

import pytest
import torch

from sup_lightning.functional import codebook
from sup_lightning.functional.codebook import (
    centred,
    coherence,
    decoded,
    eigen_copy,
    expected_top1,
    gaussian_code,
    participation_ratio,
    welch_bound,
)


def test_participation_of_equal_singular_values_is_their_number() -> None:
    assert float(participation_ratio(torch.ones(7) * 3)) == pytest.approx(7)
    assert participation_ratio(torch.tensor([[1.0, 1.0], [1.0, 0.0]])).tolist() == [2.0, 1.0]


def test_coherence_of_a_simplex_is_the_welch_bound() -> None:
    """n unit vectors in n - 1 dimensions, all cosines -1 / (n - 1)."""
    simplex = centred(torch.eye(9).double())
    found = coherence(simplex)
    assert float(found.mean) == pytest.approx(1 / 8)
    assert float(found.largest) == pytest.approx(welch_bound(9, 8)) == pytest.approx(1 / 8)
    assert welch_bound(4, 8) == 0


def test_coherence_of_a_random_code() -> None:
    """E|cos| in d dimensions is Γ(d/2) / (√π Γ((d+1)/2))."""
    d = 16
    expected = math.exp(math.lgamma(d / 2) - math.lgamma((d + 1) / 2)) / math.sqrt(math.pi)
    assert float(coherence(gaussian_code(600, d)).mean) == pytest.approx(expected, rel=0.01)


def test_parts_add_up_to_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    code, decoder = gaussian_code(30, 6), gaussian_code(30, 6, 1).mT
    whole = coherence(code), decoded(code, decoder)
    monkeypatch.setattr(codebook, "ROWS", 7)
    parts = coherence(code), decoded(code, decoder)
    for one, other in zip(whole, parts, strict=True):
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(a, b)


def test_decoding_is_that_of_the_copy_matrix() -> None:
    code, decoder = gaussian_code(30, 6), gaussian_code(30, 6).mT + 0.5 * gaussian_code(30, 6, 1).mT
    copy = code @ decoder
    found = decoded(code, decoder)
    for token in range(30):
        others = torch.cat([copy[token, :token], copy[token, token + 1 :]])
        assert int(found.rank[token]) == int((others > copy[token, token]).sum())
        assert float(found.snr[token]) == pytest.approx(
            float((copy[token, token] - others.mean()) / others.std(correction=0))
        )
    assert float(found.top(1)) == pytest.approx(float((copy.argmax(dim=1) == torch.arange(30)).double().mean()))
    values = torch.linalg.eigvals(copy)
    assert float(eigen_copy(code, decoder)) == pytest.approx(float(values.real.sum() / values.abs().sum()), rel=1e-6)


def test_a_random_code_is_as_decodable_as_the_law_says() -> None:
    """SNR is the length of the vector, about √d; the share decoded is E Φ(SNR)^(n - 1)."""
    code = gaussian_code(2000, 16)
    found = decoded(code, code.mT)
    torch.testing.assert_close(found.snr, code.norm(dim=1), rtol=0.1, atol=0)
    expected = float(expected_top1(code.norm(dim=1), 2000).mean())
    assert float(found.top(1)) == pytest.approx(expected, abs=0.03)
    assert 0.5 < expected < 0.9
    unrelated = decoded(code, gaussian_code(2000, 16, 1).mT)
    assert float(unrelated.top(1)) < 0.005
    assert abs(float(unrelated.snr.mean())) < 0.1


def test_expected_top1_is_the_integral_of_the_largest_of_many() -> None:
    """Against the distribution function of the largest of n - 1 Gaussian numbers."""
    draws = torch.randn(4000, 49, generator=torch.Generator().manual_seed(0)).amax(dim=1)
    for snr in (1.5, 2.5, 3.5):
        share = float((draws < snr).double().mean())
        assert float(expected_top1(torch.tensor(snr), 50)) == pytest.approx(share, abs=0.03)
