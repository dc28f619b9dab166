"""M03: phase diagrams, trained beside closed form."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from sup_lightning.experiment import Run
from sup_lightning.functional.dimensionality import feature_norms
from sup_lightning.functional.interference import interference
from sup_lightning.functional.intervals import bootstrap_interval
from sup_lightning.functional.phase import Phase, phase_2_1, phase_3_2, phase_of_weights
from sup_lightning.nn import BottleneckModel
from sup_lightning.nn.exact_loss import ExactLoss
from sup_lightning.nn.optimum import best_instances, find_optimum
from sup_lightning.plotting.phase import phase_diagram
from sup_lightning.studies.exact import exact_losses
from sup_lightning.studies.study import Answer, Comparison, Picture, Study
from sup_lightning.studies.verdict import Claim

NAMES = ("not represented", "own dimension", "superposed", "own dimension, others superposed")
STARTS = {
    2: [[[1.0], [0.0]], [[0.0], [1.0]], [[1.0], [-1.0]]],
    3: [
        [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]],
        [[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]],
        [[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]],
        [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]],
    ],
}
"""The named solutions as `W[n_features, n_hidden]`, in the order of `Phase`."""
AGREEMENT = 0.9
"""Share of the points off the boundaries that is to agree."""


@dataclass(frozen=True)
class Grid:
    """One phase diagram; maps are `[n_p, n_importances]`.

    Attributes:
        p, importance: The axes.
        closed: Best named solution by closed form, in which pairs are W = (1, -1) without bias.
        exact: Of the lowest exact optimum that is found from the named solutions.
        lowest: Loss of that optimum.
        labels: Of each trained model, `[n_p, n_importances, n_seeds]`.
        losses: Their exact expected losses, the same shape. (Of a million validation rows at p = .01 a hundred have
            both of two features active: too few to rank the seeds.)
        norm, superposition: Of the extra feature; the worst seed is left out and the others are averaged.
    """

    p: list[float]
    importance: list[float]
    closed: Tensor
    exact: Tensor
    lowest: Tensor
    labels: Tensor
    losses: Tensor
    norm: Tensor
    superposition: Tensor

    @property
    def off_boundary(self) -> Tensor:
        """Points whose neighbours along both axes have the same exact label, bool."""
        return interior(self.exact)

    @property
    def best(self) -> Tensor:
        """Label of the seed with the lowest expected loss."""
        return best_labels(self.labels, self.losses)

    @property
    def excess(self) -> Tensor:
        """By how much of the optimum's loss that of the best seed is above it."""
        return self.losses.min(-1).values / self.lowest - 1


def interior(labels: Tensor) -> Tensor:
    """Points of a map that differ from none of their four neighbours, bool.

    >>> interior(torch.tensor([[0, 0, 1, 1]]))
    tensor([[ True, False, False,  True]])
    """
    same = torch.ones_like(labels, dtype=torch.bool)
    for axis in (0, 1):
        a, b = labels.narrow(axis, 0, labels.shape[axis] - 1), labels.narrow(axis, 1, labels.shape[axis] - 1)
        for start in (0, 1):
            same.narrow(axis, start, labels.shape[axis] - 1).logical_and_(a == b)
    return same


def best_labels(labels: Tensor, losses: Tensor) -> Tensor:
    """Label of the best seed, over the last axis."""
    return labels.gather(-1, losses.argmin(-1, keepdim=True)).squeeze(-1)


def grid_of(run: Run) -> Grid:
    """What a run says of the phase diagram; its sweep is p × importance × seed."""
    axes = run.toy.sweep.axes
    p, importance = axes["feature_probability"], [values[-1] for values in axes["importance"]]
    shape = (len(p), len(importance), len(axes["seed"]))
    W = run.toy.feature_directions()
    losses = exact_losses(run).view(shape)
    kept = losses.argsort(-1)[..., : max(1, shape[-1] - 1)]

    def averaged(values: Tensor) -> Tensor:
        return values[:, -1].view(shape).gather(-1, kept).mean(-1)

    theory = torch.tensor(p).double(), torch.tensor(importance).double(), W.shape[1]
    return Grid(
        p, importance, closed_phases(*theory), *exact_optima(*theory), phase_of_weights(W).view(shape), losses,
        averaged(feature_norms(W)), averaged(interference(W)),
    )  # fmt: skip


def closed_phases(p: Tensor, importance: Tensor, n_features: int) -> Tensor:
    """Best named solution at each point by closed form, `[n_p, n_importances]`."""
    return (phase_2_1 if n_features == 2 else phase_3_2)(importance[None, :], p[:, None])


def exact_optima(p: Tensor, importance: Tensor, n_features: int) -> tuple[Tensor, Tensor]:
    """Label and loss of the lowest exact optimum found from the named solutions, `[n_p, n_importances]` each.

    The optima are blurred versions of the named solutions (norms above 1, small biases), so they are labelled as
    trained weights are.
    """
    starts = STARTS[n_features]
    points = torch.cartesian_prod(p, importance)
    n_models = len(points) * len(starts)
    net = BottleneckModel(n_features, range(n_models), n_hidden=n_features - 1).double()
    with torch.no_grad():
        net.W.copy_(torch.tensor(starts).double().repeat(len(points), 1, 1) + 0.02 * net.W)
    weight = torch.ones(n_models, n_features).double()
    weight[:, -1] = points[:, 1].repeat_interleave(len(starts))
    density = points[:, :1].repeat_interleave(len(starts), 0).expand(-1, n_features)
    objective = ExactLoss.independent(density, importance=weight, tolerance=1e-6)
    with torch.enable_grad():
        losses = find_optimum(net, objective, max_evaluations=200, gradient_tolerance=1e-5).losses
    best = best_instances(losses, len(starts))
    shape = len(p), len(importance)
    return phase_of_weights(net.W[best]).view(shape), losses[best].view(shape)


def agreement(grid: Grid, truth: Tensor) -> tuple[float, float, float]:
    """Share of the points off the boundaries where the best seed has the true label, with its interval."""
    where = interior(truth)

    def share(values: Tensor) -> Tensor:
        return (best_labels(values[0].long(), values[1]) == truth)[where].double().mean()

    return bootstrap_interval(share, torch.stack([grid.labels.double(), grid.losses.double()]))


def by_chance(grid: Grid, truth: Tensor) -> float:
    """The same share if the trained labels were shuffled over these points (expected value)."""
    where = interior(truth)
    trained, true = (
        torch.bincount(labels[where], minlength=len(Phase)).double() / where.sum() for labels in (grid.best, truth)
    )
    return float((trained * true).sum())


class PhaseDiagrams(Study):
    """Trained phase diagrams beside the closed form and the exact optima of its solutions."""

    id = "M03"
    title = "Phase diagrams"
    question = (
        "When is a feature dropped, given its own dimension, or put into superposition — and does training find what "
        "is optimal?"
    )
    hypothesis = (
        "Off the boundaries, at least 90 % of the grid points have the label of the exact optimum, for two "
        "features in one dimension and for three in two; the seed with the lowest expected loss counts."
    )
    caveat = (
        "Two or three features with independent values are far from a real layer, where thousands compete and "
        "correlate; the theory compares only the named solutions, so other solutions, such as three features in a "
        "triangle, count as the nearest named one. A region in which training never finds the optimum would change "
        "the verdict."
    )
    experiments = ("m03_phase_2-1", "m03_phase_3-2")
    minutes = (3, 15)

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        claims, pictures, tables, comparisons = [], {}, {}, []
        for (name, run), system in zip(runs.items(), ("2 features in 1 dimension", "3 features in 2"), strict=True):
            grid = grid_of(run)
            claims += _claims(grid, system)
            pictures[name] = _picture(grid, system)
            tables[name] = _table(grid)
            comparisons.append(_closed_form(grid, system))
        return Answer(claims, pictures, tables, comparisons)


def _claims(grid: Grid, system: str) -> list[Claim]:
    share, low, high = agreement(grid, grid.exact)
    alone = float((grid.labels == grid.exact.unsqueeze(-1))[grid.off_boundary].double().mean())
    control = (
        f"labels shuffled over the grid: {by_chance(grid, grid.exact):.2f}; one seed alone: {alone:.2f}; the best "
        f"seed's loss is above the optimum's by {float(grid.excess.median()):.1%} in the median"
    )
    n_points = int(grid.off_boundary.sum())
    return [
        Claim(
            f"{system}: the best seed is of the optimal kind",
            share, (low, high), (AGREEMENT, math.inf), control, f"agreement on {n_points} points off the boundaries",
        )
    ]  # fmt: skip


def _closed_form(grid: Grid, system: str) -> Comparison:
    """The closed form takes pairs as W = (1, -1); how much that matters."""
    share, low, high = agreement(grid, grid.closed)
    same = float((grid.closed == grid.exact).double().mean())
    return Comparison(
        f"{system}: boundaries from W = (1, -1) without bias",
        "the theory's map",
        f"{same:.0%} of its labels are those of the exact optima",
        f"{share:.0%} ({low:.0%} to {high:.0%}) of the points off its boundaries agree",
        "Elhage et al. 2022, superposition as a phase change",
    )


def _picture(grid: Grid, system: str) -> Picture:
    share = agreement(grid, grid.exact)[0]
    maps = {
        "closed form": grid.closed.numpy(),
        "exact optimum": grid.exact.numpy(),
        f"trained, best of {grid.labels.shape[-1]} seeds": grid.best.numpy(),
    }
    wrong = ((grid.best != grid.exact) & grid.off_boundary).numpy()
    figure = phase_diagram(
        grid.p, grid.importance, maps, NAMES if "3" in system else NAMES[:3], grid.norm.numpy(),
        grid.superposition.numpy(), wrong, f"{system}: what becomes of the extra feature",
    )  # fmt: skip
    caption = (
        f"{system}. Three label maps, and the paper's colouring of the trained models (mean of all seeds but the "
        f"worst). Crosses: trained and exact labels differ off the boundaries ({share:.0%} agree)."
    )
    return Picture(figure, caption)


def _table(grid: Grid) -> pd.DataFrame:
    points = torch.cartesian_prod(torch.tensor(grid.p), torch.tensor(grid.importance))
    columns = {
        "feature_probability": points[:, 0],
        "importance": points[:, 1],
        "closed_form": grid.closed.flatten(),
        "exact": grid.exact.flatten(),
        "trained": grid.best.flatten(),
        "off_boundary": grid.off_boundary.flatten(),
        "best_loss": grid.losses.min(-1).values.flatten(),
        "optimal_loss": grid.lowest.flatten(),
        "norm": grid.norm.flatten(),
        "superposition": grid.superposition.flatten(),
    }
    return pd.DataFrame({name: values.numpy() for name, values in columns.items()})
