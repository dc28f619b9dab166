"""How the loss under dropout depends on the basis of the hidden layer: at exact optima, and where training ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

from sup_lightning.experiment import Run
from sup_lightning.functional.basis import alignment_above_random, random_rotations
from sup_lightning.functional.dimensionality import feature_dimensionality, feature_norms, represented_features
from sup_lightning.functional.dropout import dropout_masks
from sup_lightning.functional.expected_loss import independent_supports
from sup_lightning.functional.intervals import of_best_seed
from sup_lightning.functional.reconstruction import weighted_squared_error
from sup_lightning.nn.dropout_loss import DropoutLoss
from sup_lightning.nn.optimum import best_instances, find_optimum
from sup_lightning.studies.exact import network, random_starts, toy_parts

REFERENCE = 0.2
"""The dropout rate at which everything is compared."""
TOLERANCE = 1e-7
"""Of expected losses, which are 1e-2 and more here."""
N_STARTS = 6
"""Random weights from which an exact optimum is looked for."""
N_ANGLES = 180
"""Turns of the plane in a quarter turn, half a degree apart; a quarter turn permutes the neurons."""
N_ANGLES_TRAINED = 30
"""The same for trained models."""
N_ROTATIONS = 64
"""Random rotations in more dimensions."""


def quarter_turns(n: int) -> Tensor:
    """Rotations of the plane, evenly spaced over a quarter turn from 0 on, `[n, 2, 2]` float64."""
    angle = pi / 2 * torch.arange(n, dtype=torch.float64) / n
    rows = [torch.stack([angle.cos(), angle.sin()], dim=-1), torch.stack([-angle.sin(), angle.cos()], dim=-1)]
    return torch.stack(rows, dim=-2)


def spread(losses: Tensor) -> Tensor:
    """(max - min) / min over the first axis, the rotations.

    >>> spread(torch.tensor([2.0, 3.0]))
    tensor(0.5000)
    """
    low, high = losses.amin(dim=0), losses.amax(dim=0)
    return (high - low) / low


@dataclass(frozen=True)
class ExactOptimum:
    """The lowest optimum found of the expected loss under dropout, for n features in two dimensions, over the rate.

    Attributes:
        q: Dropout rates, `[n_rates]`.
        loss: `[n_rates]`.
        W: `[n_rates, n_features, 2]`.
        b: `[n_rates, n_features]`.
        turned: Loss of W turned by each part of a quarter turn, `[N_ANGLES, n_rates]`.
        converged: `[n_rates]` bool.
    """

    q: Tensor
    loss: Tensor
    W: Tensor
    b: Tensor
    turned: Tensor
    converged: Tensor

    @property
    def spread(self) -> Tensor:
        """Of the loss over rotations, `[n_rates]`."""
        return spread(self.turned)


def exact_optimum(n_features: int, p: float, rates: Sequence[float], starts: Tensor | None = None) -> ExactOptimum:
    """Minimise the expected loss under dropout from random weights, and from others.

    Args:
        n_features: In two dimensions.
        p: Probability of each.
        rates: Dropout rates.
        starts: More weights to start from, `[n_rates, n_more, n_features, 2]`.
    """
    W = random_starts(n_features, 2, N_STARTS).expand(len(rates), -1, -1, -1)
    if starts is not None:
        W = torch.cat([W, starts.double()], dim=1)
    n_starts = W.shape[1]
    q = torch.tensor(rates, dtype=torch.float64)
    law = independent_supports(torch.full((n_features,), p, dtype=torch.float64))
    net = network(W.flatten(0, 1), torch.zeros(W[..., 0].shape, dtype=torch.float64).flatten(0, 1))
    with torch.enable_grad():
        coarse = DropoutLoss(q.repeat_interleave(n_starts), *law, tolerance=1e-5)
        best = best_instances(find_optimum(net, coarse, max_evaluations=120, gradient_tolerance=1e-6).losses, n_starts)
        fine = network(net.W.detach()[best], net.b.detach()[best])
        found = find_optimum(fine, DropoutLoss(q, *law, tolerance=TOLERANCE), max_evaluations=120)
    W, b = fine.W.detach(), fine.b.detach()
    return ExactOptimum(q, found.losses, W, b, turned_losses(W, b, q, p, quarter_turns(N_ANGLES)), found.converged)


def turned_losses(W: Tensor, b: Tensor, q: Tensor, p: float, rotations: Tensor) -> Tensor:
    """Expected loss under dropout of W turned by each rotation, `[n_rotations, n_models]` float64.

    Args:
        W: `[n_models, n_features, n_hidden]`.
        b: `[n_models, n_features]`.
        q: Dropout rates, `[n_models]`.
        p: Probability of each feature.
        rotations: `[n_rotations, n_hidden, n_hidden]`.
    """
    n_features = W.shape[1]
    law = independent_supports(torch.full((n_features,), p, dtype=torch.float64))
    turned = W.double() @ rotations.unsqueeze(1)  # [n_rotations, n_models, n_features, n_hidden]
    shape = turned.shape[:2]
    net = network(turned.flatten(0, 1), b.double().expand(*shape, -1).flatten(0, 1))
    objective = DropoutLoss(q.double().expand(shape).flatten(), *law, tolerance=TOLERANCE)
    return objective(net).detach().view(shape)


def sampled_turned_losses(W: Tensor, b: Tensor, q: Tensor, x: Tensor, rotations: Tensor) -> Tensor:
    """The same on rows of features, for more features than can be enumerated: all masks, but a sample of rows.

    Args:
        W: `[n_models, n_features, n_hidden]`.
        b: `[n_models, n_features]`.
        q: `[n_models]`.
        x: `[batch, n_features]`.
        rotations: `[n_rotations, n_hidden, n_hidden]`.
    """
    factors, chance = dropout_masks(W.shape[-1], q)  # [n_models, n_masks, n_hidden]
    importance, losses = torch.ones(W.shape[1]), []
    for rotation in rotations.to(W):
        turned = W @ rotation
        hidden = x @ turned
        total = torch.zeros(len(W), dtype=torch.float64)
        for mask, share in zip(factors.unbind(1), chance.unbind(1), strict=True):
            output = ((hidden * mask.unsqueeze(1)) @ turned.mT + b.unsqueeze(1)).relu()
            total += share * weighted_squared_error(output, x, importance)
        losses.append(total)
    return torch.stack(losses)


@dataclass(frozen=True)
class Trained:
    """Trained models of one number of features, over the dropout rate; `[n_rates, n_seeds]` and more axes.

    Attributes:
        q: Rates.
        W: `[..., n_features, n_hidden]`.
        turned: Expected loss under dropout of each model turned, as it is first, `[n_rotations, n_rates, n_seeds]`. At
            rate 0 the loss is that at `REFERENCE`: does a model that never saw dropout sit well in the basis?
    """

    q: list[float]
    W: Tensor
    turned: Tensor

    @classmethod
    def of(cls, run: Run) -> "Trained":
        """Measure a finished run: exactly in two dimensions, else on rows."""
        module, data, net = toy_parts(run)
        shape = (module.sweep.n_points, module.sweep.n_seeds)
        q = [float(rate) for rate in module.sweep.axes["dropout"]]
        rates = torch.tensor([rate or REFERENCE for rate in q]).repeat_interleave(shape[1])
        W, b = net.W.detach(), net.b.detach()
        if net.n_hidden == 2:
            p = float(data.feature_probability[0, 0])
            turned = turned_losses(W, b, rates, p, quarter_turns(N_ANGLES_TRAINED))
        else:
            x = data.batch("validation", 0, range(data.val_batch_size), data.val_batch_size).features[0]
            same = torch.eye(net.n_hidden, dtype=torch.float64).unsqueeze(0)
            rotations = torch.cat([same, random_rotations(net.n_hidden, N_ROTATIONS)])
            turned = sampled_turned_losses(W, b, rates, x, rotations)
        return cls(q, W.unflatten(0, shape), turned.unflatten(1, shape))

    def at(self, rate: float) -> int:
        """The point of a rate."""
        return min(range(len(self.q)), key=lambda point: abs(self.q[point] - rate))

    @property
    def rank(self) -> Tensor:
        """Share of the rotations with a lower loss than the model as it is, `[n_rates, n_seeds]`."""
        return (self.turned[1:] < self.turned[0] * (1 - 1e-7)).double().mean(0)

    @property
    def spread(self) -> Tensor:
        """Of the loss over rotations, `[n_rates, n_seeds]`."""
        return spread(self.turned)

    @property
    def alignment(self) -> Tensor:
        """Mean over represented features of the largest |cosine| with a neuron, above random, `[n_rates, n_seeds]`."""
        return self._of_represented(alignment_above_random(self.W, n_rotations=400))

    @property
    def median_dimensionality(self) -> Tensor:
        """Median D_i of the represented features, `[n_rates, n_seeds]`."""
        D = torch.where(represented_features(self.W), feature_dimensionality(self.W), torch.nan)
        return D.nanquantile(0.5, dim=-1).nan_to_num(0)

    @property
    def norm(self) -> Tensor:
        """Mean length of the represented features, `[n_rates, n_seeds]`."""
        return self._of_represented(feature_norms(self.W))

    def best(self, values: Tensor) -> Tensor:
        """What belongs to the seed of the lowest loss at each rate, however it is turned."""
        return of_best_seed(self.turned.amin(dim=0), values)

    def _of_represented(self, values: Tensor) -> Tensor:
        return torch.where(represented_features(self.W), values, torch.nan).nanmean(-1)
