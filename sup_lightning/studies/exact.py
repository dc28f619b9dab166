"""Exact losses and exact optima beside trained models: what training aimed at, without sampling noise."""

from collections.abc import Sequence
from copy import copy
from typing import NamedTuple

import torch
from torch import Tensor

from sup_lightning.data import SyntheticFeatures
from sup_lightning.data.tasks import Identity
from sup_lightning.errors import reject
from sup_lightning.experiment import Run
from sup_lightning.functional.keyed_random import keyed_normal
from sup_lightning.modules import ToyModel
from sup_lightning.nn.bottleneck import BottleneckModel
from sup_lightning.nn.exact_loss import ExactLoss
from sup_lightning.nn.optimum import find_optimum

SEARCH_TOLERANCE = 1e-5
"""Error of the loss while an optimum is looked for; the loss at the optimum is then computed to `TOLERANCE`."""
TOLERANCE = 1e-6
N_SEED_STARTS = 8
"""Trained seeds at each point, of different loss, from which an optimum is looked for."""
N_RANDOM_STARTS = 24
"""Random weights at each point from which it is looked for as well."""
START_SCALES = (0.3, 1.0)
"""Standard deviations of these weights; each serves as many starts."""


class LocalOptima(NamedTuple):
    """Where the minimisation of the expected loss ended.

    Attributes:
        losses: `[n_instances]` float64.
        W: `[n_instances, n_features, n_hidden]`.
        b: `[n_instances, n_features]`.
        converged: `[n_instances]` bool; where it is False the loss could fall further.
    """

    losses: Tensor
    W: Tensor
    b: Tensor
    converged: Tensor


def toy_parts(run: Run) -> tuple[ToyModel, SyntheticFeatures, BottleneckModel]:
    """The module, data and network of a run.

    Raises:
        UserError: Unless it is a tied bottleneck with a linear hidden layer that is to give back synthetic features:
            here W and b are then all of the model.
    """
    module, data = run.toy, run.data
    net = module.net
    if not isinstance(net, BottleneckModel):
        reject("network", type(net).__name__, "BottleneckModel")
    if net.W_out is not None:
        reject("tied", False, "true")
    if net.hidden_activation != "linear":
        reject("hidden_activation", net.hidden_activation, "linear")
    if not isinstance(data, SyntheticFeatures):
        reject("data", type(data).__name__, "SyntheticFeatures")
    if not isinstance(data.task, Identity):
        reject("task", type(data.task).__name__, "Identity")
    return module, data, net


def law_of(run: Run, instances: Sequence[int] | None = None, tolerance: float = TOLERANCE) -> ExactLoss:
    """The expected loss over the law of a run's features, for some of its instances (all if left out)."""
    module, data, _ = toy_parts(run)
    chosen = list(range(module.sweep.n_instances) if instances is None else instances)
    p = data.feature_probability[chosen].double()
    supports, probability = data.features.supports(data.n_features, p)
    pieces = data.features.values.pieces  # type: ignore[attr-defined]
    return ExactLoss(supports, probability, pieces, module.importance[chosen].double(), tolerance=tolerance)


def points(run: Run) -> list[list[int]]:
    """The instances of each point. One point at a time is faster: a support that is rare there costs little."""
    sweep = toy_parts(run)[0].sweep
    return [list(range(start, start + sweep.n_seeds)) for start in range(0, sweep.n_instances, sweep.n_seeds)]


def network(W: Tensor, b: Tensor, activation: str = "relu", activation_scale: float = 1.0) -> BottleneckModel:
    """A tied bottleneck with these weights `[n_instances, n_features, n_hidden]` and `[n_instances, n_features]`."""
    sizes = {"n_features": W.shape[1], "seeds": range(len(W)), "n_hidden": W.shape[2]}
    net = BottleneckModel(**sizes, activation=activation, activation_scale=activation_scale).to(W.dtype)  # type: ignore[arg-type]
    with torch.no_grad():
        net.W.copy_(W)
        net.b.copy_(b)
    return net


def untrained_directions(run: Run) -> Tensor:
    """The feature directions before training, `[n_instances, n_features, n_hidden]`."""
    module, data, net = toy_parts(run)
    return BottleneckModel(data.n_features, module.sweep.seeds, n_hidden=net.n_hidden).W.detach()


def exact_losses(run: Run, W: Tensor | None = None, b: Tensor | None = None) -> Tensor:
    """Expected loss of a run's weights, or of others in their place, `[n_points, n_seeds]` in float64."""
    net = toy_parts(run)[2]
    if W is None or b is None:
        W, b = net.W.detach(), net.b.detach()
    return torch.stack([law_of(run, at)(network(W[at].double(), b[at].double(), net.activation)) for at in points(run)])


def optimum_from(
    objective: ExactLoss,
    W: Tensor,
    b: Tensor,
    activation: str = "relu",
    max_evaluations: int = 200,
    activation_scale: float = 1.0,
) -> LocalOptima:
    """The local optimum below each of several weights.

    Args:
        objective: The expected loss, for as many instances.
        W: `[n_instances, n_features, n_hidden]`.
        b: `[n_instances, n_features]`.
        activation: Of the output.
        max_evaluations: As in `find_optimum`.
        activation_scale: Sharpness of the output's activation.
    """
    net, coarse = network(W.double(), b.double(), activation, activation_scale), copy(objective)
    coarse.tolerance = max(SEARCH_TOLERANCE, objective.tolerance)
    converged = find_optimum(net, coarse, max_evaluations=max_evaluations, gradient_tolerance=1e-6).converged
    return LocalOptima(objective(net).detach(), net.W.detach(), net.b.detach(), converged)


def random_starts(n_features: int, n_hidden: int, n: int = N_RANDOM_STARTS) -> Tensor:
    """Weights that owe nothing to training, `[n, n_features, n_hidden]` float64: normal, of both scales."""
    W = keyed_normal("studies/starts", range(n), 0, (n_features, n_hidden)).double()
    scales = torch.tensor(START_SCALES, dtype=torch.float64)
    return W * scales[torch.arange(n) % len(scales)].view(n, 1, 1)


def distinct_best(losses: Tensor, n: int = N_SEED_STARTS, apart: float = 1e-3) -> Tensor:
    """The seeds with the n lowest losses that differ by more than a relative `apart`; seeds of one loss are one shape.

    >>> distinct_best(torch.tensor([2.0, 1.0001, 3.0, 1.0]), n=2)
    tensor([3, 0])
    """
    chosen: list[int] = []
    for seed in losses.argsort().tolist():
        if len(chosen) < n and (not chosen or losses[seed] > (1 + apart) * losses[chosen[-1]]):
            chosen.append(seed)
    return torch.tensor(chosen)


def optima_of(run: Run) -> LocalOptima:
    """The lowest optimum that is found at each point, `[n_points, ...]`.

    The expected loss is minimised from the weights of the best `N_SEED_STARTS` seeds of different loss and from
    `N_RANDOM_STARTS` random weights, which are the same at each point and know nothing of training: they can find an
    optimum that all seeds miss. It is a bound from above on the global optimum, not a proof of it.
    """
    net, found = toy_parts(run)[2], []
    random = random_starts(net.n_features, net.n_hidden)
    for at in points(run):
        W, b = net.W.detach()[at].double(), net.b.detach()[at].double()
        seeds = distinct_best(law_of(run, at)(network(W, b, net.activation)).detach())
        W = torch.cat([W[seeds], random])
        b = torch.cat([b[seeds], torch.zeros(random.shape[:2], dtype=torch.float64)])
        optima = optimum_from(law_of(run, at[:1] * len(W)), W, b, net.activation)
        best = optima.losses.argmin()
        found.append([each[best] for each in optima])
    return LocalOptima(*(torch.stack(part) for part in zip(*found, strict=True)))
