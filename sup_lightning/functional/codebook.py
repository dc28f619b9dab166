"""Many tokens in few dimensions: how the vectors that stand for them are packed, and how well they can be told apart.

A codebook is `[n_tokens, d]`, one vector for each token; what all have in common is taken off first (`centred`).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sup_lightning.functional.keyed_random import keyed_normal

ROWS = 1024
"""Tokens whose logits are looked at at a time."""


class Coherence(NamedTuple):
    """Cosines between different vectors: the mean and the largest of their absolute values."""

    mean: Tensor
    largest: Tensor


class Decoded(NamedTuple):
    """What each token's vector says of all tokens, `[n_tokens]` each.

    Attributes:
        rank: Other tokens with a larger logit than its own; 0 where it is decoded.
        snr: Its own logit above the mean of the others, in standard deviations of the others.
    """

    rank: Tensor
    snr: Tensor

    def top(self, k: int) -> Tensor:
        """Share of tokens that are among their k largest logits, a scalar."""
        return (self.rank < k).double().mean()


def centred(codes: Tensor) -> Tensor:
    """The vectors less their mean, which tells no token from another."""
    return codes - codes.mean(dim=0)


def gaussian_code(n_tokens: int, d: int, seed: int = 0) -> Tensor:
    """Independent Gaussian vectors, `[n_tokens, d]` float64: packing without design."""
    return keyed_normal("gaussian code", [seed], 0, (n_tokens, d))[0].double()


def participation_ratio(s: Tensor) -> Tensor:
    """(Σs²)² / Σs⁴ of singular values `[..., n]`: how many dimensions are used, `[...]`.

    >>> participation_ratio(torch.tensor([2.0, 2.0, 0.0]))
    tensor(2.)
    """
    return s.square().sum(dim=-1).square() / s.pow(4).sum(dim=-1)


def coherence(codes: Tensor) -> Coherence:
    """How near the directions of different tokens are; compare with `gaussian_code` and `welch_bound`.

    Args:
        codes: `[n_tokens, d]`, none of them 0.

    >>> coherence(torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]]))
    Coherence(mean=tensor(0.3333), largest=tensor(1.))
    """
    unit = codes / torch.linalg.vector_norm(codes, dim=1, keepdim=True)
    total, largest = codes.new_zeros(()), codes.new_zeros(())
    for start in range(0, len(unit), ROWS):
        cosines = (unit[start : start + ROWS] @ unit.mT).abs()
        own = torch.arange(len(cosines), device=codes.device)
        cosines[own, own + start] = 0.0
        total, largest = total + cosines.sum(), torch.maximum(largest, cosines.max())
    return Coherence(total / (len(unit) * (len(unit) - 1)), largest)


def welch_bound(n_tokens: int, d: int) -> float:
    """The least that the largest |cosine| of n unit vectors in d dimensions can be (Welch 1974).

    >>> welch_bound(3, 2)
    0.5
    """
    return math.sqrt(max(0, n_tokens - d) / (d * (n_tokens - 1))) if n_tokens > 1 else 0.0


def decoded(codes: Tensor, decoder: Tensor) -> Decoded:
    """Which token each vector is read as, row by row of the copy matrix C = codes · decoder.

    Args:
        codes: `[n_tokens, d]`, centred.
        decoder: `[d, n_tokens]`, logits of a vector: W_O W_U for the values of a head.

    >>> decoded(torch.eye(3)[:, :2], torch.eye(3)[:2]).rank
    tensor([0, 0, 0])
    """
    ranks, snrs = [], []
    for start in range(0, len(codes), ROWS):
        logits = codes[start : start + ROWS] @ decoder
        row = torch.arange(len(logits), device=codes.device)
        own = logits[row, row + start]
        ranks.append((logits > own.unsqueeze(1)).sum(dim=1))
        n = logits.shape[1] - 1
        mean = (logits.sum(dim=1) - own) / n
        spread = logits - mean.unsqueeze(1)
        spread[row, row + start] = 0.0
        snrs.append((own - mean) / (spread.square().sum(dim=1) / n).sqrt())
    return Decoded(torch.cat(ranks), torch.cat(snrs))


def eigen_copy(codes: Tensor, decoder: Tensor) -> Tensor:
    """Σλ / Σ|λ| over the eigenvalues of the copy matrix (Elhage et al. 2021), a scalar in [-1, 1]; 1 if all copy.

    Args:
        codes: `[n_tokens, d]`.
        decoder: `[d, n_tokens]`.

    >>> eigen_copy(torch.eye(2), torch.tensor([[1.0, 0.0], [0.0, -3.0]]))
    tensor(-0.5000)
    """
    values = torch.linalg.eigvals(decoder @ codes)  # those of codes · decoder that are not 0
    return values.real.sum() / values.abs().sum()


def expected_top1(snr: Tensor, n_tokens: int) -> Tensor:
    """How likely a token's own logit is the largest if the others are Gaussian: Φ(snr)^(n_tokens - 1), `[...]`.

    Half are decoded at an snr of about sqrt(2 ln n_tokens), which hardly grows with the vocabulary.

    >>> expected_top1(torch.tensor([0.0, 4.0]), 2)
    tensor([0.5000, 1.0000])
    """
    return (torch.special.log_ndtr(snr) * (n_tokens - 1)).exp()
