"""Figures of T05: losses against the naive network, and outputs in the four states of a pair."""

import numpy as np
from matplotlib.figure import Figure

from sup_lightning.functional.intervals import seed_interval
from sup_lightning.functional.pairs import interaction
from sup_lightning.studies.toy.pair_functions import PairMeasures

LOSSES = (
    "Left: loss over that of the naive network, in which no neuron serves two pairs, for rarer and rarer features. "
    "Dots are single models, lines medians over seeds; short bars show what no network with a linear readout can "
    "pass. Right: pairs of which more than half of the interaction is computed (the part of a function that is not a "
    "sum over its features), over the number of neurons, mean over seeds. Dashed: linear hidden layer."
)
CALIBRATION = (
    "Mean output in the four states of a pair in the best model at the rarest features: one line for each pair, "
    "orange if more than half of the interaction is computed, and the function itself in black. Bars are the scatter "
    "that the other features cause."
)
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#0072B2", "#CC79A7", "#D55E00", "#D55E00")


def losses(measures: dict[str, PairMeasures]) -> Figure:
    """Loss and number of computed pairs against rarity, by name of the experiment."""
    figure = Figure(figsize=(10.5, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (name, m), colour in zip(measures.items(), COLOURS, strict=True):
        rarity = 1 / np.array(m.p)
        output = "outputs" in name
        style = {"color": colour, "lw": 2, "ls": "-", "marker": "s" if output else "o", "ms": 5, "mew": 0}
        if "linear hidden" in name or "alone" in name:
            style |= {"ls": "--", "lw": 1.3}
        left.plot(rarity, seed_interval(m.ratio)[0], label=name, **style)
        left.plot(rarity, m.ratio.numpy(), ".", color=colour, ms=5, alpha=0.5, mew=0)
        left.plot(rarity, m.floor / m.naive, "_", color=colour, ms=16, mew=2, alpha=0.6)
        share = interaction(m.mean) / interaction(m.target)
        right.plot(rarity, (share > 0.5).float().sum(dim=-1).mean(dim=1) / m.n_hidden, **style)
    left.axhline(1, color="0.3", lw=1)
    left.annotate("naive network", (0.17, 1), (0, -10), xycoords=("axes fraction", "data"), textcoords="offset points",
                  fontsize=8, color="0.3")  # fmt: skip
    left.set(ylabel="loss / naive loss", yscale="log")
    left.set_yticks(ticks := [0.3, 0.5, 0.7, 1, 1.5, 2], [f"{tick:g}" for tick in ticks])
    right.axhline(1, color="0.3", lw=1)
    right.set(ylabel="computed pairs / neurons", ylim=(-0.05, 1.1))
    for axes in (left, right):
        axes.set(xscale="log", xlabel="rarity of features, 1/p")
        axes.set_xticks(rarity, [f"{value:.3g}" for value in rarity])
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center", fontsize=8, frameon=False)
    return figure


def calibration(measures: dict[str, PairMeasures]) -> Figure:
    """Mean output in each state of each pair, by name of the experiment."""
    figure = Figure(figsize=(2.1 * len(measures), 3.4), layout="constrained")
    panels = figure.subplots(1, len(measures), sharey=True)
    places = np.arange(4)
    for axes, (name, m) in zip(panels, measures.items(), strict=True):
        point = int(np.argmin(m.p))
        seed = int(m.ratio[point].argmin())
        share = interaction(m.mean[point, seed]) / interaction(m.target)
        for pair, (mean, scatter) in enumerate(zip(m.mean[point, seed], m.deviation[point, seed], strict=True)):
            shift = 0.3 * (pair / max(1, m.n_pairs - 1) - 0.5)
            colour = "#E69F00" if share[pair] > 0.5 else "0.65"
            axes.errorbar(places + shift, mean, scatter, color=colour, lw=1, elinewidth=0.6, alpha=0.8)
        axes.plot(places, m.target, "_", color="black", ms=22, mew=2)
        axes.set_title(name.replace(", ", ",\n"), fontsize=8)
        axes.set_xticks(places, ["00", "10", "01", "11"], fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("mean output")
    figure.supxlabel("state of the pair (first, second feature)", fontsize=9)
    return figure
