"""What can be known of sparse features from a linear code: the best that any decoder can do.

Features x, uniform on [0, 1] where they are active, are written into h = W^T x. Given h, each support S (set of active
features) leaves the values that solve W_S^T x_S = h in the unit cube, all equally likely: a point if W_S has as many
rows as h has entries, a slice of the cube if it has more. By the change of variables from x_S to h and coordinates on
the slice, the support's weight is

    P(S) · volume of the slice / |det W_B|

with B a choice of active features whose directions are a basis, and the volume taken in the values of the other ones.
A support of smaller rank lives on a subspace: its density is infinite there and 0 elsewhere. To have numbers instead,
the code is known to a small `precision` ρ, as with Gaussian noise of this standard deviation, and ρ → 0 in everything
but the factor (2πρ²)^(-(m - rank) / 2) exp(-distance² / 2ρ²). Directions that are the same to within ρ count as such.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sup_lightning.errors import reject

SLACK = 1e-6
"""By how much a value may leave [0, 1] through rounding."""
FAR = 10
"""Standard deviations of the noise beyond which a support does not explain a code."""
CHUNK = 2**20
"""Nodes of the quadrature held at once."""


class CodePosterior(NamedTuple):
    """What a code says of the features.

    Attributes:
        mean: Posterior mean `[batch, n_features]`: of all estimates that with the least mean squared error. NaN where
            no support explains the code.
        most_likely: Mean given the support with the greatest posterior weight (MAP over supports), the same shape.
        support: Which support that is, `[batch]`.
    """

    mean: Tensor
    most_likely: Tensor
    support: Tensor


def code_posterior(
    code: Tensor, W: Tensor, supports: Tensor, probability: Tensor, precision: float = 1e-3, n_nodes: int = 10
) -> CodePosterior:
    """Posterior mean and MAP of features uniform on [0, 1] from their code, over all supports.

    Exact as `precision` goes to 0 where at most n_hidden + 1 features are active (points and segments); slices of more
    dimensions are integrated by Gauss-Legendre nodes in all but one of them, to about 1 %.

    Args:
        code: h = W^T x, `[batch, n_hidden]`.
        W: Feature directions `[n_features, n_hidden]`.
        supports: `[n_supports, n_features]` bool, as from `independent_supports`.
        probability: `[n_supports]`.
        precision: To which the code is known, in its own units.
        n_nodes: Of the quadrature, in each dimension.

    Two features on one line, in opposite directions: .5 is the first alone, or both, with weights 1 - p and p · .5.

    >>> from sup_lightning.functional.expected_loss import independent_supports
    >>> supports, probability = independent_supports(torch.tensor([0.2, 0.2]))
    >>> code_posterior(torch.tensor([[0.5]]), torch.tensor([[1.0], [-1.0]]), supports, probability).mean
    tensor([[0.5278, 0.0278]])
    """
    if not precision > 0:
        reject("precision", precision, "a positive number")
    rows, directions = code.double(), W.double()
    possible = (probability > 0).nonzero().squeeze(1)
    log_weights, means = [], []
    for index in possible.tolist():
        active = supports[index].nonzero().squeeze(1)
        log_weight, values = _given_support(rows, directions[active], precision, n_nodes)
        log_weights.append(log_weight + math.log(float(probability[index])))
        means.append(rows.new_zeros(len(rows), len(W)).index_copy_(1, active, values))
    log_weight, mean = torch.stack(log_weights, dim=1), torch.stack(means, dim=1)  # [batch, n_supports, ...]
    unexplained = log_weight.isinf().all(dim=1, keepdim=True)
    share = torch.softmax(log_weight.masked_fill(unexplained, 0.0), dim=1)
    best = log_weight.argmax(dim=1)
    average = (share.unsqueeze(-1) * mean).sum(dim=1).masked_fill(unexplained, math.nan)
    likely = mean[torch.arange(len(rows)), best].masked_fill(unexplained, math.nan)
    return CodePosterior(average.to(code.dtype), likely.to(code.dtype), possible[best])


def _given_support(h: Tensor, W: Tensor, precision: float, n_nodes: int) -> tuple[Tensor, Tensor]:
    """Log density of a code given that exactly these features are active, and the mean of their values then.

    Args:
        h: Codes `[batch, n_hidden]`.
        W: Directions of the active features `[n_active, n_hidden]`.
        precision: To which the code is known.
        n_nodes: Of the quadrature.

    Returns:
        `[batch]` log density, -inf where impossible, and `[batch, n_active]` means.
    """
    n_active, n_hidden = W.shape
    basis, free = _basis(W, precision)
    B, F = W[basis], W[free]
    gram = B @ B.T
    solve = torch.linalg.solve(gram, B)  # from a code to the values of the basis, if the others are 0
    at_zero, change = h @ solve.T, F @ solve.T  # [batch, rank], [n_free, rank]
    distance = (h - at_zero @ B).square().sum(dim=1)
    missing = n_hidden - len(basis)
    log_density = -0.5 * torch.logdet(gram) if len(basis) else h.new_zeros(())
    log_noise = -0.5 * missing * math.log(2 * math.pi * precision**2) - distance / (2 * precision**2)
    log_noise = log_noise.where(distance <= (FAR * precision) ** 2, -math.inf)
    volume, of_free = _slice(at_zero, change, n_nodes)
    values = h.new_zeros(len(h), n_active)
    values[:, free] = of_free
    values[:, basis] = (at_zero - of_free @ change).clamp(0, 1)  # the values of the basis are linear in the free ones
    return log_density + log_noise + volume.log(), values


def _basis(W: Tensor, precision: float) -> tuple[list[int], list[int]]:
    """Rows of W that are a basis to within the precision, and the other rows; always the one that sticks out most."""
    residual, basis = W.clone(), []
    for _ in range(min(W.shape)):
        lengths = residual.norm(dim=1)
        longest = int(lengths.argmax())
        if lengths[longest] <= precision:
            break
        basis.append(longest)
        unit = residual[longest] / lengths[longest]
        residual = residual - (residual @ unit).unsqueeze(1) * unit
        residual[basis] = 0
    return basis, [i for i in range(len(W)) if i not in basis]


def _slice(at_zero: Tensor, change: Tensor, n_nodes: int) -> tuple[Tensor, Tensor]:
    """Volume and centroid of {u in [0, 1]^n_free : 0 ≤ at_zero - u · change ≤ 1}, `[batch]` and `[batch, n_free]`.

    One variable is integrated in closed form, the others by Gauss-Legendre nodes.
    """
    n_free = len(change)
    if n_free == 0:
        inside = ((at_zero >= -SLACK) & (at_zero <= 1 + SLACK)).all(dim=1)
        return inside.to(at_zero), at_zero[:, :0]
    nodes, weights = _grid(n_free - 1, n_nodes)  # [n_grid, n_free - 1], [n_grid]
    volumes, centroids = [], []
    for rows in at_zero.split(max(1, CHUNK // len(nodes))):
        offset = rows.unsqueeze(1) - nodes @ change[:-1]  # [rows, n_grid, rank]
        low, high = _interval(offset, change[-1])
        length = (high - low).clamp_min(0) * weights
        volume = length.sum(dim=1)
        safe = volume.clamp_min(torch.finfo(volume.dtype).tiny).unsqueeze(1)
        outer = length @ nodes / safe
        inner = (length * (low + high) / 2).sum(dim=1, keepdim=True) / safe
        volumes.append(volume)
        centroids.append(torch.cat([outer, inner], dim=1))
    return torch.cat(volumes), torch.cat(centroids)


def _interval(offset: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """The ends of {t in [0, 1] : 0 ≤ offset - t slope ≤ 1}, `[...]` for `[..., rank]`; low > high if it is empty."""
    steep = slope.abs() > 1e-12
    at_low, at_high = offset / slope.where(steep, 1.0), (offset - 1) / slope.where(steep, 1.0)
    fits = (offset >= -SLACK) & (offset <= 1 + SLACK)
    first = torch.minimum(at_low, at_high).where(steep, torch.where(fits, -math.inf, math.inf))
    last = torch.maximum(at_low, at_high).where(steep, math.inf)
    bounds = offset.new_zeros(*offset.shape[:-1], 1)
    low = torch.cat([first, bounds], dim=-1).amax(dim=-1)
    high = torch.cat([last, bounds + 1], dim=-1).amin(dim=-1)
    return low.clamp(max=2.0), high


def _grid(n_variables: int, n_nodes: int) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes on the unit cube, `[n_nodes^n_variables, n_variables]`, and their weights."""
    if n_variables == 0:
        return torch.zeros(1, 0, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    points, weights = (torch.from_numpy(part) / 2 for part in np.polynomial.legendre.leggauss(n_nodes))
    grid, share = (torch.cartesian_prod(*[part] * n_variables).view(-1, n_variables) for part in (points, weights))
    return grid + 0.5, share.prod(dim=1)
