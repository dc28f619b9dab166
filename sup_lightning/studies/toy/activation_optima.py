"""Exact optima of small bottlenecks with any output activation: where superposition begins, what a pentagon costs."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sup_lightning.functional.naive import sparse_variance
from sup_lightning.nn.activations import ToyActivationName
from sup_lightning.nn.exact_loss import ExactLoss
from sup_lightning.studies.crossover import bracket
from sup_lightning.studies.exact import optimum_from

TOLERANCE = 1e-6
"""Error of the losses."""
BETTER_THAN_LINEAR = 0.9
"""Error over that of a linear network at which superposition counts as begun."""
STARTS = [[1.0, -1.0], [1.0, 0.02], [2.0, -2.0]]
"""Weights from which the optimum of two features in one dimension is looked for."""


class Pentagon(NamedTuple):
    """Five features in two dimensions.

    Attributes:
        fvu: Fraction of variance unexplained by the pentagon.
        fvu_of_pairs: By two antipodal pairs, the fifth feature left out.
        norm: Of the pentagon's directions.
        bias: Of its outputs.
    """

    fvu: float
    fvu_of_pairs: float
    norm: float
    bias: float


def two_features(activation: ToyActivationName, p: Tensor, scale: float = 1.0) -> Tensor:
    """Fraction of variance unexplained by the exact optimum of two features in one dimension, `[n_p]` float64.

    Both are equally important and uniform on [0, 1]. It is the lowest of the local optima below a few starts.

    Args:
        activation: Of the outputs.
        p: Feature probabilities `[n_p]` float64.
        scale: Its sharpness.
    """
    W = torch.tensor(STARTS).double().unsqueeze(-1).repeat_interleave(len(p), dim=0)
    b = torch.zeros(len(W), 2).double()
    objective = ExactLoss.independent(p.repeat(len(STARTS)).unsqueeze(1).expand(-1, 2), tolerance=TOLERANCE)
    losses = optimum_from(objective, W, b, activation, activation_scale=scale).losses
    return losses.view(len(STARTS), -1).amin(dim=0) / (2 * sparse_variance(p))


def superposition_start(activation: ToyActivationName, scale: float = 1.0) -> tuple[float, float]:
    """The p* below which two features in one dimension are explained better than linearly, and its error.

    A linear network explains half of the variance at every p, by one feature or by the difference of both alike. p* is
    where the exact optimum leaves `BETTER_THAN_LINEAR` of what that leaves; its error is half the width of its bracket.

    Args:
        activation: Of the outputs.
        scale: Its sharpness.

    >>> p, error = superposition_start("relu")
    >>> round(p, 2), error < 0.002
    (0.6, True)
    """
    low, high = bracket(
        lambda p: two_features(activation, p, scale) - BETTER_THAN_LINEAR / 2, 0.3, 1.0, error=2e-5, n=8, rounds=3
    )
    return (low + high) / 2, (high - low) / 2


def pentagon(activation: ToyActivationName, scale: float = 1.0, p: float = 0.05) -> Pentagon:
    """The local optima below a pentagon and below two pairs.

    Args:
        activation: Of the outputs.
        scale: Its sharpness.
        p: Feature probability.
    """
    angle = 2 * math.pi * torch.arange(5, dtype=torch.float64) / 5
    shape = 1.1 * torch.stack([angle.cos(), angle.sin()], dim=1)
    pairs = torch.tensor([[0.02, 0.01], [1, 0], [-1, 0], [0, 1], [0, -1]], dtype=torch.float64)
    objective = ExactLoss.independent(torch.full((2, 5), p, dtype=torch.float64), tolerance=TOLERANCE)
    found = optimum_from(
        objective, torch.stack([shape, pairs]), torch.zeros(2, 5).double(), activation, activation_scale=scale
    )
    variance = 5 * float(sparse_variance(torch.tensor(p, dtype=torch.float64)))
    fvu = [float(loss) / variance for loss in found.losses]
    return Pentagon(fvu[0], fvu[1], float(found.W[0].norm(dim=-1).mean()), float(found.b[0].mean()))
