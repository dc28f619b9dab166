"""Figures of the question about two classes of sparsity."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from sup_lightning.functional.dimensionality import feature_norms
from sup_lightning.functional.interference import gram
from sup_lightning.plotting.sweeps import BLUE, RED, density_axis, seeds_over

KINDS = (("frequent features", BLUE), ("rare features", RED))


class Found(Protocol):
    """What is drawn: settings of the rare class, and quantities of both classes `[n_points, n_seeds, 2]`."""

    @property
    def x(self) -> list[float]:
        """What varies."""

    @property
    def W(self) -> Tensor:
        """`[n_points, n_seeds, n_features, n_hidden]`."""

    @property
    def represented(self) -> Tensor:
        """Share that is represented."""

    @property
    def dimensionality(self) -> Tensor:
        """Median D_i."""

    @property
    def own_share(self) -> Tensor:
        """Part of the interference that the own class causes."""


def overview(density: Found, importance: Found, balanced: float) -> Figure:
    """Represented shares over density and importance of the rare class, D_i and interference over importance."""
    figure = Figure(figsize=(14, 3.6), layout="constrained")
    panels = figure.subplots(1, 4)
    _classes(panels[0], density, density.represented, shares=True)
    density_axis(panels[0], density.x)
    panels[0].set_xlabel("density of the rare class (rarer to the right)", fontsize=8)
    panels[0].set_title("represented, equal importance", fontsize=9)
    for ax, values, title in (
        (panels[1], importance.represented, "represented"),
        (panels[2], importance.dimensionality, "share of a dimension, median $D_i$"),
        (panels[3], importance.own_share, "interference that the own class causes"),
    ):
        _classes(ax, importance, values, shares=ax is panels[1])
        ax.set_xscale("log")
        ax.set_xticks(importance.x, [f"{x:g}" for x in importance.x])
        ax.minorticks_off()
        ax.axvline(balanced, color="0.4", lw=0.9, ls=":")
        ax.annotate("equal $I p$", (balanced, 0.02), (3, 0), textcoords="offset points", fontsize=7, color="0.4")
        ax.set_xlim(importance.x[0] / 1.2, importance.x[-1] * 1.2)
        ax.set_xlabel("importance of the rare class", fontsize=8)
        ax.set_title(title, fontsize=9)
    panels[3].axhline(0.5, color="0.7", lw=0.8, zorder=0)
    for ax in panels:
        ax.set_ylim(0, 1.04)
        ax.tick_params(labelsize=7)
        ax.spines[["top", "right"]].set_visible(False)
    panels[2].set_ylim(0, 0.6)
    panels[0].legend(fontsize=8, frameon=False, loc="center", bbox_to_anchor=(0.6, 0.5))
    return figure


def _classes(ax: Axes, found: Found, values: Tensor, shares: bool) -> None:
    """A line for each class; unless values are its represented shares, only where half of the seeds represent any."""
    for number, (name, colour) in enumerate(KINDS):
        there = found.represented[..., number].quantile(0.5, dim=-1) > 0
        points = [k for k in range(len(found.x)) if shares or there[k]]
        seeds_over(ax, [found.x[k] for k in points], values[points][..., number], colour, name)


def overlaps(found: Found, points: Sequence[int]) -> Figure:
    """Squared overlaps of the features of the first seed at some points, longest first in each class."""
    figure = Figure(figsize=(4.4 * len(points) + 0.8, 4.4), layout="constrained")
    panels = figure.subplots(1, len(points), squeeze=False)[0]
    for ax, point in zip(panels, points, strict=True):
        W = found.W[point, 0]
        half = len(W) // 2
        norms = feature_norms(W)
        order = np.concatenate([norms[:half].argsort(descending=True), half + norms[half:].argsort(descending=True)])
        squared = gram(W)[order][:, order].square().numpy()
        image = ax.imshow(squared, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        ax.axhline(half - 0.5, color="0.3", lw=0.8)
        ax.axvline(half - 0.5, color="0.3", lw=0.8)
        ax.set_xticks([half / 2, 1.5 * half], ["frequent", "rare"], fontsize=8)
        ax.set_yticks([half / 2, 1.5 * half], ["frequent", "rare"], fontsize=8, rotation=90, va="center")
        ax.tick_params(length=0)
        ax.set_title(f"importance of the rare class {found.x[point]:g}", fontsize=9)
    figure.colorbar(image, ax=panels, shrink=0.8).set_label("$(W_i\\cdot W_j)^2$", fontsize=8)
    return figure
