"""Subspaces: who is in them, and how far two overlap. A subspace is an orthonormal basis `[d, k]`, in columns."""

import torch
from torch import Tensor

from sup_lightning.functional.keyed_random import keyed_normal


def span(vectors: Tensor, rank: int | None = None) -> Tensor:
    """The subspace of the largest singular directions of some vectors, `[d, rank]`.

    Args:
        vectors: `[n, d]`.
        rank: Its dimension; all that the vectors span if left out.

    >>> span(torch.tensor([[0.0, 2.0], [0.0, -1.0]])).abs()
    tensor([[0.],
            [1.]])
    """
    _, s, vh = torch.linalg.svd(vectors, full_matrices=False)
    if rank is None:
        rank = int((s > s.max() * max(vectors.shape) * torch.finfo(s.dtype).eps).sum())
    return vh[:rank].mT


def random_subspaces(d: int, k: int, n_draws: int, seed: int = 0) -> Tensor:
    """Uniformly random subspaces, `[n_draws, d, k]` float64: the null of whatever is said of one."""
    gaussian = keyed_normal("random subspaces", range(seed, seed + n_draws), 0, (d, k)).double()
    return torch.linalg.qr(gaussian).Q


def energy_fraction(vectors: Tensor, basis: Tensor) -> Tensor:
    """The part of the squared length of vectors that lies in a subspace, `[...]`; k / d by chance.

    Args:
        vectors: `[n, d]`.
        basis: `[..., d, k]`.

    >>> energy_fraction(torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0], [0.0]]))
    tensor(0.3600)
    """
    return (vectors @ basis).square().sum(dim=(-2, -1)) / vectors.square().sum()


def overlap_above_chance(one: Tensor, other: Tensor) -> Tensor:
    """How far two subspaces overlap, over the mean of random ones: |UᵀV|² d / (k l), `[...]`; 1 by chance.

    Args:
        one: `[..., d, k]`.
        other: `[..., d, l]`.

    >>> axis = torch.tensor([[1.0], [0.0]])
    >>> overlap_above_chance(axis, axis)
    tensor(2.)
    """
    shared = (one.mT @ other).square().sum(dim=(-2, -1))
    return shared * one.shape[-2] / (one.shape[-1] * other.shape[-1])


def projected(vectors: Tensor, basis: Tensor) -> Tensor:
    """The part of vectors `[..., d]` in a subspace `[d, k]`."""
    return vectors @ basis @ basis.mT
