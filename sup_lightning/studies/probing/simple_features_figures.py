"""Figures of the question about probes for simple features."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sup_lightning.plotting.sweeps import BLUE, GREEN, PURPLE, RED, YELLOW
from sup_lightning.studies.probing.probed import BEST, RANDOM

MARKS = {
    "probe": ("all neurons", BLUE, "o"),
    "best neuron": ("best single neuron", BLUE, "|"),
    "initial weights": ("all neurons, initial weights", "0.55", "o"),
    "token": ("the token", RED, "x"),
    "token before": ("the token before", YELLOW, "x"),
    "shuffled labels": ("labels shuffled in documents", "0.75", "s"),
}
DIRECTIONS = {
    "probe": BLUE,
    "logistic regression": GREEN,
    "difference of means": PURPLE,
    "placebo": "0.7",
    BEST: YELLOW,
    RANDOM: "0.85",
}


def overview(features: pd.DataFrame) -> Figure:
    """AUC of probes and baselines, a line for each feature; those that the token settles on top."""
    ordered = pd.concat([features[~features["context"]], features[features["context"]].sort_values("probe")])
    figure = Figure(figsize=(8, 1.4 + 0.36 * len(ordered)), layout="constrained")
    ax = figure.subplots()
    rows = np.arange(len(ordered))[::-1]
    for name, (label, colour, marker) in MARKS.items():
        size = {"|": 11, "s": 4}.get(marker, 7)
        ax.plot(ordered[name], rows, marker, color=colour, label=label, ms=size, mew=1.6 if marker in "|x" else 0)
    ax.axhline(int(ordered["context"].sum()) - 0.5, color="0.6", lw=0.8)
    ax.axvline(0.5, color="0.8", lw=0.8, zorder=0)
    ax.set_yticks(rows, [f"{name}" for name in ordered["feature"]], fontsize=8)
    ax.set_xlim(min(0.44, float(ordered[list(MARKS)].min().min()) - 0.02), 1.02)
    ax.set_xlabel("AUC on held-out documents", fontsize=8)
    ax.grid(axis="y", color="0.93", lw=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def sparsity_curves(curves: pd.DataFrame, features: pd.DataFrame) -> Figure:
    """AUC over the neurons that a probe reads, a panel for each feature."""
    names = list(features["feature"])
    columns = min(4, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(3.0 * columns, 2.2 * lines + 0.5), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for ax, name in zip(panels, names, strict=False):
        of_feature = curves[curves["feature"] == name].pivot(index="k", columns="basis", values="auc")
        rotated = of_feature[[column for column in of_feature if column.startswith("rotation")]]
        ax.fill_between(of_feature.index, rotated.min(axis=1), rotated.max(axis=1), color=RED, alpha=0.2, lw=0)
        ax.plot(of_feature.index, rotated.mean(axis=1), color=RED, lw=1.3, label="random rotation")
        ax.plot(of_feature.index, of_feature["initial weights"], color="0.6", lw=1.2, label="initial weights")
        ax.plot(of_feature.index, of_feature["neurons"], "o-", color=BLUE, ms=3, lw=1.3, label="neurons")
        ax.axhline(float(features.set_index("feature").loc[name, "probe"]), color=BLUE, lw=0.9, ls=":")
        ax.set_title(name, fontsize=8)
        ax.set_xscale("log", base=2)
        ax.set_xticks(of_feature.index, [f"{k}" for k in of_feature.index])
        ax.minorticks_off()
        ax.tick_params(labelsize=7)
        ax.spines[["top", "right"]].set_visible(False)
    for ax in panels[len(names) :]:
        ax.set_visible(False)
    figure.supxlabel("neurons, or directions, that the probe reads", fontsize=8)
    figure.supylabel("AUC on held-out documents", fontsize=8)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=8, frameon=False
    )
    return figure


def interchange_bars(shares: pd.DataFrame) -> Figure:
    """Part of the shift by all neurons that each direction makes, for each feature."""
    table = shares.pivot(index="feature", columns="direction", values="share")
    table = table.loc[shares["feature"].unique()]
    figure = Figure(figsize=(8, 1.3 + 0.7 * len(table)), layout="constrained")
    ax = figure.subplots()
    height = 0.8 / len(DIRECTIONS)
    rows = np.arange(len(table))[::-1]
    for number, (name, colour) in enumerate(DIRECTIONS.items()):
        ax.barh(rows + ((len(DIRECTIONS) - 1) / 2 - number) * height, table[name], height, color=colour, label=name)
    ax.axvline(0, color="0.4", lw=0.8)
    ax.set_yticks(rows, list(table.index), fontsize=8)
    ax.set_xlabel("part of the shift in predictions that all neurons make", fontsize=8)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure
