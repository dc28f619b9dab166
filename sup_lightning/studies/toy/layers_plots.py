"""Figures of the study on several layers."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from torch import Tensor

from sup_lightning.plotting.sweeps import BLUE, GREEN, PURPLE, RED, YELLOW, density_axis, seeds_over

COLOURS = (BLUE, RED, GREEN, PURPLE, "0.4", YELLOW)


def loss_figure(ratios: Mapping[str, Tensor], p: Sequence[float]) -> Figure:
    """Loss over naive loss, `[n_points, n_seeds]` of each network, against the feature probability."""
    figure = Figure(figsize=(7.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for colour, (label, values) in zip(COLOURS, ratios.items(), strict=True):
        seeds_over(axes, p, values, colour, label)
    axes.axhline(1, color="0.6", lw=2)
    density_axis(axes, p)
    axes.annotate("naive network", (max(p) * 1.15, 1), (0, -11), textcoords="offset points", fontsize=8, color="0.4")
    axes.set_ylabel("loss / naive loss")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", fontsize=8, frameon=False)
    return figure


def intermediates_figure(found: Mapping[str, tuple[Tensor, Tensor, Tensor, Tensor]], point: int) -> Figure:
    """Read and set intermediates, true ones beside other pairs, of each network at one point.

    Args:
        found: (read, read of others, effect, effect of others), `[n_points, n_seeds]` each.
        point: Which.
    """
    figure = Figure(figsize=(9.2, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(found))
    for axes, (first, title) in zip(
        panels, ((0, "variance read linearly"), (2, "share of the right change")), strict=True
    ):
        for offset, part, colour, label in ((-0.15, 0, BLUE, "intermediates"), (0.15, 1, "0.55", "other pairs")):
            values = np.array([of[first + part][point].numpy() for of in found.values()])
            axes.barh(places + offset, np.median(values, axis=1), 0.28, color=colour, alpha=0.55, label=label)
            heights = np.repeat(places[:, None] + offset, values.shape[1], axis=1)
            axes.plot(values.ravel(), heights.ravel(), "o", color=colour, ms=3, mew=0)
        axes.axvline(0, color="0.3", lw=0.8)
        axes.set_xlabel(title)
        axes.set_yticks(places, list(found))
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()
    panels[1].legend(fontsize=8, frameon=False)
    return figure
