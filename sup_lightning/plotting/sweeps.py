"""Curves over a swept setting, with every seed as a dot."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from sup_lightning.functional.intervals import seed_interval

BLUE, RED, GREEN, YELLOW, PURPLE = "#4477aa", "#cc3311", "#228833", "#bb8800", "#aa3377"
"""Told apart with any colour vision."""


def seeds_over(ax: Axes, x: Sequence[float], values: Tensor, colour: str, label: str, marker: str = "o") -> None:
    """Median over seeds as a line, its 95 % interval as a band, the seeds as dots that are moved aside a little.

    Args:
        ax: Where; its x axis is logarithmic.
        x: The setting at each point.
        values: `[n_points, n_seeds]`.
        colour: Of everything.
        label: For the legend.
        marker: Of the medians.
    """
    at, numbers = np.asarray(x, dtype=float), values.detach().double().numpy()
    median, low, high = (part.numpy() for part in seed_interval(values))
    aside = np.exp(np.linspace(-0.03, 0.03, numbers.shape[1]))
    ax.plot((at[:, None] * aside).ravel(), numbers.ravel(), ".", color=colour, alpha=0.35, ms=6, mew=0)
    ax.fill_between(at, low, high, color=colour, alpha=0.15, lw=0)
    ax.plot(at, median, marker=marker, color=colour, ms=4.5, lw=1.3, label=label)


def density_axis(ax: Axes, ticks: Sequence[float]) -> None:
    """The x axis of feature probabilities: logarithmic, sparser to the right, ticks at round values."""
    ax.set_xscale("log")
    ax.set_xticks(list(ticks), [f"{tick:g}" for tick in ticks], fontsize=7)
    ax.minorticks_off()
    ax.set_xlim(max(ticks) * 1.2, min(ticks) / 1.2)
    ax.set_xlabel("feature probability $p$ (sparser to the right)", fontsize=8)
    ax.tick_params(labelsize=7)
