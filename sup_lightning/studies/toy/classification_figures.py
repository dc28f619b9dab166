"""Pictures of T12."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from sup_lightning.plotting.geometry import features_2d, gram_and_norms
from sup_lightning.plotting.sweeps import BLUE, GREEN, RED, YELLOW

COLOURS = (RED, BLUE, GREEN, YELLOW)


def answers(soft: Any, squared: Any, one: Any, fixed: Mapping[int, Any]) -> Figure:
    """Excess against length, accuracy given k active, and lengths during training.

    Args:
        soft: Soft labels, learned length; `classification.Measured`.
        squared: The twin trained on squared error.
        one: One active feature, certain labels.
        fixed: The fixed lengths.
    """
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for k, (p, colour) in enumerate(zip(soft.p, COLOURS, strict=False)):
        medians = [float(each.excess[k].median()) for each in fixed.values()]
        left.plot(list(fixed), medians, "o-", color=colour, ms=4, lw=1.4, label=f"p = {p:g}")
        crosses = [float(each.random[k].median()) for each in fixed.values()]
        left.plot(list(fixed), crosses, "x:", color=colour, ms=5, lw=0.8)
        left.plot(float(soft.norm[k].median()), float(soft.excess[k].median()), "*", color=colour, ms=11)
        lengths = soft.norms[:, k].median(dim=-1).values.numpy()
        label = f"soft labels, p = {p:g}"
        right.plot(np.arange(1, len(lengths) + 1), lengths, "o-", color=colour, ms=4, lw=1.4, label=label)
    left.set(xscale="log", yscale="log")
    left.set_xticks(list(fixed), [str(each) for each in fixed])
    left.minorticks_off()
    left.set_xlabel("length of the directions", fontsize=8)
    left.set_ylabel("nats above the labels' entropy", fontsize=8)
    left.legend(fontsize=7, frameon=False)
    at = soft.p.index(min(soft.p, key=lambda p: abs(np.log(p / 0.1))))
    twins = ((soft, RED, "cross-entropy", -0.1), (squared, "0.45", "squared error", 0.1))
    for measured, colour, label, aside in twins:
        values = measured.accuracy[at].numpy()  # [n_seeds, n_active]
        counts = np.arange(1, values.shape[1] + 1) + aside
        everywhere = np.broadcast_to(counts, values.shape).ravel()
        middle.plot(everywhere, values.ravel(), ".", color=colour, alpha=0.4, ms=6, mew=0)
        middle.plot(counts, np.median(values, axis=0), "o-", color=colour, ms=5, lw=1.4, label=label)
    middle.set_ylim(0, 1.03)
    middle.set_xticks(range(1, values.shape[1] + 1))
    middle.set_xlabel("active features", fontsize=8)
    middle.set_ylabel("largest feature named (share of rows)", fontsize=8)
    middle.legend(fontsize=7, frameon=False, loc="lower left")
    lengths, label = one.norms[:, 0].median(dim=-1).values.numpy(), "one active, certain labels"
    right.plot(np.arange(1, len(lengths) + 1), lengths, "s--", color="0.25", ms=4, lw=1.4, label=label)
    right.set_ylim(bottom=0)
    right.set_xticks(range(1, len(lengths) + 1))
    right.set_xlabel("epoch", fontsize=8)
    right.set_ylabel("length of the directions", fontsize=8)
    right.legend(fontsize=7, frameon=False)
    for axes in (left, middle, right):
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


NAMES = {"t12_soft": "learned length", "t12_norm-4": "length 4", "t12_squared-error": "squared error"}


def geometry(found: Mapping[str, Any], n_seeds: int = 1) -> Figure:
    """Directions of the first seeds at p = 0.1, drawn at a largest length of 1.2."""
    panels, titles = [], []
    for name, measured in found.items():
        at = measured.p.index(min(measured.p, key=lambda p: abs(np.log(p / 0.1))))
        for W in measured.W[at, :n_seeds]:
            longest = float(W.norm(dim=-1).max())
            panels.append(1.2 * W / max(longest, 1e-9))
            titles.append(f"{NAMES[name]}\nlongest: {longest:.1f}")
    draw = features_2d if panels[0].shape[-1] == 2 else gram_and_norms
    return draw(torch.stack(panels), titles)
