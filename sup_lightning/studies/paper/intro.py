"""M01: five features in two dimensions over sparsity (Elhage et al. 2022, introduction)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from sup_lightning.experiment import Run
from sup_lightning.functional.dimensionality import represented_features
from sup_lightning.functional.geometry import describe, find_polytopes
from sup_lightning.functional.intervals import bootstrap_interval, of_best_seed, proportion_interval, seed_interval
from sup_lightning.plotting.geometry import features_2d
from sup_lightning.plotting.sweeps import BLUE, RED, YELLOW, density_axis, seeds_over
from sup_lightning.studies.exact import exact_losses, optima_of, toy_parts, untrained_directions
from sup_lightning.studies.study import Answer, Comparison, Picture, Study
from sup_lightning.studies.verdict import Claim

DECAY, UNIFORM = "m01_intro", "m01_intro-uniform"
CERTAIN = 0.5
"""Of a statement about the best seed, which is true (1) or not (0)."""
NEAR_OPTIMUM = 0.02
"""Relative excess of the best seed's loss over the optimum."""
DENSE, RARE, RARER, RAREST = 1.0, 0.2, 0.1, 0.05
"""Feature probabilities that the claims are about."""


def shape_of(W: Tensor) -> str:
    """One model's features in words; those that are left out are counted.

    >>> shape_of(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [0.0, 0.0]]))
    '2 digons, 1 left out'
    """
    left_out = int((~represented_features(W)).sum())
    return describe(find_polytopes(W)) + (f", {left_out} left out" if left_out else "")


@dataclass(frozen=True)
class Measured:
    """One experiment, point by point; the seeds of a point are `[n_points, n_seeds, ...]`.

    Attributes:
        p: Feature probability of each point.
        W: Trained feature directions.
        before: Untrained ones.
        losses: Expected losses.
        untrained: Those of the untrained weights.
        shapes: `shape_of` each.
        optimum: The lowest loss that is found, `[n_points]`; NaN where the minimisation did not converge.
        optimal: Its shape.
    """

    p: list[float]
    W: Tensor
    before: Tensor
    losses: Tensor
    untrained: Tensor
    shapes: list[list[str]]
    optimum: Tensor
    optimal: list[str]

    @classmethod
    def of(cls, run: Run) -> "Measured":
        """Measure a finished run."""
        module, _, net = toy_parts(run)
        shape = (module.sweep.n_points, module.sweep.n_seeds)
        W, before = (each.detach().unflatten(0, shape) for each in (net.W, untrained_directions(run)))
        found = optima_of(run)
        return cls(
            module.sweep.axes["feature_probability"], W, before, exact_losses(run),
            exact_losses(run, before.flatten(0, 1), torch.zeros_like(net.b)),
            [[shape_of(each) for each in seeds] for seeds in W],
            found.losses.where(found.converged, torch.nan), [shape_of(each) for each in found.W],
        )  # fmt: skip

    @property
    def excess(self) -> Tensor:
        """By how much each loss is above the optimum, relative to it."""
        return self.losses / self.optimum.unsqueeze(1) - 1

    @property
    def best(self) -> list[int]:
        """The seed with the lowest loss at each point."""
        return self.losses.argmin(dim=1).tolist()

    def point(self, p: float) -> int:
        """The point nearest to p."""
        return min(range(len(self.p)), key=lambda k: abs(math.log(self.p[k] / p)))


class Intro(Study):
    """The geometry of five features in two dimensions over the feature probability."""

    id = "M01"
    title = "Five features in two dimensions"
    question = (
        "As five features become rarer, does a model with two dimensions go from keeping two of them to holding all "
        "five in superposition?"
    )
    hypothesis = (
        "With importance 0.9^i the seed with the lowest expected loss keeps the two most important features, "
        "orthogonal to each other, at p = 1; holds four as two antipodal pairs at p = 0.2; and forms a pentagon at "
        "p = 0.1. With equal importance it forms a pentagon at p = 0.05. The number of represented features rises by "
        "at least 2, in the median of the seeds. The best seed's loss is within 2 % of the exact optimum at every p."
    )
    caveat = (
        "The features are independent, fire with one known probability and are given in their own basis; a real "
        "model's features are none of these, and nobody knows how many there are. The optimum is the lowest that "
        "deterministic minimisation finds from the best seeds and from 24 random weights: a better one elsewhere would "
        "raise the excess. What is said of the best seed is what the loss prefers; the share of the seeds that get "
        "there is stated beside it, and for unequal importance it is little more than half."
    )
    revised = (
        "The claims about shapes first asked for the shape in more than half of the seeds; of 24 seeds the shares, "
        "0.67 [0.47, 0.82] at p = 0.2 and 0.58 [0.39, 0.76] at p = 0.1, were inconclusive. They are now about the seed "
        "with the lowest expected loss, and the share of all seeds stands beside it. Seeds and steps were raised. The "
        "optimum was first looked for from the trained weights alone, so that one which all seeds miss could not be "
        "found; random starts were added."
    )
    experiments = (DECAY, UNIFORM)
    minutes = (3, 9)

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        found = {name: Measured.of(run) for name, run in runs.items()}
        decay, uniform = found[DECAY], found[UNIFORM]
        claims = [
            _best_is(decay, DENSE, _keeps_the_two_most_important, "importance 0.9^i, p = 1: the two most important "
                   "features have a dimension each, the others none"),
            _best_is(decay, RARE, lambda each: shape_of(each) == "2 digons, 1 left out",
                   "importance 0.9^i, p = 0.2: two antipodal pairs, one feature left out"),
            _best_is(decay, RARER, lambda each: shape_of(each) == "pentagon", "importance 0.9^i, p = 0.1: a pentagon"),
            _best_is(uniform, RAREST, lambda each: shape_of(each) == "pentagon",
                   "equal importance, p = 0.05: a pentagon"),
            _rise(decay),
            _worst_excess(found),
        ]  # fmt: skip
        pictures = {
            "geometry": Picture(
                _geometry(decay),
                "The best of all seeds at each feature probability, importance 0.9^i: two features with a dimension "
                "each, then two antipodal pairs, then a pentagon. The loss is the expected one.",
            ),
            "geometry_uniform": Picture(
                _geometry(uniform),
                "The same with equal importance. At p = 1 any two directions are as good, so which plane is kept is a "
                "matter of chance.",
            ),
            "represented": Picture(
                _represented(found),
                "Represented features (|W_i| above 0.5) of every seed. The lines are medians, with 95 % intervals.",
            ),
        }
        tables = {"points": pd.concat([_table(name, measured) for name, measured in found.items()])}
        return Answer(claims, pictures, tables, _comparisons(decay))


def _comparisons(decay: Measured) -> list[Comparison]:
    published = {
        DENSE: "the two most important features, orthogonal",
        RARE: "the four most important as two antipodal pairs",
        RARER: "a pentagon",
    }
    return [
        Comparison(
            f"five features in two dimensions, importance 0.9^i, p = {p:g}",
            text,
            decay.optimal[k],
            f"best seed: {decay.shapes[k][decay.best[k]]}",
            "Elhage et al. 2022, introduction",
        )
        for p, text in published.items()
        for k in [decay.point(p)]
    ]


def _best_is(found: Measured, p: float, is_so: Callable[[Tensor], bool], text: str) -> Claim:
    """Whether the best seed at one p has a shape, beside the share of all seeds and of the untrained weights."""
    k = found.point(p)
    shaped, before = (torch.tensor([float(is_so(W)) for W in seeds]) for seeds in (found.W[k], found.before[k]))

    def of_the_best(seeds: Tensor) -> Tensor:
        return of_best_seed(found.losses[k, seeds], shaped[seeds])

    effect, low, high = bootstrap_interval(of_the_best, torch.arange(len(shaped)))
    share, *ends = proportion_interval(int(shaped.sum()), len(shaped))
    control = (
        f"of all {len(shaped)} seeds {share:.0%} ({ends[0]:.0%} to {ends[1]:.0%}); "
        f"untrained weights: {before.mean():.0%}"
    )
    return Claim(text, effect, (low, high), (CERTAIN, math.inf), control, "1 if it is so of the best seed, else 0")


def _keeps_the_two_most_important(W: Tensor) -> bool:
    factors = find_polytopes(W)
    return [factor.features for factor in factors] == [(0,), (1,)]


def _rise(found: Measured) -> Claim:
    def rise(W: Tensor) -> Tensor:
        counts = represented_features(W).sum(dim=-1).float()
        return counts[found.point(RAREST)] - counts[found.point(DENSE)]

    median, low, high = (float(part) for part in seed_interval(rise(found.W)))
    return Claim(
        "importance 0.9^i: more features are represented at p = 0.05 than at p = 1",
        median,
        (low, high),
        (2.0, math.inf),
        f"untrained weights: {float(rise(found.before).median()):g} more",
        "more features, median of seeds",
    )


def _worst_excess(found: Mapping[str, Measured]) -> Claim:
    excess = torch.cat([measured.excess for measured in found.values()])
    untrained = torch.cat([measured.untrained / measured.optimum.unsqueeze(1) - 1 for measured in found.values()])
    worst, low, high = bootstrap_interval(lambda values: values.amin(dim=1).max(), excess)
    return Claim(
        "the best seed is at the exact optimum, at every p",
        worst,
        (low, high),
        (-math.inf, NEAR_OPTIMUM),
        f"median seed: {excess.median(dim=1).values.max():.2g}; best untrained seed: {untrained.amin(dim=1).max():.2g}",
        "largest relative excess of the expected loss over all p",
    )


def _geometry(found: Measured) -> Figure:
    titles = [
        f"p = {p:g}, loss {found.losses[k, seed]:.3g}\n{found.shapes[k][seed]}"
        for k, (p, seed) in enumerate(zip(found.p, found.best, strict=True))
    ]
    return features_2d(of_best_seed(found.losses, found.W), titles)


def _represented(found: Mapping[str, Measured]) -> Figure:
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    ax = figure.subplots()
    styles = {DECAY: (BLUE, "importance $0.9^i$", "o"), UNIFORM: (RED, "equal importance", "s")}
    for name, measured in found.items():
        counts = represented_features(measured.W).sum(dim=-1).float()
        aside = 1.03 if name == DECAY else 0.97  # so that one curve does not hide the other
        seeds_over(ax, [aside * p for p in measured.p], counts, *styles[name])
    ax.axhline(2, color=YELLOW, lw=0.8, ls="--")
    ax.annotate("two dimensions", (0.06, 2), (0, 3), textcoords="offset points", fontsize=7, color=YELLOW, ha="right")
    density_axis(ax, (1, 0.5, 0.2, 0.1, 0.05))
    ax.set_ylabel("represented features", fontsize=8)
    ax.set_ylim(0, 5.5)
    ax.legend(fontsize=8, frameon=False, loc="lower right")
    return figure


def _table(name: str, found: Measured) -> pd.DataFrame:
    best = [row[seed] for row, seed in zip(found.shapes, found.best, strict=True)]
    return pd.DataFrame(
        {
            "experiment": name,
            "feature_probability": found.p,
            "optimum": found.optimum.numpy(),
            "optimal shape": found.optimal,
            "best seed's loss": found.losses.amin(dim=1).numpy(),
            "median seed's loss": found.losses.median(dim=1).values.numpy(),
            "best seed's shape": best,
            "seeds with that shape": [
                row.count(shape) / len(row) for row, shape in zip(found.shapes, best, strict=True)
            ],
        }
    )
