"""The density at which two equally important features stop to be an antipodal pair: exact, and in trained models."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from sup_lightning.experiment import Run
from sup_lightning.functional.expected_loss import Pieces
from sup_lightning.functional.phase import (
    Phase,
    antipodal_loss,
    ignored_loss,
    moments,
    phase_of_weights,
    superposition_boundary,
)
from sup_lightning.nn.exact_loss import ExactLoss
from sup_lightning.studies.crossover import bracket
from sup_lightning.studies.exact import exact_losses, law_of, optimum_from, toy_parts

SPARSEST, DENSEST = 0.1, 0.97
"""Densities between which the exact point is looked for."""
STARTS = ((1.0, -1.0), (1.0, -0.4), (1.0, 0.05), (1.0, 0.4), (0.8, 0.8))
"""Weights of two features in one dimension from which exact optima are looked for, each with two biases."""
TOLERANCE = 1e-9


def saving(loss: Tensor, p: Tensor, pieces: Pieces) -> Tensor:
    """By how much of it a loss is below that of a dimension for one feature and the mean for the other, `[...]`.

    Args:
        loss: Broadcastable with p, which is below 1 where the values are constant.
        p: Probability of each feature.
        pieces: Law of the values.
    """
    return 1 - loss / ignored_loss(p, pieces)


def named_saving(p: Tensor, pieces: Pieces) -> Tensor:
    """That of the pair W = (1, -1) without a bias, 0 where a dimension for one is better."""
    return saving(antipodal_loss(1.0, p, pieces), p, pieces).clamp_min(0)


class LocalOptima(NamedTuple):
    """Local optima of two features in one dimension, `[n_points, n_optima]` and more axes.

    Attributes:
        savings: Of each.
        antipodal: Whether its weights are nearest to an antipodal pair, by `phase_of_weights`.
        W: `[..., 2, 1]`.
        b: `[..., 2]`.
    """

    savings: Tensor
    antipodal: Tensor
    W: Tensor
    b: Tensor


def local_optima(p: Tensor, pieces: Pieces) -> LocalOptima:
    """Minimise the exact loss from each of `STARTS`, with biases of 0 and of the mean.

    Args:
        p: Densities `[n_points]` float64.
        pieces: Law of the values.
    """
    n, n_starts = len(p), len(STARTS)
    W = torch.tensor(STARTS, dtype=torch.float64).repeat(2 * n, 1).unsqueeze(-1)  # [n * 2 * n_starts, 2, 1]
    mean = (p * moments(pieces)[0]).view(n, 1, 1)
    b = torch.cat([0 * mean, mean], dim=1).expand(n, 2, n_starts)  # at 0 a law of atoms has a kink, which holds b fast
    density = p.repeat_interleave(2 * n_starts).unsqueeze(1).expand(-1, 2)
    objective = ExactLoss.independent(density, pieces, tolerance=TOLERANCE)
    found = optimum_from(objective, W, b.reshape(-1, 1).expand(-1, 2))
    shape = (n, 2 * n_starts)
    savings = saving(found.losses.view(shape), p.unsqueeze(1), pieces)
    antipodal = (phase_of_weights(found.W) == Phase.SUPERPOSED).view(shape)
    return LocalOptima(savings, antipodal, found.W.unflatten(0, shape), found.b.unflatten(0, shape))


def exact_savings(p: Tensor, pieces: Pieces) -> tuple[Tensor, Tensor]:
    """Savings of the best antipodal pair, and of the best other weights, over norms and biases, `[n_points]` each.

    The two lengths of a pair may differ. -inf where there is no local optimum of a kind.
    """
    found = local_optima(p, pieces)
    return _by_kind(found.savings, found.antipodal)


def _by_kind(savings: Tensor, antipodal: Tensor) -> tuple[Tensor, Tensor]:
    """The best saving of antipodal pairs and of other weights, `[n]` each, of `[n, n_models]`."""
    pair = torch.where(antipodal, savings, -math.inf).amax(-1)
    other = torch.where(antipodal, -math.inf, savings).amax(-1)
    return pair, other


@lru_cache
def exact_phase_point(pieces: Pieces) -> tuple[float, float]:
    """Ends of a bracket of the p from which other weights are better than an antipodal pair; NaN if there is none."""

    def lead(p: Tensor) -> Tensor:  # of other weights
        pair, other = exact_savings(p, pieces)
        return (other - pair).nan_to_num(posinf=1.0, neginf=-1.0)

    return bracket(lead, SPARSEST, DENSEST, error=1e-6, n=8, rounds=3)


def phase_point(p: Sequence[float], is_pair: Tensor) -> float:
    """Half way between the last density at which a pair is best and the next one; an end of the axis if beyond it.

    Args:
        p: Densities, rising.
        is_pair: Whether the best weights there are a pair, `[n_points]` bool; what comes after the first False is not
            looked at.

    >>> phase_point([0.1, 0.2, 0.3], torch.tensor([True, True, False]))
    0.25
    """
    n_pairs = int(is_pair.long().cumprod(0).sum())
    return (p[max(n_pairs - 1, 0)] + p[min(n_pairs, len(p) - 1)]) / 2


@dataclass(frozen=True)
class PhaseCurve:
    """Two features in one dimension, over the density.

    Attributes:
        p: Rising.
        pieces: Law of the values.
        savings: Of each trained model, by its exact loss, `[n_points, n_seeds]`.
        antipodal: Whether its weights are nearest to an antipodal pair, the same shape.
        exact_pair: Saving of the best antipodal pair, `[n_points]`.
        exact_other: Saving of the best other weights, `[n_points]`.
        bracket: Of the exact phase point.
    """

    p: list[float]
    pieces: Pieces
    savings: Tensor
    antipodal: Tensor
    exact_pair: Tensor
    exact_other: Tensor
    bracket: tuple[float, float]

    @classmethod
    def of(cls, run: Run) -> "PhaseCurve":
        """Measure a run of two features in one dimension, swept over p."""
        module, _, net = toy_parts(run)
        p = module.sweep.axes["feature_probability"]
        pieces, density = tuple(law_of(run, [0]).pieces), torch.tensor(p, dtype=torch.float64)
        losses = exact_losses(run)
        return cls(
            p,
            pieces,
            saving(losses, density.unsqueeze(1), pieces),
            phase_of_weights(net.W.detach()).view(losses.shape) == Phase.SUPERPOSED,
            *exact_savings(density, pieces),
            exact_phase_point(pieces),
        )

    @property
    def point(self) -> float:
        """The exact phase point."""
        return sum(self.bracket) / 2

    @property
    def named_point(self) -> float:
        """p* at which the pair (1, -1) without a bias is as good as a dimension for one feature."""
        return float(superposition_boundary(torch.tensor(1.0, dtype=torch.float64), self.pieces))

    @property
    def trained(self) -> Tensor:
        """Savings and labels of all seeds, for `trained_point`, `[2, n_points, n_seeds]`."""
        return torch.stack([self.savings, self.antipodal.double()])

    def trained_point(self, trained: Tensor) -> float:
        """The phase point of the best seeds, of some seeds of `trained`."""
        savings, antipodal = trained
        return phase_point(self.p, antipodal.gather(-1, savings.argmax(-1, keepdim=True)).squeeze(-1) > 0)
