"""A feature's place in a shape: followed by the exact loss as the feature becomes rarer, until it is better dropped."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sup_lightning.functional.dimensionality import feature_norms, represented_features
from sup_lightning.nn.exact_loss import ExactLoss
from sup_lightning.studies.crossover import bracket
from sup_lightning.studies.exact import TOLERANCE, optimum_from

BRANCH_TOLERANCE = TOLERANCE / 10
"""Error of the loss of a shape."""
NOWHERE = (0.02, 0.01)
"""Where a feature starts that is dropped: near 0, not on it."""


class Place(NamedTuple):
    """Two shapes of features, of which the first one is rare: with it, and without.

    Attributes:
        kept: Directions to start from, `[n_features, n_hidden]` float64.
        dropped: The same, the first feature near 0.
        bias: Of all features at the start with it; without it 0.
    """

    kept: Tensor
    dropped: Tensor
    bias: float


@dataclass(frozen=True)
class Branches:
    """The two local optima at one density p and several ratios; first with the rare feature, second without.

    Attributes:
        ratios: Density of the rare feature over p, `[n_ratios]`.
        losses: Expected loss, `[2, n_ratios]`.
        W: `[2, n_ratios, n_features, n_hidden]`.
        b: `[2, n_ratios, n_features]`.
        converged: `[2, n_ratios]`.
    """

    ratios: Tensor
    losses: Tensor
    W: Tensor
    b: Tensor
    converged: Tensor

    @property
    def keeps_its_shape(self) -> Tensor:
        """Whether each is still a local optimum, and has not become the other shape, `[2, n_ratios]`."""
        keeps_the_feature = represented_features(self.W)[..., 0]
        return torch.stack([keeps_the_feature[0], ~keeps_the_feature[1]])


@dataclass(frozen=True)
class Crossover:
    """Where the two optima are equally good; all is NaN if that is not known.

    Attributes:
        ratio: How many times rarer the feature is there.
        error: Half the width of the bracket: at its ends one shape is better by more than the losses' error.
        jump: Norm of the rare feature in the shape with it less that in the one without.
        jumps: The least and the greatest of that at both ends of the bracket.
        others: The same of the other features, the mean.
    """

    ratio: float
    error: float
    jump: float
    jumps: tuple[float, float]
    others: float


def branches(
    place: Place, p: float, ratios: Tensor, importance: float = 1.0, tolerance: float = BRANCH_TOLERANCE
) -> Branches:
    """Follow both shapes to their local optimum.

    Args:
        place: The shapes.
        p: Density of all but the first feature.
        ratios: That of the first over p, `[n_ratios]`.
        importance: Of all features; 1 / p gives losses that compare across p.
        tolerance: Of the loss.
    """
    n, n_features = len(ratios), len(place.kept)
    W = torch.stack([place.kept, place.dropped]).repeat_interleave(n, dim=0)
    b = torch.cat([torch.full((n, n_features), place.bias), torch.zeros(n, n_features)]).double()
    densities = torch.full((2 * n, n_features), p, dtype=torch.float64)
    densities[:, 0] = p * ratios.repeat(2)
    found = optimum_from(ExactLoss.independent(densities, importance=importance, tolerance=tolerance), W, b)
    return Branches(ratios, *(each.unflatten(0, (2, n)) for each in found))


def crossover(
    place: Place,
    p: float,
    importance: float = 1.0,
    tolerance: float = BRANCH_TOLERANCE,
    rarest: float = 12.0,
    n: int = 8,
    rounds: int = 4,
) -> Crossover:
    """The exact crossover at density p, between 1 and `rarest` times rarer.

    Args:
        place: The shapes.
        p: Density of all but the first feature.
        importance: As in `branches`.
        tolerance: As in `branches`.
        rarest: Where the shape without it is the better one.
        n: Points of one round of the bracket.
        rounds: How often it is narrowed.
    """

    def lead(log_ratio: Tensor) -> Tensor:
        """Of the shape with the feature; infinite where only one of them is a local optimum."""
        found = branches(place, p, log_ratio.exp(), importance, tolerance)
        keeps, drops = found.keeps_its_shape
        lead = (found.losses[1] - found.losses[0]).where(drops, math.inf).where(keeps, -math.inf)
        return lead.where(found.converged.all(dim=0), math.nan)

    low, high = map(math.exp, bracket(lead, -math.log(rarest), 0.0, 2 * tolerance, n, rounds))
    if math.isnan(low):
        return Crossover(math.nan, math.nan, math.nan, (math.nan, math.nan), math.nan)
    ends = branches(place, p, torch.tensor([low, high], dtype=torch.float64), importance, tolerance)
    norms = feature_norms(ends.W)
    fall = (norms[0] - norms[1]).where(ends.converged.all(dim=0).unsqueeze(1), math.nan)
    jumps = fall[:, 0]
    return Crossover(
        (1 / low + 1 / high) / 2,
        (1 / low - 1 / high) / 2,
        float(jumps.mean()),
        (float(jumps.min()), float(jumps.max())),
        float(fall[:, 1:].mean()),
    )


def polygon(n_features: int) -> Tensor:
    """Directions of a regular polygon, `[n_features, 2]` float64."""
    angle = 2 * math.pi * torch.arange(n_features, dtype=torch.float64) / n_features
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def pairs(n_hidden: int) -> Tensor:
    """Two antipodal features on each axis, `[2 n_hidden, n_hidden]` float64."""
    axes = torch.eye(n_hidden, dtype=torch.float64)
    return torch.stack([axes, -axes], dim=1).flatten(0, 1)


def without_first(others: Tensor) -> Tensor:
    """A first feature near 0 in front of others `[n, n_hidden]`."""
    first = others.new_zeros(1, others.shape[1])
    first[0, : len(NOWHERE)] = torch.tensor(NOWHERE[: others.shape[1]])
    return torch.cat([first, others])
