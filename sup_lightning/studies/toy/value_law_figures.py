"""Figures of the questions about value laws."""

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sup_lightning.functional.geometry import describe, find_polytopes
from sup_lightning.plotting.geometry import features_2d, gram_and_norms
from sup_lightning.plotting.sweeps import BLUE, RED, density_axis, seeds_over
from sup_lightning.studies.toy.phase_point import PhaseCurve, named_saving
from sup_lightning.studies.toy.value_law_geometry import Geometry

COLOURS = (RED, BLUE)
MOST_PANELS = 5
"""Densities at which directions are drawn."""


def overview(curves: Mapping[str, PhaseCurve], geometries: Mapping[str, Geometry], natural: Geometry) -> Figure:
    """Phase point, represented features and loss given k, of a law and of uniform values.

    Args:
        curves: Law, then uniform values: two features in one dimension.
        geometries: The same: many features in few dimensions.
        natural: The law without rescaling.
    """
    figure = Figure(figsize=(12.5, 3.9), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.15, 1, 0.9))
    _phase(left, curves)
    for (name, found), colour in zip(geometries.items(), COLOURS, strict=True):
        seeds_over(middle, found.p, found.count, colour, name)
    first = next(iter(geometries.values()))
    middle.plot(natural.p, natural.count.quantile(0.5, dim=-1), "x", color="k", ms=6, label="not rescaled", zorder=4)
    density_axis(middle, first.p)
    n_features, n_hidden = first.W.shape[-2:]
    middle.set_title(f"represented features, of {n_features} in {n_hidden} dimensions", fontsize=9)
    middle.set_ylim(0, n_features + 0.5)
    middle.legend(fontsize=7, frameon=False, loc="lower right")
    _given_active(right, geometries, natural)
    for ax in (left, middle, right):
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def _phase(ax: Axes, curves: Mapping[str, PhaseCurve]) -> None:
    for (name, curve), colour in zip(curves.items(), COLOURS, strict=True):
        p = np.array(curve.p)
        fine = torch.linspace(p[0], p[-1], 400, dtype=torch.float64)
        named = named_saving(fine, curve.pieces)
        shown = named > 0
        ax.plot(p, curve.exact_pair, color=colour, lw=1.5, label=f"{name}: pair up to p = {curve.point:.2f}")
        ax.plot(p, curve.exact_other, ":", color=colour, lw=1.5)
        label = f"pair (1, -1): p* = {curve.named_point:.3f}"
        ax.plot(fine[shown], named[shown], "--", color=colour, lw=1, label=label)
        aside = np.linspace(-0.008, 0.008, curve.savings.shape[1])
        at, savings, pair = p[:, None] + aside, curve.savings.numpy().clip(-0.05), curve.antipodal.numpy()
        ax.plot(at[pair], savings[pair], ".", color=colour, alpha=0.4, ms=5, mew=0)
        ax.plot(at[~pair], savings[~pair], "o", mfc="none", mec=colour, alpha=0.4, ms=3, mew=0.7)
    ax.axhline(0, color="0.8", lw=0.8, zorder=0)
    ax.set(ylim=(-0.07, 1.02))
    ax.set_xlabel("feature probability $p$", fontsize=8)
    ax.set_title("two features in one dimension: share of the loss that is saved", fontsize=9)
    ax.tick_params(labelsize=7)
    ax.legend(fontsize=7, frameon=False)


def _given_active(ax: Axes, geometries: Mapping[str, Geometry], natural: Geometry) -> None:
    n_laws = len(geometries)
    for place, ((name, found), colour) in enumerate(zip(geometries.items(), COLOURS, strict=True)):
        given = found.best(found.given_active)[found.at, 1:].numpy()
        at = np.arange(1, len(given) + 1) + (place - (n_laws - 1) / 2) * 0.36
        bars = ax.bar(at, given, 0.34, color=colour, label=name)
        ax.bar_label(bars, [f"{value:.3f}" for value in given], fontsize=6.5, padding=4)
        if place == 0:
            scaled = natural.best(natural.given_active)[natural.at, 1:].numpy() / (3 * natural.mean_square)
            ax.plot(at, scaled, "x", color="k", ms=6, label="not rescaled, loss scaled")
    density = next(iter(geometries.values()))
    ax.set_title(f"loss of the best model by active features, p = {density.p[density.at]:g}", fontsize=9)
    ax.margins(y=0.2)
    ax.set_xticks(range(1, len(given) + 1))
    ax.set_xlabel("active features", fontsize=8)
    ax.tick_params(labelsize=7)
    ax.legend(fontsize=7, frameon=False, loc="upper left")


def directions(geometries: Mapping[str, Geometry]) -> Figure:
    """The best models at some densities, a row for each law."""
    titles, shown = [], []
    for name, found in geometries.items():
        points = np.unique(np.linspace(0, len(found.p) - 1, MOST_PANELS).round().astype(int)).tolist()
        best = found.best(found.W)
        for point in points:
            polytopes = describe(find_polytopes(best[point])) or "nothing represented"
            titles.append(f"{name}, p = {found.p[point]:g}\n{_wrapped(polytopes)}")
            shown.append(best[point])
    draw = features_2d if shown[0].shape[-1] == 2 else gram_and_norms
    return draw(torch.stack(shown), titles)


def _wrapped(text: str, width: int = 30) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
