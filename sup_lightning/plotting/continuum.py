"""Figures of a continuum of features beside a number of them."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from sup_lightning.plotting.sweeps import BLUE, RED, seeds_over

COLOURS = (RED, BLUE)


def directions_figure(panels: Sequence[tuple[str, Tensor, Tensor]]) -> Figure:
    """Directions of many inputs in the plane, one panel for each model.

    Args:
        panels: Title, directions `[n_features, n_hidden]`, and which are represented, `[n_features]` bool.
    """
    figure = Figure(figsize=(4.4 * len(panels), 4.4), layout="constrained")
    for axes, (title, W, kept) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
        flat = _in_plane(W)
        flat = (flat / flat.norm(dim=1).max().clamp_min(1e-12)).numpy()
        places, shown = np.arange(len(flat)) / len(flat), kept.numpy()
        axes.scatter(*flat[~shown].T, s=16, facecolors="none", edgecolors="0.6", lw=0.7)
        dots = axes.scatter(*flat[shown].T, s=22, c=places[shown], cmap="viridis", vmin=0, vmax=1, lw=0)
        for x, y in flat[shown]:
            axes.plot([0, x], [0, y], color="0.85", lw=0.5, zorder=0)
        axes.set_title(title, fontsize=10)
        axes.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal", xticks=[], yticks=[])
        axes.spines[["top", "right", "bottom", "left"]].set_visible(False)
    bar = figure.colorbar(dots, ax=figure.axes, shrink=0.6, ticks=[0, 0.5, 1])
    bar.set_label("place of the input, as a share of all", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def _in_plane(W: Tensor) -> Tensor:
    """W itself in two dimensions, else its two largest principal components."""
    if W.shape[1] == 2:
        return W
    return W @ torch.linalg.svd(W, full_matrices=False).Vh[:2].T


def counts_figure(
    n_features: Sequence[int],
    columns: Sequence[tuple[str, Mapping[str, Tensor]]],
    angles: Tensor,
    covering: Mapping[str, Tensor],
) -> Figure:
    """Counts against the number of inputs, and covering numbers against the angle.

    Args:
        n_features: Numbers of inputs.
        columns: For each panel its title, and counts `[n_resolutions, n_seeds]` of each curve.
        angles: At which directions are told apart, radians.
        covering: How many cover all, `[n_angles, n_seeds]` of each curve.
    """
    figure = Figure(figsize=(3.7 * (len(columns) + 1), 3.6), layout="constrained")
    panels = figure.subplots(1, len(columns) + 1)
    for axes, (title, curves) in zip(panels, columns, strict=False):
        for (label, counts), colour in zip(curves.items(), COLOURS, strict=False):
            seeds_over(axes, n_features, counts, colour, label)
        axes.plot(n_features, n_features, ":", color="0.5", lw=1)
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(n_features), [str(n) for n in n_features])
        axes.set(xlabel="number of inputs N", ylabel=title)
        _count_axis(axes, max(n_features))
    degrees = angles.numpy() * 180 / math.pi
    for (label, counts), colour in zip(covering.items(), COLOURS, strict=False):
        seeds_over(panels[-1], degrees.tolist(), counts, colour, label, marker="")
    panels[-1].set_xscale("log")
    ticks = [tick for tick in (1, 2, 3, 5, 10, 20, 30) if degrees.min() <= tick <= degrees.max()]
    panels[-1].set_xticks(ticks, [f"{tick}°" for tick in ticks])
    panels[-1].minorticks_off()
    panels[-1].invert_xaxis()
    panels[-1].set(xlabel="angle within which directions count as one", ylabel="directions")
    _count_axis(panels[-1], max(float(counts.nan_to_num().max()) for counts in covering.values()))
    panels[0].legend(fontsize=8, frameon=False, loc="upper left")
    return figure


def _count_axis(axes: Axes, most: float) -> None:
    axes.set_yscale("log", base=2)
    ticks = [2**k for k in range(int(math.log2(max(most, 2))) + 1)]
    axes.set_yticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
