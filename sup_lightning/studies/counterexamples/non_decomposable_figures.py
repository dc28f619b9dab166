"""Pictures of X03."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor

from sup_lightning.plotting.sweeps import BLUE, GREEN, RED


def codes_and_information(narrow: Any, control: Any, resolutions: Tensor) -> Figure:
    """Codes of one model, and what codes tell at each resolution.

    Args:
        narrow: Codes of two dimensions; `non_decomposable.Measured`.
        control: Whose head needs a and b as well.
        resolutions: Of the curves.
    """
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    if len(narrow.code):
        colours = colormaps["viridis"](np.linspace(0, 0.95, narrow.n_symbols))
        code, f = narrow.code[0].numpy(), narrow.cases.f.numpy()
        pairs = np.array([f"{a}{b}" for a, b in zip(narrow.cases.a.tolist(), narrow.cases.b.tolist(), strict=True)])
        for value, colour in enumerate(colours):
            label = f"f = {value}: ab = " + " ".join(pairs[f == value])
            left.scatter(*code[f == value].T[:2], color=colour, s=50, alpha=0.8, lw=0, label=label)
        left.legend(fontsize=7, frameon=False, loc="upper right")
        left.margins(0.1)
    left.set(xlabel="first dimension of the code", ylabel="second dimension")
    left.set_title("codes of all pairs of one model", fontsize=9)
    for measured, style, pair, asked in (
        (narrow, "-", (GREEN, RED), "f alone is read"),
        (control, "--", (GREEN, BLUE), "f, a and b are read"),
    ):
        mean = measured.curves.mean(dim=0).numpy()
        told = (mean[:, 0], mean[:, 1:].max(axis=1))
        for values, colour, name in zip(told, pair, ("f", "a or b"), strict=True):
            right.plot(resolutions.numpy(), values, style, color=colour, lw=1.7, label=f"{name}, if {asked}")
    right.axvline(0.5, color="0.6", lw=0.9, ls=":")
    right.annotate("measured here", (0.5, 0.3), (-3, 0), textcoords="offset points", rotation=90, fontsize=7,
                   ha="right", va="center", color="0.4")  # fmt: skip
    right.set(xscale="log", ylim=(-0.03, 1.05), ylabel="share of the symbol that is told")
    right.set_xlabel("resolution, over the coarsest at which f is known (finer to the right)")
    right.invert_xaxis()
    right.legend(fontsize=7, frameon=False, loc="upper right", bbox_to_anchor=(0.95, 0.95))
    for axes in (left, right):
        axes.tick_params(labelsize=7)
        axes.xaxis.label.set_size(8)
        axes.yaxis.label.set_size(8)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def edits(found: Mapping[str, Any]) -> Figure:
    """Success of edits of every seed.

    Args:
        found: `non_decomposable.Measured` of each experiment.
    """
    f_alone, all_three = "f alone,\n{} dimensions", "f, a and b,\n{} dimensions"
    labels = []
    for name, measured in found.items():
        text = all_three if "with-inputs" in name else f_alone
        labels.append(("group S3, " if "group" in name else "") + text.format(measured.code.shape[-1]))
    figure = Figure(figsize=(6.2, 3.4), layout="constrained")
    axes = figure.subplots()
    for place, (measured, colour) in enumerate(zip(found.values(), (RED, RED, RED, BLUE), strict=False)):
        n = len(measured.edit)
        axes.plot(place + np.linspace(-0.15, 0.15, n), measured.edit.numpy(), "o", color=colour, ms=5, alpha=0.6, mew=0)
        chance = 1 / measured.n_symbols
        axes.plot([place - 0.35, place + 0.35], [chance, chance], color="0.4", lw=1)
    chance = 1 / next(iter(found.values())).n_symbols
    axes.annotate("guessing f", (0, chance), (0, 7), textcoords="offset points", fontsize=7, ha="center", color="0.4")
    axes.set_xticks(range(len(labels)), labels, fontsize=8)
    axes.set(ylim=(-0.03, 1.05))
    axes.set_ylabel("success of edits of a alone", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
