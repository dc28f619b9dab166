"""Figures of the studies on many functions."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from sup_lightning.plotting.sweeps import BLUE, RED, YELLOW, density_axis, seeds_over
from sup_lightning.studies.toy.many_functions import Measured

COLOURS = (BLUE, YELLOW, RED)


def functions_over_width(found: Sequence[Measured], naive: Sequence[float]) -> Figure:
    """Functions computed, and loss over naive loss, against the number of neurons.

    Args:
        found: One for each width.
        naive: Functions of the naive network at each width.
    """
    widths, p = [m.width for m in found], found[0].p
    figure = Figure(figsize=(9.2, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for colour, point in zip(COLOURS, np.argsort(p)[::-1].tolist(), strict=False):
        counts, ratios = ([getattr(m, name)[point] for m in found] for name in ("count", "ratio"))
        for axes, values in ((left, counts), (right, ratios)):
            seeds_over(axes, widths, torch.stack(values), colour, f"$p$ = {p[point]:g}")
    rare = p.index(min(p))
    random = [float(m.random_trained[rare].median()) for m in found]
    left.plot(widths, random, "x", color="0.2", ms=7, mew=1.5, label=f"random neurons, $p$ = {p[rare]:g}")
    left.plot(widths, naive, "-", color="0.6", lw=2, label="no neuron shared")
    left.set(ylabel="functions computed", ylim=(-1, found[0].explained.shape[-1] + 1))
    right.axhline(1, color="0.6", lw=2)
    right.set(ylabel="loss / loss without shared neurons", yscale="log")  # a seed that fails is far off
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xticks(widths, [str(width) for width in widths])
        axes.minorticks_off()
        axes.set_xlabel("neurons")
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(fontsize=8, frameon=False)
    return figure


def responses(output: Tensor, n_levels: int, label: str) -> Figure:
    """Outputs `[n_inputs, n_outputs]` to one input at a time, with a box around each feature's own."""
    figure = Figure(figsize=(5.4, 4.6), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(output.numpy(), vmin=0, vmax=1, cmap="Blues", interpolation="nearest")
    n_features = len(output) // n_levels
    for k in range(n_features):
        corner = k * n_levels - 0.5
        axes.add_patch(Rectangle((corner, corner), n_levels, n_levels, fill=False, ec="0.3", lw=0.6))
    middles = np.arange(n_features) * n_levels + (n_levels - 1) / 2
    axes.set_xticks(middles, [str(k) for k in range(n_features)])
    axes.set_yticks(middles, [str(k) for k in range(n_features)])
    axes.tick_params(length=0)
    axes.set(xlabel="output: " + label, ylabel="input: " + label)
    figure.colorbar(image, ax=axes, shrink=0.8, label="output")
    return figure


def read_over_density(p: Sequence[float], curves: Mapping[str, Tensor], most: float) -> Figure:
    """R² `[n_points, n_seeds]` of several layers against the feature probability, and the most that is possible."""
    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    axes = figure.subplots()
    for colour, (label, values) in zip((BLUE, RED, YELLOW), curves.items(), strict=True):
        seeds_over(axes, p, values, colour, label)
    axes.axhline(most, color="0.6", lw=2, label="most that is possible")
    density_axis(axes, p)
    axes.set_ylabel("variance read linearly")
    axes.set_ylim(0, None)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)
    return figure
