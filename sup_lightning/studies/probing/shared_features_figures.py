"""Figures of the question about probes and single neurons."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sup_lightning.plotting.sweeps import BLUE, RED

NEURON, PROBE = ("best neuron", RED, "|"), ("probe", BLUE, "o")
KINDS = {"neuron": NEURON, "probe": PROBE, "initial weights": ("probe, initial weights", "0.6", "o")}
REMOVED = {"neuron": NEURON, "probe": PROBE, "random direction": ("random direction", "0.6", "x")}


def against_neurons(shared: pd.DataFrame) -> Figure:
    """AUC, recall and damage of the best neuron and of the probe, a line for each rule."""
    ordered = shared.sort_values("auc neuron", ascending=False)
    figure = Figure(figsize=(12, 1.8 + 0.26 * len(ordered)), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    damage = {kind: ordered[f"damage {kind}"] / ordered["damage all neurons"] for kind in REMOVED}
    _dots(panels[0], {kind: ordered[f"auc {kind}"] for kind in KINDS}, KINDS, "AUC on held-out documents")
    _dots(panels[1], {kind: ordered[f"recall {kind}"] for kind in KINDS}, KINDS, "recall at 80 % precision")
    _dots(panels[2], damage, REMOVED, "nats lost without it, as a part of those without all neurons")
    panels[2].axvline(0, color="0.7", lw=0.8, zorder=0)
    names = [f"{rule} ({n})" for rule, n in zip(ordered["rule"], ordered["n_neurons"], strict=True)]
    panels[0].set_yticks(np.arange(len(ordered))[::-1], names, fontsize=8)
    return figure


def _dots(ax: Axes, values: Mapping[str, pd.Series], kinds: Mapping[str, tuple[str, str, str]], label: str) -> None:
    for kind, (name, colour, marker) in kinds.items():
        rows = np.arange(len(values[kind]))[::-1]
        ax.plot(values[kind], rows, marker, color=colour, label=name, ms=7, mew=0 if marker == "o" else 2)
    ax.set_xlabel(label, fontsize=8)
    ax.tick_params(labelsize=8)
    ax.grid(axis="y", color="0.93", lw=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(fontsize=7, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1.0)


def spread(shared: pd.DataFrame, pruned: Sequence[int], quantiles: Sequence[float]) -> Figure:
    """AUC without the first neurons, and the best neuron's precision and recall in the tail of its activation."""
    figure = Figure(figsize=(9.5, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    there = [n for n in pruned if f"without {n}" in shared]
    curves = shared[[f"without {n}" for n in there]].to_numpy()
    at = np.arange(len(there))
    left.plot(at, curves.T, color=BLUE, alpha=0.25, lw=0.9)
    left.plot(at, curves.mean(axis=0), "o-", color="black", lw=1.5, ms=3.5)
    left.set_xticks(at, [f"{n}" for n in there])
    left.set_ylim(min(0.9, float(curves.min()) - 0.02), 1.005)
    left.set_xlabel("neurons that the probe may not read", fontsize=8)
    left.set_ylabel("AUC on held-out documents", fontsize=8)
    at = np.arange(len(quantiles))
    for name, colour, aside in (("precision", BLUE, -0.06), ("recall", RED, 0.06)):
        values = shared[[f"{name} above {q}" for q in quantiles]].to_numpy()
        right.plot(np.tile(at + aside, (len(values), 1)), values, ".", color=colour, alpha=0.3, ms=5, mew=0)
        right.plot(at, values.mean(axis=0), "o-", color=colour, lw=1.5, ms=4, label=name)
    right.set_xticks(at, [f"{q:.1%}" for q in quantiles])
    right.set_ylim(-0.03, 1.03)
    right.set_xlabel("above this quantile of the neuron's activation", fontsize=8)
    right.legend(fontsize=8, frameon=False)
    for ax in (left, right):
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    return figure
