"""T06: how many neurons does the maximum of two features take?"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from sup_lightning.errors import reject, require_positive
from sup_lightning.experiment import Run
from sup_lightning.functional.intervals import bootstrap_interval, seed_interval
from sup_lightning.nn.activations import ToyActivationName
from sup_lightning.studies.study import Answer, Picture, Study
from sup_lightning.studies.toy.pair_functions import GRID, PairMeasures, pair_measures
from sup_lightning.studies.verdict import Claim

ALONE = {1: "t06_max_10", 2: "t06_max_20", 3: "t06_max_30"}
"""Experiments by neurons to a pair; features fire independently."""
TOGETHER = {1: "t06_max-together_10", 2: "t06_max-together_20", 3: "t06_max-together_30"}
"""The same, with the two features of a pair always on together."""
LINEAR, LINEAR_TOGETHER = "t06_max_linear-hidden", "t06_max-together_linear-hidden"
LAWS = {"features independent": (ALONE, LINEAR), "pairs on together": (TOGETHER, LINEAR_TOGETHER)}
SOLVED = 0.05
"""Variance of the maximum of two features that are on, below which it counts as computed; a sum leaves 0.25."""
CLOSE = 0.1
"""Relative difference from the naive loss that still counts as none."""


class PairMaximum(Study):
    """Maxima of pairs of features, uniform on [0, 1] when active, by one to three neurons a pair.

    Args:
        n_features: Number of features, half as many pairs.
        activation: Of the neurons, except in the controls whose hidden layer is linear.
    """

    id = "T06"
    title = "The larger of two features"
    question = "How many neurons does max(x, y) take, when x and y are rarely both active and when they always are?"
    hypothesis = (
        "Two neurons a pair suffice, max(x, y) = y + ReLU(x - y), and training finds them: where both features of a "
        "pair are always on together, at most 0.05 of the variance of max(x, y) is left at every p (median over "
        "seeds), where a linear hidden layer leaves a quarter. Where features fire independently and both are rarely "
        "on, the same holds on inputs that have both on. With one neuron a pair the loss is within a tenth of that of "
        "the best network in which no neuron serves two pairs."
    )
    revised = (
        "Hypothesis and thresholds stand as they were before any number; half a neuron a pair was left out for time."
    )
    caveat = (
        "Two neurons a pair suffice by construction, so what is found here is what 2,000 steps of training reach: with "
        "more of them, or other starts, losses would fall, most of all where all features are on. "
        "Ten disjoint pairs, whose maxima are independent, and a linear readout: there superposition could lower the "
        "loss only between the naive network and the bound that the number of neurons sets for any network, and "
        "squared error does not ask for rare inputs to be right. A network that learns max on inputs it hardly ever "
        "sees would need another loss or more of them. Larger sizes would narrow the intervals; a real model's "
        "functions share arguments, and its readouts are not linear."
    )
    experiments = (*ALONE.values(), *TOGETHER.values(), LINEAR, LINEAR_TOGETHER)
    minutes = (1, 2)

    def __init__(self, n_features: int = 20, activation: ToyActivationName = "relu") -> None:
        require_positive(n_features=n_features)
        if n_features % 2:
            reject("n_features", n_features, "an even number, as its pairs are disjoint")
        self.n_features, self.activation = n_features, activation

    def overrides(self, experiment: str) -> dict[str, Any]:
        n_pairs = self.n_features // 2
        per_pair = {name: number for names in (ALONE, TOGETHER) for number, name in names.items()}
        net: dict[str, Any] = {"n_hidden": per_pair.get(experiment, 2) * n_pairs, "n_outputs": n_pairs}
        if experiment in per_pair:
            net["activation"] = self.activation
        return {"data": {"n_features": self.n_features}, "model": {"net": net}}

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        measures = {name: pair_measures(run) for name, run in runs.items()}
        names = [(law, name) for law, (by_number, linear) in LAWS.items() for name in (*by_number.values(), linear)]
        table = pd.concat([_table(measures[name], law, "linear" in name) for law, name in names])
        return Answer(
            claims=_claims(measures),
            pictures={
                "neurons_per_pair": Picture(_neurons_per_pair(measures), NEURONS),
                "learned": Picture(_learned(measures), LEARNED),
            },
            tables={"pair_maximum": table},
        )


def unexplained_of_both(m: PairMeasures) -> Tensor:
    """Part of the variance of max(x, y) that is left where both are on, `[n_points, n_seeds]`."""
    return m.error[..., 3].mean(dim=-1) / m.target_variance[3]


def unexplained_of_one(m: PairMeasures) -> Tensor:
    """Part of the variance of the feature that is on alone that is left, `[n_points, n_seeds]`."""
    return m.error[..., 1:3].mean(dim=(-2, -1)) / m.target_variance[1:3].mean()


def largest_median(values: Tensor) -> float:
    """Over points, of the median over seeds of `[n_points, n_seeds]`."""
    return float(values.median(dim=-1).values.max())


def farthest_from_1(values: Tensor) -> float:
    """Of the medians over seeds of `[n_points, n_seeds]`, that which is farthest from 1."""
    medians = values.median(dim=-1).values
    return float(medians[(medians - 1).abs().argmax()])


def _claims(measures: dict[str, PairMeasures]) -> list[Claim]:
    claims = []
    for law, text in (
        ("pairs on together", "two neurons a pair compute the maximum where both features are always on"),
        ("features independent", "and where both are rarely on"),
    ):
        by_number, linear = LAWS[law]
        effect, low, high = bootstrap_interval(largest_median, unexplained_of_both(measures[by_number[2]]))
        more = largest_median(unexplained_of_both(measures[by_number[3]]))
        of_linear = unexplained_of_both(measures[linear]).median(dim=1).values
        claims.append(
            Claim(
                text,
                effect,
                (low, high),
                (-math.inf, SOLVED),
                f"linear hidden layer: {float(of_linear.min()):.2f} to {float(of_linear.max()):.2f}; three neurons a "
                f"pair: {more:.3f}; one: {largest_median(unexplained_of_both(measures[by_number[1]])):.2f}",
                "variance of max(x, y) left where both are on, median over seeds, largest over p",
            )
        )
    found = [measures[by_number[1]] for by_number, _ in LAWS.values()]
    effect, low, high = bootstrap_interval(farthest_from_1, torch.cat([m.ratio for m in found]))
    ratios = torch.cat([m.ratio.median(dim=1).values for m in found])
    bounds = torch.cat([m.floor / m.naive for m in found])
    return [
        *claims,
        Claim(
            "one neuron a pair: no better and no worse than unshared neurons",
            effect,
            (low, high),
            (1 - CLOSE, 1 + CLOSE),
            f"bound for any network: {float(bounds.min()):.2f} to {float(bounds.max()):.2f} of the naive loss; "
            f"found: {float(ratios.min()):.2f} to {float(ratios.max()):.2f}",
            "loss over naive loss, median over seeds, at the p and the law where it is farthest from 1",
        ),
    ]


def _table(m: PairMeasures, law: str, linear: bool) -> pd.DataFrame:
    both, both_low, both_high = seed_interval(unexplained_of_both(m))
    return pd.DataFrame(
        {
            "features": law,
            "hidden": "linear" if linear else "neurons",
            "neurons_per_pair": m.n_hidden / m.n_pairs,
            "feature_probability": m.p,
            "both_on_unexplained": both,
            "both_on_unexplained_low": both_low,
            "both_on_unexplained_high": both_high,
            "one_on_unexplained": unexplained_of_one(m).median(dim=1).values,
            "variance_unexplained": m.unexplained.median(dim=1).values,
            "loss_over_naive": m.ratio.median(dim=1).values if m.naive.min() > 0 else float("nan"),
            "loss_over_naive_best": m.ratio.amin(dim=1) if m.naive.min() > 0 else float("nan"),
            "bound_over_naive": m.floor / m.naive if m.naive.min() > 0 else float("nan"),
        }
    )


NEURONS = (
    "Part of the variance that is left of max(x, y) where both features are on (full lines) and of the feature that "
    "is on alone (dashed), against the number of neurons to a pair; medians over seeds, dots are single models. "
    "Crosses: a linear hidden layer of two neurons a pair, where both are on. Left: features fire independently; "
    "right: the two of a pair always together, so that there is no input with one on."
)
LEARNED = (
    "What one output makes of the two features of its pair, at the rarest features that fire in pairs: the pair of "
    "median error in the best model. Lines of equal output are 0.1 apart; those of max(x, y) have a corner on the "
    "diagonal."
)
COLOURS = ("#000000", "#0072B2", "#D55E00", "#CC79A7")


def _neurons_per_pair(measures: dict[str, PairMeasures]) -> Figure:
    figure = Figure(figsize=(9.2, 4.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (law, (by_number, linear)) in zip(panels, LAWS.items(), strict=True):
        numbers = np.array(list(by_number))
        both, one = (
            torch.stack([of(measures[name]) for name in by_number.values()])
            for of in (unexplained_of_both, unexplained_of_one)
        )
        control = unexplained_of_both(measures[linear]).median(dim=1).values
        for point, p in enumerate(measures[linear].p):
            colour = COLOURS[point % len(COLOURS)]
            shift = 1.03 ** (point - len(COLOURS) / 2)
            axes.plot(numbers * shift, both[:, point].median(dim=1).values, color=colour, lw=2, label=f"p = {p:g}")
            axes.plot(numbers * shift, both[:, point].numpy(), ".", color=colour, ms=4, alpha=0.5, mew=0)
            axes.plot(2 * shift, control[point], "x", color=colour, ms=7, mew=2)
            if by_number is ALONE:
                axes.plot(numbers * shift, one[:, point].median(dim=1).values, "--", color=colour, lw=1.2)
        axes.axhline(SOLVED, color="0.5", lw=1, ls=":")
        axes.set(xscale="log", yscale="log", xlabel="neurons to a pair", title=law)
        axes.set_xticks(numbers, [f"{number:g}" for number in numbers])
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("variance left")
    panels[1].annotate("computed", (0.02, SOLVED), (0, -10), xycoords=("axes fraction", "data"),
                       textcoords="offset points", fontsize=8, color="0.4")  # fmt: skip
    panels[1].legend(frameon=False, fontsize=8)
    return figure


def _learned(measures: dict[str, PairMeasures]) -> Figure:
    shown = {"linear hidden layer": LINEAR_TOGETHER}
    shown |= {f"{number} neuron{'s' if number > 1 else ''} a pair": name for number, name in TOGETHER.items()}
    figure = Figure(figsize=(2.3 * len(shown), 2.9), layout="constrained")
    panels = figure.subplots(1, len(shown), sharey=True)
    for axes, (label, name) in zip(panels, shown.items(), strict=True):
        m = measures[name]
        point = int(np.argmin(m.p))
        seed = int(m.pair_loss[point].sum(dim=-1).argmin())
        pair = int(m.pair_loss[point, seed].argsort()[m.n_pairs // 2])
        output = m.outputs[point, seed, pair, 3].unflatten(0, (GRID, GRID))
        ticks = (np.arange(GRID) + 0.5) / GRID
        axes.contourf(ticks, ticks, output.T, np.arange(-0.1, 1.15, 0.1), cmap="viridis", extend="both")
        axes.contour(ticks, ticks, output.T, np.arange(0, 1.05, 0.1), colors="white", linewidths=0.7)
        axes.set_title(label, fontsize=9)
        axes.set(xlabel="x", aspect="equal", xticks=[0, 1], yticks=[0, 1])
    panels[0].set_ylabel("y")
    return figure
