"""Dimensions per feature, and each feature's share of a dimension, over density."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

LEVELS = {"1": 1.0, "3/4": 0.75, "2/3": 2 / 3, "1/2": 0.5, "2/5": 0.4, "3/8": 0.375, "1/3": 1 / 3}
COLOURS = {
    "single": "#4477aa", "tetrahedron": "#ddaa33", "triangle": "#228833", "digon": "#cc3311", "pentagon": "#aa3377",
    "square antiprism": "#ee7733", "hexagon": "#009988",
}  # fmt: skip
OTHER = "#bbbbbb"


def stickiness(
    inverse_p: np.ndarray,
    dimensions: Sequence[np.ndarray],
    dimensionality: np.ndarray,
    names: np.ndarray,
    suptitle: str,
) -> Figure:
    """D* with its interval above, D_i of every represented feature below, coloured by polytope.

    Args:
        inverse_p: 1/p of each point, `[n_points]`.
        dimensions: Median, low and high end of D*, `[n_points]` each.
        dimensionality: D_i of one model at each point, `[n_points, n_features]`.
        names: The feature's polytope, the same shape; empty if the feature is not represented.
        suptitle: Title of the figure.
    """
    figure = Figure(figsize=(9, 7.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.3))
    order = np.argsort(inverse_p)
    x = inverse_p[order]
    median, low, high = (part[order] for part in dimensions)
    upper.fill_between(x, low, high, color="0.8", lw=0)
    upper.plot(x, median, "o-", color="0.15", ms=4, lw=1.2)
    upper.set(xscale="log", ylabel="dimensions per feature $D^*$", ylim=(0, 1.15))
    generator = np.random.default_rng(0)
    points, features = np.nonzero(names != "")
    jitter = np.exp(generator.normal(0, 0.008, len(points)))
    kinds = names[points, features]
    for name in [None, *COLOURS]:
        chosen = ~np.isin(kinds.astype(str), list(COLOURS)) if name is None else kinds == name
        if chosen.any():
            lower.scatter(
                inverse_p[points[chosen]] * jitter[chosen], dimensionality[points[chosen], features[chosen]],
                s=9, lw=0, alpha=0.6, color=OTHER if name is None else COLOURS[name], label=name or "no named polytope",
            )  # fmt: skip
    lower.set(xlabel="1/p (sparser to the right)", ylabel="share of a dimension $D_i$", ylim=(0, 1.15))
    ticks = [tick for tick in (1, 1.5, 2, 3, 5, 10, 20, 50) if tick <= x[-1] * 1.01]
    lower.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    lower.minorticks_off()
    for ax in (upper, lower):
        for name, level in LEVELS.items():
            ax.axhline(level, color="0.85", lw=0.7, zorder=0)
            ax.annotate(name, (1.005, level), xycoords=("axes fraction", "data"), va="center", fontsize=7, color="0.4")
        ax.spines[["top", "right"]].set_visible(False)
    lower.legend(fontsize=8, frameon=False, loc="upper right", markerscale=2)
    figure.suptitle(suptitle, fontsize=11)
    return figure
