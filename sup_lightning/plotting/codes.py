"""Figures of codes that are not linear: paths of single features, and what probes read."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from sup_lightning.functional.intervals import seed_interval
from sup_lightning.plotting.sweeps import BLUE, RED


def paths_figure(panels: Sequence[tuple[str, Tensor]]) -> Figure:
    """The code of each feature alone as it grows: against its value in one dimension, as a curve in two.

    Args:
        panels: Title, and the paths `[n_features, n_steps, n_hidden]` of one model.
    """
    figure = Figure(figsize=(3.6 * len(panels), 3.6), layout="constrained")
    for axes, (title, paths) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
        moved = paths.numpy()
        colours = colormaps["viridis"](np.linspace(0, 0.9, len(moved)))
        t = np.linspace(0, 1, moved.shape[1])
        for number, (path, colour) in enumerate(zip(moved, colours, strict=True)):
            x, y = (t, path[:, 0]) if path.shape[1] == 1 else (path[:, 0], path[:, 1])
            axes.plot(x, y, color=colour, lw=2, label=f"feature {number}")
            axes.plot(x[-1], y[-1], "o", color=colour, ms=5)
        one = moved.shape[2] == 1
        axes.set_xlabel("value of the one active feature" if one else "code, first dimension", fontsize=9)
        axes.set_ylabel("code" if one else "code, second dimension", fontsize=9)
        if not one:
            axes.plot(*moved[0, 0, :2], "o", color="0.3", ms=6, mfc="white", label="nothing active")
            axes.legend(fontsize=7, frameon=False)
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(fontsize=7, frameon=False)
    return figure


def probes_figure(
    probes: Mapping[str, tuple[Tensor, Tensor]], layers: Sequence[str], head: Tensor, solved: Tensor, most: float
) -> Figure:
    """R² of both probes on several codes; what is linear in the layers of a head, and how well it solves its task.

    Args:
        probes: For each code the R² of a linear probe and of an MLP, `[n_seeds]`.
        layers: Names of the layers.
        head: Greatest R² of a linear probe over features, `[n_layers, n_seeds]`.
        solved: R² of the head's output, `[n_seeds]`.
        most: R² above which a feature would count as linear.
    """
    figure = Figure(figsize=(10.5, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    for place, (name, colour) in enumerate((("linear probe", BLUE), ("MLP probe", RED))):
        values = [pair[place] for pair in probes.values()]
        _bars(left, np.arange(len(values)) + 0.2 * (2 * place - 1), values, colour, name)
    left.set_xticks(np.arange(len(probes)), list(probes), fontsize=8)
    left.set_ylabel("variance of the features that is read, R²", fontsize=9)
    left.legend(fontsize=8, frameon=False)
    _bars(right, np.arange(len(layers)), list(head), BLUE, "most linear feature")
    _bars(right, np.array([float(len(layers))]), [solved], RED, "the head's answer")
    right.axhline(most, color="0.5", lw=1, ls="--")
    right.set_xticks(np.arange(len(layers) + 1), [*layers, "answer"], fontsize=8)
    right.set_ylabel("R²", fontsize=9)
    right.set_ylim(top=1.3)
    right.legend(fontsize=8, frameon=False, loc="upper left")
    for axes in (left, right):
        axes.axhline(0, color="0.3", lw=0.8)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _bars(axes: Axes, at: np.ndarray, values: Sequence[Tensor], colour: str, label: str) -> None:
    """Medians as bars with 95 % intervals, seeds as dots."""
    ends = np.array([[float(each) for each in seed_interval(one)] for one in values])
    axes.bar(at, ends[:, 0], 0.36, color=colour, alpha=0.8, label=label)
    error = np.abs(ends[:, :1] - ends[:, 1:]).T
    axes.errorbar(at, ends[:, 0], error, fmt="none", ecolor="0.2", capsize=3, lw=1)
    for x, one in zip(at, values, strict=True):
        axes.plot(np.full(len(one), x), one.numpy(), ".", color="0.2", ms=3, alpha=0.5)
