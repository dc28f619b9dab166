"""How many functions a network with few neurons computes: what the studies on many functions share.

A function counts as computed if the network's output explains nine tenths of its variance. That count is held against
networks that cannot superpose or do not train their neurons, and the loss against the naive network's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor

from sup_lightning.data import SyntheticFeatures
from sup_lightning.experiment import Run
from sup_lightning.functional.keyed_random import keyed_normal, keyed_uniform
from sup_lightning.functional.naive import linear_readout_floor
from sup_lightning.functional.readout import (
    RECOVERED,
    explained_variance,
    fit_readout,
    kinked_features,
    train_readout,
)
from sup_lightning.nn import ComputationModel
from sup_lightning.nn.activations import get_toy_activation

ROWS = 16_384
"""Rows on which functions are counted."""
FIT_ROWS = 2_048
"""Rows in which something fires, to which readouts of random neurons are fitted."""

Naive = Callable[[Tensor, Tensor, int], Tensor]
"""From features `[n_rows, n_features]`, targets `[n_rows, n_outputs]` and the width to the naive network's loss."""
Counted = Callable[[Tensor, Tensor], Tensor]
"""From features and targets to the weight of each row and output in R², `[n_rows, n_outputs]`."""


@dataclass(frozen=True)
class Measured:
    """What networks of one width compute; leading axes are `[n_points, n_seeds]`.

    Attributes:
        width: Number of neurons.
        p: Feature probability of each point.
        loss: Expected squared error, summed over outputs.
        naive: That of the naive network, `[n_points]`.
        floor: Below which no network of the width with linear outputs can go, `[n_points]`.
        explained: R² of each function, `[n_points, n_seeds, n_outputs]`.
        probed: Functions that a linear readout of the neurons computes.
        random_ridge: Functions that as many random neurons compute, read by ridge regression.
        random_trained: The same, read by a trained readout that ends like the network's.
        random_loss: The loss of these.
        permuted: Functions that ridge regression on the network's neurons finds in permuted targets.
    """

    width: int
    p: list[float]
    loss: Tensor
    naive: Tensor
    floor: Tensor
    explained: Tensor
    probed: Tensor
    random_ridge: Tensor
    random_trained: Tensor
    random_loss: Tensor
    permuted: Tensor

    @property
    def ratio(self) -> Tensor:
        """Loss over naive loss."""
        return self.loss / self.naive.unsqueeze(-1)

    @property
    def count(self) -> Tensor:
        """Functions computed."""
        return recovered(self.explained)


def recovered(explained: Tensor) -> Tensor:
    """How many functions are computed, `[...]`, from R² `[..., n_outputs]`."""
    return (explained > RECOVERED).float().sum(dim=-1)


def rows_of(data: SyntheticFeatures, p: Tensor, purpose: str, n_rows: int = ROWS) -> tuple[Tensor, Tensor]:
    """Features `[n_rows, n_features]` and targets `[n_rows, n_outputs]` at probabilities p `[n_features]`."""
    uniform = keyed_uniform(purpose, [0], 0, (data.features.n_draws(data.n_features), n_rows))[0]
    features = data.features.sample(uniform, p.unsqueeze(-1))
    return features.mT, data.task(features).mT


def measure(run: Run, naive: Naive, counted: Counted | None = None) -> Measured:
    """Losses, counts and controls of all models of a run of computation models with a hidden bias."""
    model, data = run.toy, cast(SyntheticFeatures, run.data)
    net, n_seeds = cast(ComputationModel, model.net), model.sweep.n_seeds
    p = data.feature_probability[::n_seeds]
    points = [slice(start, start + n_seeds) for start in range(0, model.sweep.n_instances, n_seeds)]
    parts = [_measure_point(net, data, p[k], seeds, naive, counted) for k, seeds in enumerate(points)]
    columns = (torch.stack(column) for column in zip(*parts, strict=True))
    return Measured(net.n_hidden, [round(float(value), 6) for value in p[:, 0]], *columns)


def _measure_point(
    net: ComputationModel, data: SyntheticFeatures, p: Tensor, seeds: slice, naive: Naive, counted: Counted | None
) -> tuple[Tensor, ...]:
    """The fields of `Measured` from the loss on, of one point."""
    features, targets = rows_of(data, p, "many functions")
    weight = None if counted is None else counted(features, targets)
    hidden = hidden_layer(net, features, seeds)
    output = finish(net, hidden @ net.W_out[seeds].mT + net.b[seeds].unsqueeze(1))
    probed, permuted = _ridge_counts(hidden, targets, weight)
    random = _random_controls(net, data, p, features, targets, weight, net.seeds[seeds])
    covariance = torch.cov(targets.double().T, correction=0)
    return (
        (output - targets).square().mean(dim=1).sum(dim=1),
        naive(features, targets, net.n_hidden),
        linear_readout_floor(covariance, net.n_hidden).float(),
        explained_variance(output, targets, weight),
        probed,
        *random,
        permuted,
    )


def hidden_layer(net: ComputationModel, features: Tensor, seeds: slice = slice(None)) -> Tensor:
    """What the neurons of some instances make of features `[batch, n_features]`, `[n_instances, batch, n_hidden]`."""
    f = get_toy_activation("activation", net.activation)
    before = features @ net.W_in[seeds]
    return f(before if net.b_in is None else before + net.b_in[seeds].unsqueeze(1))


def finish(net: ComputationModel, before: Tensor) -> Tensor:
    """The outputs, from what the readout gives."""
    return get_toy_activation("output_activation", net.output_activation)(before)


def _ridge_counts(hidden: Tensor, targets: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Functions that ridge regression finds in the neurons on rows that it was not fitted to, and in permuted rows."""
    permuted = targets[torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))]
    return _ridge_count(hidden, targets, weight), _ridge_count(hidden, permuted, weight)


def _ridge_count(hidden: Tensor, targets: Tensor, weight: Tensor | None) -> Tensor:
    half = len(targets) // 2
    weights, bias = fit_readout(hidden[:, :half], targets[:half])
    output = hidden[:, half:] @ weights.float() + bias.float().unsqueeze(1)
    return recovered(explained_variance(output, targets[half:], None if weight is None else weight[half:]))


def _random_controls(
    net: ComputationModel,
    data: SyntheticFeatures,
    p: Tensor,
    features: Tensor,
    targets: Tensor,
    weight: Tensor | None,
    seeds: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:
    """Counts of ridge regression and of a trained readout on as many random neurons, and the loss of the latter."""
    x, y = rows_of(data, p, "random neurons")
    fires = (x != 0).any(dim=1)
    share = float(fires.float().mean())
    x, y = x[fires][:FIT_ROWS], y[fires][:FIT_ROWS]
    directions = keyed_normal("random neurons", seeds, 0, (net.n_features, net.n_hidden))
    W, b = kinked_features(x[: net.n_hidden], directions)

    def neurons(rows: Tensor) -> Tensor:
        return (rows @ W + b.unsqueeze(1)).relu()

    # Rows in which nothing fires are all alike: one stands for them, with their share.
    x, y = torch.cat([x, torch.zeros(1, x.shape[1])]), torch.cat([y, data.task(torch.zeros(x.shape[1], 1)).mT])
    row_weight = torch.full((len(x),), share / (len(x) - 1))
    row_weight[-1] = 1 - share
    weights, bias = train_readout(neurons(x), y, partial(finish, net), row_weight)
    hidden = neurons(features)
    output = finish(net, hidden @ weights + bias.unsqueeze(1))
    loss = (output - targets).square().mean(dim=1).sum(dim=1)
    return _ridge_count(hidden, targets, weight), recovered(explained_variance(output, targets, weight)), loss
