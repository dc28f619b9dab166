"""Figures of T10."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure
from torch import Tensor

from sup_lightning.nn.activations import get_toy_activation
from sup_lightning.plotting.geometry import features_2d
from sup_lightning.plotting.sweeps import BLUE, GREEN, PURPLE, RED, YELLOW, density_axis, seeds_over

if TYPE_CHECKING:
    from sup_lightning.studies.toy.smooth_activations import Kind, Measured

SWEEP = (
    "Left: the activations. Middle: fraction of variance unexplained against how often features fire; dots are seeds, "
    "lines medians. Right: features that are represented, mean over seeds. β is the sharpness, f(β z) / β."
)
SHAPES = (
    "Directions of the features in the plane, in the seed with the least error: one column of panels for each "
    "activation, one row for each feature probability p."
)
NEURONS = (
    "Absolute values of twenty features by ten neurons: loss over that of the naive network, which computes five of "
    "them exactly, against how often features fire. Dots are seeds, lines medians."
)
COLOURS = (RED, BLUE, "#66ccee", PURPLE, GREEN, YELLOW)
NAMES = {"gelu": "GELU", "silu": "SiLU", "softplus": "softplus"}
"""The smooth activations whose expected loss is exact."""


def sweep(found: Mapping[str, "Measured"], kinds: Mapping[str, "Kind"]) -> Figure:
    """Activations, errors and represented features.

    Args:
        found: Of each experiment.
        kinds: Its activation.
    """
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    z = torch.linspace(-3, 3, 301)
    aside = [1.06 ** (k - (len(kinds) - 1) / 2) for k in range(len(kinds))]  # so that no curve hides another
    for (name, kind), colour, shift in zip(kinds.items(), COLOURS, aside, strict=True):
        left.plot(z, get_toy_activation("activation", kind.activation, kind.scale)(z), color=colour, lw=1.4)
        m = found[name]
        p = [shift * each for each in m.p]
        seeds_over(middle, p, m.fvu, colour, kind.label)
        right.plot(p, m.features.mean(dim=1), marker="o", color=colour, ms=4.5, lw=1.3)
    left.set_xlabel("$z$", fontsize=8)
    for axes, label in zip(
        (left, middle, right), ("output", "fraction of variance unexplained", "represented features"), strict=True
    ):
        axes.set_ylabel(label, fontsize=8)
    for axes in (middle, right):
        density_axis(axes, found[name].p)
    middle.legend(fontsize=7.5, frameon=False)
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=7)
    return figure


def shapes(found: Mapping[str, "Measured"], kinds: Mapping[str, "Kind"]) -> Figure:
    """Best seeds' directions."""
    W = torch.stack([m.best for m in found.values()], dim=1).flatten(0, 1)
    named = {name: (m.p, m.shapes) for name, m in found.items()}
    n_points = len(W) // len(found)
    titles = [
        f"{kinds[name].label}, p = {p[point]:g}\n{names[point]}"
        for point in range(n_points)
        for name, (p, names) in named.items()
    ]
    return features_2d(W, titles, columns=len(found))


def neurons(p: Sequence[float], ratios: Mapping[str, Tensor], smooth: str) -> Figure:
    """Losses of networks of neurons over naive ones."""
    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    axes = figure.subplots()
    labels = ("ReLU", smooth, f"{smooth}, β = 16")
    for (ratio, label), colour in zip(zip(ratios.values(), labels, strict=True), (RED, BLUE, PURPLE), strict=True):
        seeds_over(axes, p, ratio, colour, label)
    axes.axhline(1, color="0.3", lw=1)
    axes.annotate("naive network", (min(p), 1), (0, 3), textcoords="offset points", ha="right", fontsize=7, color="0.3")
    density_axis(axes, p)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("loss / naive loss", fontsize=8)
    axes.legend(fontsize=7.5, frameon=False, loc="lower left")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
