"""How many features there are, when it is not settled that there is a number: counts that need no list of features."""

import math

import torch
from torch import Tensor

from sup_lightning.errors import reject


def effective_count(weight: Tensor) -> Tensor:
    """How many there are of things of unequal weight: exp of the entropy of their shares, `[...]`; 0 if all are 0.

    Args:
        weight: `[..., n]`, ≥ 0, such as the dimensionality of each feature.

    >>> effective_count(torch.tensor([[1.0, 1.0, 1.0, 0.0], [1.0, 0.01, 0.01, 0.0]]))
    tensor([3.0000, 1.1164])
    """
    total = weight.sum(dim=-1, keepdim=True)
    share = weight / total.clamp_min(torch.finfo(weight.dtype).tiny)
    entropy = -torch.special.xlogy(share, share).sum(dim=-1)
    return torch.where(total.squeeze(-1) > 0, entropy.exp(), 0.0)


def covering_angles(W: Tensor, kept: Tensor) -> Tensor:
    """How near every direction is to the nearest of k chosen ones, for k = 1, 2, …; `[..., n_features]` radians.

    Directions are chosen greedily, each time the one farthest from those chosen before (Gonzalez 1985). No k directions
    can cover all at less than half the angle, so it is the best cover to a factor of two in the angle.

    Args:
        W: Directions `[..., n_features, n_hidden]`.
        kept: Which of them count, `[..., n_features]` bool; the first chosen is the first of these.

    Returns:
        Falling angles; 0 from the number of kept directions on, and NaN throughout where none is kept.

    >>> cross = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    >>> (covering_angles(cross, torch.ones(4, dtype=torch.bool)) / math.pi).abs()
    tensor([1.0000, 0.5000, 0.5000, 0.0000])
    """
    unit = torch.nn.functional.normalize(W.double(), dim=-1)
    n_features = W.shape[-2]
    chosen = kept.int().argmax(dim=-1, keepdim=True)
    nearest = torch.full(W.shape[:-1], math.inf, dtype=torch.float64, device=W.device)
    found = []
    for _ in range(n_features):
        centre = unit.gather(-2, chosen.unsqueeze(-1).expand(*chosen.shape, W.shape[-1]))
        # The angle from the chord: unlike the arc cosine it is exact for directions that are nearly the same.
        chord = torch.linalg.vector_norm(unit - centre, dim=-1)
        angle = 2 * (chord / 2).clamp(max=1).asin()
        nearest = torch.minimum(nearest, angle.where(kept, 0.0))
        largest = nearest.max(dim=-1, keepdim=True)
        found.append(largest.values)
        chosen = largest.indices
    angles = torch.cat(found, dim=-1)
    return angles.where(kept.any(dim=-1, keepdim=True), math.nan).to(W.dtype)


def covering_number(angles: Tensor, within: Tensor) -> Tensor:
    """How many directions it takes for all to lie within an angle of one of them, `[..., n_within]`.

    Args:
        angles: What `covering_angles` returns, `[..., n_features]`.
        within: The angles asked for, `[n_within]` radians.
    """
    count = (angles.unsqueeze(-2) > within.to(angles).unsqueeze(-1)).sum(dim=-1) + 1
    return count.to(angles).where(~angles.isnan().all(dim=-1, keepdim=True), math.nan)


def growth_exponent(x: Tensor, count: Tensor) -> Tensor:
    """The exponent a of count ~ x^a by least squares of the logarithms, `[...]`; NaN where a count is 0.

    1 if the count grows as x does, 0 if it levels off. With x = 1 / angle and covering numbers it is the box-counting
    dimension: 0 for a finite number of directions, 1 for a curve of them.

    Args:
        x: `[n]`, positive, not all the same.
        count: `[..., n]`.

    >>> growth_exponent(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([[3.0, 6.0, 12.0], [5.0, 5.0, 5.0]]))
    tensor([1., 0.])
    """
    if x.shape[-1] < 2 or not bool((x > 0).all()):
        reject("x", x.tolist(), "at least two positive numbers")
    log_x = x.double().log() - x.double().log().mean(dim=-1, keepdim=True)
    log_count = count.double().where(count > 0, math.nan).log()
    return ((log_x * log_count).sum(dim=-1) / log_x.square().sum(dim=-1)).to(count.dtype)
