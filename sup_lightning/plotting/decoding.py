"""Figures of what several readers make of one code."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from sup_lightning.functional.intervals import seed_interval
from sup_lightning.plotting.sweeps import BLUE, GREEN, PURPLE, RED, YELLOW

COLOURS = (RED, YELLOW, GREEN, BLUE, PURPLE, "black")


def loss_given_active(panels: Sequence[tuple[str, Mapping[str, Tensor]]], most: int = 4) -> Figure:
    """Loss given how many features are active, a panel for each setting and a line for each reader.

    Args:
        panels: Title, and the losses `[n_seeds, n_features + 1]` of each reader.
        most: Largest number of active features that is shown.
    """
    figure = Figure(figsize=(2.9 * len(panels) + 1.5, 3.4), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(panels), sharey=True))
    k = np.arange(most + 1)
    for axis, (title, losses) in zip(axes, panels, strict=True):
        for (name, values), colour in zip(losses.items(), COLOURS, strict=False):
            median, low, high = (each.numpy()[: most + 1] for each in seed_interval(values.T))
            style = ":" if name in ("posterior mean", "MAP") else "-"
            axis.fill_between(k, low, high, color=colour, alpha=0.15, lw=0)
            axis.plot(k, median, style, marker="o", ms=4, lw=1.6, color=colour, label=name)
        axis.set_title(title, fontsize=9)
        axis.set_xticks(k)
        axis.set_xlabel("active features", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("squared error, given so many active", fontsize=9)
    axes[0].set_ylim(bottom=0)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8, frameon=False)
    return figure


def shares_closed(panels: Sequence[tuple[str, Mapping[str, Tensor]]], settings: Sequence[str], least: float) -> Figure:
    """Which share of the way from the ReLU readout to the posterior mean each reader goes, in each setting.

    Args:
        panels: Title, and the shares `[n_settings, n_seeds]` of each reader.
        settings: Labels along the axis.
        least: Share that counts, drawn as a line.
    """
    figure = Figure(figsize=(4.0 * len(panels) + 1.5, 3.6), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(panels), sharey=True))
    at = np.arange(len(settings))
    for axis, (title, shares) in zip(axes, panels, strict=True):
        for place, ((name, values), colour) in enumerate(zip(shares.items(), COLOURS[1:], strict=False)):
            x = at + 0.16 * (place - (len(shares) - 1) / 2)
            median, low, high = (each.numpy() for each in seed_interval(values))
            axis.plot(np.repeat(x, values.shape[1]), values.flatten(), ".", color=colour, alpha=0.3, ms=5, mew=0)
            error = np.abs(np.stack([median - low, high - median]))
            axis.errorbar(x, median, error, fmt="o", color=colour, ms=6, capsize=3, lw=1.5, label=name)
        axis.axhline(0, color="0.3", lw=0.8)
        axis.axhline(1, color="0.3", lw=0.8, ls=":")
        axis.axhline(least, color="0.6", lw=0.8, ls="--")
        axis.set_title(title, fontsize=10)
        axis.set_xticks(at, list(settings), fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("share of the gap that is closed", fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8, frameon=False)
    return figure
