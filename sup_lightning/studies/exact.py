"""Exact losses and exact optima beside trained models: what training aimed at, without sampling noise."""

from collections.abc import Sequence
from copy import copy

import torch
from torch import Tensor

from sup_lightning.data import SyntheticFeatures
from sup_lightning.experiment import Run
from sup_lightning.modules import ToyModel
from sup_lightning.nn.bottleneck import BottleneckModel
from sup_lightning.nn.exact_loss import ExactLoss
from sup_lightning.nn.optimum import find_optimum

SEARCH_TOLERANCE = 1e-5
"""Error of the loss while an optimum is looked for; the loss at the optimum is then computed to `TOLERANCE`."""
TOLERANCE = 1e-6


def toy_parts(run: Run) -> tuple[ToyModel, SyntheticFeatures, BottleneckModel]:
    """The module, data and network of a run of a bottleneck on synthetic features."""
    module, data = run.toy, run.data
    assert isinstance(data, SyntheticFeatures)
    assert isinstance(module.net, BottleneckModel)
    return module, data, module.net


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


def network(W: Tensor, b: Tensor, activation: str = "relu") -> BottleneckModel:
    """A tied bottleneck with these weights `[n_instances, n_features, n_hidden]` and `[n_instances, n_features]`."""
    net = BottleneckModel(W.shape[1], range(len(W)), n_hidden=W.shape[2], activation=activation).to(W.dtype)  # type: ignore[arg-type]
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
    objective: ExactLoss, W: Tensor, b: Tensor, max_evaluations: int = 200
) -> tuple[Tensor, Tensor, Tensor]:
    """The local optimum below each of several weights.

    Args:
        objective: The expected loss, for as many instances.
        W: `[n_instances, n_features, n_hidden]`.
        b: `[n_instances, n_features]`.
        max_evaluations: As in `find_optimum`.

    Returns:
        Losses `[n_instances]`, W and b in float64.
    """
    net, coarse = network(W.double(), b.double()), copy(objective)
    coarse.tolerance = max(SEARCH_TOLERANCE, objective.tolerance)
    find_optimum(net, coarse, max_evaluations=max_evaluations, gradient_tolerance=1e-6)
    return objective(net).detach(), net.W.detach(), net.b.detach()


def optima_of(run: Run) -> tuple[Tensor, Tensor, Tensor]:
    """The lowest of the optima below all seeds' weights at each point: `[n_points]`, W and b `[n_points, ...]`."""
    net, found = toy_parts(run)[2], []
    for at in points(run):
        losses, W, b = optimum_from(law_of(run, at), net.W.detach()[at], net.b.detach()[at])
        best = losses.argmin()
        found.append((losses[best], W[best], b[best]))
    losses, W, b = (torch.stack(part) for part in zip(*found, strict=True))
    return losses, W, b
