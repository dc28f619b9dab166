"""Figures of T02: losses against the naive network, kinds of neurons, and the neurons of no known kind."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from sup_lightning.functional.signatures import KINDS, NeuronClusters

LOSSES = (
    "Loss over that of the naive network, which computes half as many functions as it has neurons and predicts the "
    "others linearly from these, for rarer and rarer features. Full lines: W_out started at |W_in|; dashed: He start. "
    "Lines are medians over seeds with 95 % intervals, dots the best seeds. Below 1 more is computed than without "
    "superposition."
)
COUNTS = "Share of the neurons that are of each known kind, over all p, seeds and both starts; the rest is 'other'."
CLUSTERS = (
    "Neurons of no known kind, in clusters of similar ones: how strongly the median neuron reads its three main "
    "features (grey, over its strongest weight), how much of the absolute value of each it computes (blue; negative: "
    "it inhibits), and the lowest and highest weight with which it writes to other features (orange). Titles: share of "
    "all neurons after and before training, and how often its two main features are of one set."
)
LAW_COLOURS = {"independent": "#0072B2", "correlated": "#D55E00", "anticorrelated": "#009E73"}
KIND_COLOURS = ("0.9", "#56B4E9", "#0072B2", "#E69F00", "#D55E00", "0.55")


def losses(table: pd.DataFrame) -> Figure:
    """Loss over naive loss against rarity, by law, importance and start."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, importance in zip(panels, ("equal", "unequal"), strict=True):
        for law, colour in LAW_COLOURS.items():
            for init, style in (("transpose", "-"), ("he", "--")):
                rows = table.query("importance == @importance and features == @law and init == @init")
                rarity, middle = 1 / rows["feature_probability"], rows["loss_over_naive"]
                ends = [middle - rows["loss_over_naive_low"], rows["loss_over_naive_high"] - middle]
                label = law if init == "transpose" else None
                axes.errorbar(rarity, middle, ends, color=colour, lw=1.8, ls=style, label=label, capsize=2)
                axes.plot(rarity, rows["loss_over_naive_best"], "o" if init == "transpose" else "x", color=colour, ms=4)
        axes.axhline(1, color="0.3", lw=1)
        axes.set(xscale="log", yscale="log", xlabel="rarity of features, 1/p", title=f"{importance} importance")
        axes.set_xticks(rarity, [f"{value:.3g}" for value in rarity])
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(ticks := [0.3, 0.5, 0.7, 1, 1.5, 2], [f"{tick:g}" for tick in ticks])
    panels[0].set_ylabel("loss / naive loss")
    panels[1].legend(frameon=False, fontsize=8)
    return figure


def counts(shares: dict[str, Tensor]) -> Figure:
    """Stacked shares of the kinds of neurons, `[n_kinds]` for each bar."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    axes = figure.subplots()
    base = np.zeros(len(shares))
    for place, (kind, colour) in enumerate(zip(KINDS, KIND_COLOURS, strict=True)):
        heights = np.array([float(share[place]) for share in shares.values()])
        axes.bar(range(len(shares)), heights, 0.8, base, color=colour, label=kind, edgecolor="white", lw=0.5)
        base += heights
    axes.set_xticks(range(len(shares)), list(shares), fontsize=8)
    axes.set_ylabel("share of neurons")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", frameon=False, fontsize=8, reverse=True)
    return figure


def clusters_figure(clusters: NeuronClusters, table: pd.DataFrame) -> Figure:
    """The median neuron of each cluster; `table` has one row for each."""
    n = clusters.n_clusters
    figure = Figure(figsize=(2.6 * min(n, 4), 3.1 * -(-n // 4)), layout="constrained")
    panels = np.atleast_1d(figure.subplots(-(-n // 4), min(n, 4), sharey=True)).ravel()
    laws = list(LAW_COLOURS)
    for axes, (_, row) in zip(panels, table.iterrows(), strict=False):
        values = [1, row["reads_2"], row["reads_3"], *row[["writes_1", "writes_2", "writes_3"]],
                  *row[["writes_elsewhere_low", "writes_elsewhere_high"]]]  # fmt: skip
        axes.bar([0, 1, 2, 4, 5, 6, 8, 9], values, color=["0.6"] * 3 + ["#0072B2"] * 3 + ["#E69F00"] * 2)
        axes.axhline(0, color="0.3", lw=0.8)
        axes.set_xticks([1, 5, 8.5], ["reads", "computes", "elsewhere"], fontsize=8)
        axes.tick_params(axis="x", length=0)
        share = row[laws].astype(float).mean()
        title = f"{share:.1%} (before {row['before_training']:.1%})\none set: {row['reads_a_set']:.0%}"
        axes.set_title(title, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[n:]:
        axes.set_axis_off()
    panels[0].set_ylabel("weight")
    return figure
