"""Phase changes in closed form: which of the named solutions is best.

As in Elhage et al. 2022, "Superposition as a phase change": features are independent and fire with probability p; all
have importance 1 but for one, the extra feature, which has I. A feature that is ignored leaves its variance (its second
moment, without a bias). Two features that share a dimension as an antipodal pair, W = (1, -1) and no bias, leave the
square of the smaller one to both outputs when both fire. Their optimum has a small bias and norms above 1;
`sup_lightning.nn.optimum.antipodal_optimum` finds its loss, which the functions here take in place of the closed form.
"""

from enum import IntEnum
from itertools import pairwise

import torch
from torch import Tensor

from sup_lightning.errors import reject
from sup_lightning.functional.expected_loss import UNIFORM, Pieces


class Phase(IntEnum):
    """What becomes of the extra feature; for two features in one dimension the first three.

    Attributes:
        IGNORED: It is not represented.
        DEDICATED: It has a dimension of its own, and another feature is ignored.
        SUPERPOSED: It shares a dimension with another feature, as an antipodal pair.
        OTHERS_SUPERPOSED: It has a dimension of its own, and the other two features share one.
    """

    IGNORED = 0
    DEDICATED = 1
    SUPERPOSED = 2
    OTHERS_SUPERPOSED = 3


def moments(pieces: Pieces = UNIFORM) -> tuple[float, float, float]:
    """E u, E u² and E min(u, v)² of two independent draws from a law of values ≥ 0.

    Args:
        pieces: (weight, low, high) of uniform pieces, as in `expected_loss`.

    >>> [round(moment, 4) for moment in moments()]
    [0.5, 0.3333, 0.1667]
    """
    if any(low < 0 for _, low, _ in pieces):
        reject("pieces", list(pieces), "values ≥ 0")
    mean = sum(weight * (low + high) / 2 for weight, low, high in pieces)
    square = sum(weight * (low**2 + low * high + high**2) / 3 for weight, low, high in pieces)
    # E min² = ∫ 2 t P(u > t)² dt, with P linear between the ends of the pieces: a cubic, exact with two Gauss nodes.
    ends = sorted({0.0, *(end for _, low, high in pieces for end in (low, high))})
    smaller = 0.0
    for left, right in pairwise(ends):
        for node in (0.5 - 12**-0.5, 0.5 + 12**-0.5):
            t = left + (right - left) * node
            smaller += (right - left) * t * _survival(t, pieces) ** 2
    return mean, square, smaller


def _survival(t: float, pieces: Pieces) -> float:
    """P(u > t), for t that is not an atom."""
    return sum(
        weight * (float(low > t) if low == high else min(max((high - t) / (high - low), 0.0), 1.0))
        for weight, low, high in pieces
    )


def ignored_loss(p: Tensor, pieces: Pieces = UNIFORM, bias: bool = True) -> Tensor:
    """Loss of a feature that is not represented: p E u² - p² (E u)², or p E u² without a bias. Shape of `p`."""
    mean, square, _ = moments(pieces)
    return p * square - (p * mean).square() if bias else p * square


def antipodal_loss(importance: Tensor | float, p: Tensor, pieces: Pieces = UNIFORM) -> Tensor:
    """Loss of an antipodal pair, W = (1, -1) and b = 0, with importance 1 and I: (1 + I) p² E min(u, v)²."""
    return (1 + importance) * p.square() * moments(pieces)[2]


def named_losses_2_1(
    importance: Tensor, p: Tensor, pieces: Pieces = UNIFORM, bias: bool = True, antipodal: Tensor | None = None
) -> Tensor:
    """Losses of the named solutions for two features in one dimension, in the order of `Phase`.

    Args:
        importance: I of the second, extra feature; the first has 1.
        p: Broadcastable with `importance`.
        pieces: Law of the values.
        bias: Whether ignored features are given their mean.
        antipodal: Loss of the pair; `antipodal_loss` if left out.

    Returns:
        `[..., 3]`.
    """
    ignored = ignored_loss(p, pieces, bias)
    pair = antipodal_loss(importance, p, pieces) if antipodal is None else antipodal
    return torch.stack(torch.broadcast_tensors(importance * ignored, ignored, pair), dim=-1)


def phase_2_1(
    importance: Tensor, p: Tensor, pieces: Pieces = UNIFORM, bias: bool = True, antipodal: Tensor | None = None
) -> Tensor:
    """The best named solution for two features in one dimension, as `Phase`; arguments of `named_losses_2_1`.

    >>> importance, p = torch.tensor([0.1, 10.0, 1.0]), torch.tensor([0.5, 0.5, 0.1])
    >>> [Phase(label).name for label in phase_2_1(importance, p).tolist()]
    ['IGNORED', 'DEDICATED', 'SUPERPOSED']
    """
    return named_losses_2_1(importance, p, pieces, bias, antipodal).argmin(dim=-1)


def superposition_boundary(importance: Tensor, pieces: Pieces = UNIFORM, bias: bool = True) -> Tensor:
    """The p* below which an antipodal pair beats giving the dimension to one feature; above 1: it does for all p.

    For values uniform on [0, 1], 4I / (2 + 5I) up to I = 1 and 4 / (5 + 2I) from there; 4/7 at I = 1.

    Args:
        importance: I of one of the features; the other has 1.
        pieces: Law of the values.
        bias: Whether the ignored feature is given its mean.

    >>> superposition_boundary(torch.tensor([0.5, 1.0, 2.0]))
    tensor([0.4444, 0.5714, 0.4444])
    """
    mean, square, smaller = moments(pieces)
    lesser = importance.clamp(max=1.0)  # the ignored feature is the less important one
    return lesser * square / ((1 + importance) * smaller + lesser * (mean**2 if bias else 0.0))


def named_losses_3_2(
    importance: Tensor,
    p: Tensor,
    pieces: Pieces = UNIFORM,
    bias: bool = True,
    antipodal: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Losses of the paper's four solutions for three features in two dimensions, in the order of `Phase`.

    They are W⊥ = (0, 0, 1), (0, 1, 0), (0, 1, 1) and (1, 1, 0), W⊥ being the direction that W maps to 0.

    Args:
        importance: I of the third, extra feature; the others have 1.
        p: Broadcastable with `importance`.
        pieces: Law of the values.
        bias: Whether ignored features are given their mean.
        antipodal: Losses of a pair with importance (1, I), and of one with (1, 1); `antipodal_loss` if left out.

    Returns:
        `[..., 4]`.
    """
    ignored = ignored_loss(p, pieces, bias)
    mixed, equal = antipodal or (antipodal_loss(importance, p, pieces), antipodal_loss(1.0, p, pieces))
    return torch.stack(torch.broadcast_tensors(importance * ignored, ignored, mixed, equal), dim=-1)


def phase_3_2(
    importance: Tensor,
    p: Tensor,
    pieces: Pieces = UNIFORM,
    bias: bool = True,
    antipodal: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The best of the paper's solutions for three features in two dimensions; arguments of `named_losses_3_2`.

    >>> importance, p = torch.tensor([0.1, 10.0, 1.0, 10.0]), torch.tensor([0.9, 0.9, 0.1, 0.1])
    >>> [Phase(label).name for label in phase_3_2(importance, p).tolist()]
    ['IGNORED', 'DEDICATED', 'SUPERPOSED', 'OTHERS_SUPERPOSED']
    """
    return named_losses_3_2(importance, p, pieces, bias, antipodal).argmin(dim=-1)


def phase_of_weights(W: Tensor) -> Tensor:
    """The named solution that weights are nearest to, as `Phase`.

    Two features in one dimension are compared with (1, 0), (0, 1) and (1, -1) by the angle, three features in two
    dimensions by the angle of W⊥; the three permutations of each solution that leave the extra feature where it is
    count as one. (1, 1, 1), which the paper does not consider, is a tie, and is called superposed.

    Args:
        W: `[..., n_features, n_hidden]` with 2 features in 1 dimension or 3 in 2; the last feature is the extra one.

    >>> phase_of_weights(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])).item() == Phase.SUPERPOSED
    True
    """
    shape = tuple(W.shape[-2:])
    if shape == (2, 1):
        named: list[tuple[int, ...]] = [(1, 0), (0, 1), (1, -1)]
        labels = [0, 1, 2]
        direction = W.squeeze(-1)
    elif shape == (3, 2):
        named = [(0, 1, 1), (0, 1, -1), (1, 0, 1), (1, 0, -1), (0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 0), (1, -1, 0)]
        labels = [2, 2, 2, 2, 0, 1, 1, 3, 3]
        direction = torch.linalg.cross(W[..., 0], W[..., 1], dim=-1)
    else:
        reject("W", shape, "[2, 1] or [3, 2] as [n_features, n_hidden]")
    templates = torch.nn.functional.normalize(torch.tensor(named, dtype=W.dtype, device=W.device), dim=-1)
    nearest = (direction @ templates.mT).abs().argmax(dim=-1)
    return torch.tensor(labels, device=W.device)[nearest]


CORRELATED_TRANSITION = 0.25
"""p at which two correlated pairs in two dimensions collapse: `collapsed_sets_loss` = `antipodal_sets_loss`."""


def collapsed_sets_loss(p: Tensor) -> Tensor:
    """Two sets of two features that fire together, in two dimensions, each set on its own principal component: p / 6.

    Each feature is read as the mean of its set, of values uniform on [0, 1].
    """
    return p / 6


def antipodal_sets_loss(p: Tensor) -> Tensor:
    """The same features, orthogonal within a set and antipodal to one of the other set, without bias: 2 p² / 3."""
    return 2 * p.square() / 3
