"""Products of a tall and a wide matrix, as the circuits of attention heads are: norms, singular vectors, composition.

Vectors are rows: a head writes `x W_V W_O`, and its scores are `x_query W_Q W_Kᵀ x_keyᵀ` (Elhage et al. 2021, "A
Mathematical Framework for Transformer Circuits"). All functions broadcast over leading axes.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from sup_lightning.functional.keyed_random import keyed_normal


class LowRank(NamedTuple):
    """The matrix left · right, which is never formed.

    Attributes:
        left: `[..., d_in, rank]`.
        right: `[..., rank, d_out]`.
    """

    left: Tensor
    right: Tensor

    @property
    def mT(self) -> "LowRank":
        """The transposed matrix."""
        return LowRank(self.right.mT, self.left.mT)

    def then(self, other: "LowRank") -> "LowRank":
        """The product of both: this one is applied first."""
        return LowRank(self.left, self.right @ other.left @ other.right)


class SingularVectors(NamedTuple):
    """A matrix as Σ_i s_i u_i v_iᵀ, the largest first.

    Attributes:
        u: `[..., d_in, rank]`, orthonormal columns: what is read.
        s: `[..., rank]`.
        v: `[..., d_out, rank]`, orthonormal columns: what is written.
    """

    u: Tensor
    s: Tensor
    v: Tensor


def frobenius(matrix: LowRank) -> Tensor:
    """The Frobenius norm, `[...]`.

    >>> frobenius(LowRank(torch.tensor([[3.0], [4.0]]), torch.tensor([[1.0, 0.0]])))
    tensor(5.)
    """
    return ((matrix.left.mT @ matrix.left) * (matrix.right @ matrix.right.mT)).sum(dim=(-2, -1)).clamp(min=0).sqrt()


def singular_vectors(matrix: LowRank) -> SingularVectors:
    """The singular vectors, by factors of the size of the rank alone; take weights in float64."""
    q_in, r_in = torch.linalg.qr(matrix.left)
    q_out, r_out = torch.linalg.qr(matrix.right.mT)
    u, s, vh = torch.linalg.svd(r_in @ r_out.mT)
    return SingularVectors(q_in @ u, s, q_out @ vh.mT)


def degenerate_groups(s: Tensor, least_gap: float = 0.05) -> list[range]:
    """Which singular directions mean something one by one: runs of singular values that are too near to be told apart.

    Singular vectors of near-equal values are an arbitrary basis of their subspace: a little noise turns them into each
    other. A run of one is a direction; of a longer run the subspace alone can be spoken of.

    Args:
        s: `[rank]`, falling.
        least_gap: Two neighbours are apart if their difference is this share of the larger.

    >>> degenerate_groups(torch.tensor([4.0, 3.0, 2.95, 1.0]))
    [range(0, 1), range(1, 3), range(3, 4)]
    """
    apart = (s[:-1] - s[1:]) >= least_gap * s[:-1]
    starts = [0, *(k + 1 for k in apart.nonzero().flatten().tolist())]
    return [range(start, stop) for start, stop in zip(starts, [*starts[1:], len(s)], strict=True)]


def composition(first: LowRank, then: LowRank) -> Tensor:
    """How much of what a map writes the next one reads: |A B| / (|A| |B|), `[...]` in [0, 1].

    With A = W_V W_O of a head and B = W_K W_Qᵀ of a later one it is their K-composition. Random maps have about
    d_model^(-1/2), see `random_composition`, with which it has to be compared.
    """
    return frobenius(first.then(then)) / (frobenius(first) * frobenius(then))


def random_composition(then: LowRank, rank: int, n_draws: int = 20, seed: int = 0) -> Tensor:
    """Composition of random maps with a given one: the null of `composition`, `[n_draws, ...]`.

    Args:
        then: The map that reads.
        rank: Of the random maps, whose factors have independent Gaussian entries.
        n_draws: Number of random maps.
        seed: Picks them.
    """
    d_model = then.left.shape[-2]
    left, right = (
        keyed_normal("random heads", range(seed, seed + n_draws), 0, (2, d_model, rank)).to(then.left).unbind(1)
    )
    extra = (1,) * (then.left.ndim - 2)
    shape = (n_draws, *extra)
    random = LowRank(left.view(*shape, d_model, rank), right.mT.reshape(*shape, rank, d_model))
    return composition(random, then)
