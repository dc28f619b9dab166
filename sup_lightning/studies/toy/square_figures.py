"""Figures of T03."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure

from sup_lightning.functional.intervals import seed_interval
from sup_lightning.nn import ToyNetwork
from sup_lightning.plotting.sweeps import BLUE, RED

if TYPE_CHECKING:
    from sup_lightning.studies.toy.square import Measured

ERRORS = (
    "Squared error of a function over rows in which its feature is active, against the neurons that there are for each "
    "function. Dots are seeds, lines medians, one colour for each feature probability. Dashed black: the exact least "
    "error of squares by separate ReLU neurons with biases. Dashed red: the least that any network without biases can "
    "have for a feature that is active alone."
)
CURVES = (
    "What the best seeds make of one feature while the others are silent (grey: x²), and what is left of x² "
    "(magnified ten times, below). The more neurons with biases there are, the more straight pieces; without biases "
    "there are two."
)
TITLES = ("$x^2$, with biases", "$x^2$, without", "$|x|$, with biases", "$|x|$, without")


def errors(found: Mapping[str, "Measured"], floors: Sequence[float]) -> Figure:
    """Errors over neurons for each function, one panel for each experiment.

    Args:
        found: Of the four experiments, in the order of `TITLES`.
        floors: Exact least error of squares, for each number of neurons.
    """
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    panels = figure.subplots(1, 4, sharey=True)
    for axes, title, (name, m) in zip(panels, TITLES, found.items(), strict=True):
        at = np.array(m.share)
        colours = colormaps["viridis"](np.linspace(0, 0.85, len(m.p)))
        for row, (p, colour) in enumerate(zip(m.p, colours, strict=True)):
            aside = np.exp(0.07 * (row - (len(m.p) - 1) / 2))
            loss = m.loss[row].clamp_min(1e-9)
            for place, seeds in zip(at, loss, strict=True):
                axes.plot([place * aside] * len(seeds), seeds, ".", color=colour, alpha=0.5, ms=5, mew=0)
            axes.plot(at * aside, seed_interval(loss)[0], color=colour, lw=1.3, label=f"$p$ = {p:g}")
        if "square" in name:
            axes.plot(at, floors, "--", color="black", lw=1.2, label="floor with biases")
            axes.axhline(1 / 80, color=RED, ls="--", lw=1.2, label="floor without")
        axes.set(xscale="log", yscale="log", xlabel="neurons for each function")
        axes.set_xticks(at, [f"{share:.3g}" for share in at])
        axes.minorticks_off()
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("squared error when active")
    panels[0].legend(fontsize=7.5, frameon=False, loc="lower left")
    return figure


def curves(panels: Sequence[tuple[str, ToyNetwork]]) -> Figure:
    """The functions of one feature that networks have learned, and their errors.

    Args:
        panels: Titles, and networks of one instance.
    """
    n_columns = -(-len(panels) // 2)
    figure = Figure(figsize=(3.2 * n_columns, 5.2), layout="constrained")
    figure.supxlabel("$x$", fontsize=9)
    x = torch.linspace(-1, 1, 401)
    for axes, (title, net) in zip(figure.subplots(2, n_columns, sharex=True, sharey=True).flat, panels, strict=True):
        features = torch.zeros(1, len(x), net.n_features)
        features[0, :, 0] = x
        output = net(features)[0, :, 0].detach()
        axes.plot(x, x.square(), color="0.8", lw=5, label="$x^2$")
        axes.plot(x, output, color=BLUE, lw=1.5, label="network")
        axes.plot(x, 10 * (output - x.square()) - 0.7, color=RED, lw=1, label="error, tenfold, moved down")
        axes.axhline(-0.7, color="0.7", lw=0.6)
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=7)
        axes.set_ylim(-1.6, 1.1)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    return figure
