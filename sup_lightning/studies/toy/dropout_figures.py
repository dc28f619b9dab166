"""Figures of the question about dropout."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sup_lightning.functional.geometry import describe, find_polytopes
from sup_lightning.functional.intervals import seed_interval
from sup_lightning.plotting.geometry import features_2d
from sup_lightning.plotting.sweeps import BLUE, GREEN, PURPLE, RED
from sup_lightning.studies.toy.dropout_measures import REFERENCE, ExactOptimum, Trained

COLOURS = {1: PURPLE, 2: BLUE, 4: GREEN, 5: RED}
"""By number of features in two dimensions."""
KINDS = {
    "no dropout": "0.45",
    "Gaussian noise": BLUE,
    "dropout": RED,
    "dropout, SGD": PURPLE,
}


def basis(
    exact: Mapping[int, ExactOptimum],
    ranks: Mapping[str, Mapping[str, Sequence[float]]],
    mask: Mapping[int, Trained],
    gaussian: Mapping[int, Trained],
) -> Figure:
    """What the loss says of each orientation, where training ends, alignment and geometry over the dropout rate.

    Args:
        exact: By number of features in two dimensions.
        ranks: Size of the model, to kind of training, to the share of better orientations of each seed.
        mask: Trained with dropout, by number of features.
        gaussian: Trained with Gaussian noise.
    """
    figure = Figure(figsize=(12.5, 7), layout="constrained")
    panels = figure.subplots(2, 3)
    for ax, (n_features, optimum) in zip(panels[0], exact.items(), strict=True):
        _turned(ax, n_features, optimum)
    _ranks(panels[1, 0], ranks)
    _over_rate(panels[1, 1], mask, gaussian, "alignment")
    panels[1, 1].set_ylim(-0.33, 0.12)
    panels[1, 1].axhline(0, color="0.7", lw=0.8, zorder=0)
    panels[1, 1].set_title("alignment with neurons, above random directions", fontsize=9)
    _over_rate(panels[1, 2], mask, {}, "median_dimensionality")
    panels[1, 2].set_title("share of a dimension of a feature (median $D_i$)", fontsize=9)
    panels[1, 2].set_ylim(0, 1.05)
    for ax in panels.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=7)
    return figure


def _turned(ax: Axes, n_features: int, optimum: ExactOptimum) -> None:
    degrees = 90 * np.arange(len(optimum.turned) + 1) / len(optimum.turned)
    shades = colormaps["viridis"](np.linspace(0.85, 0, len(optimum.q)))
    for q, losses, shade in zip(optimum.q.tolist(), optimum.turned.unbind(1), shades, strict=True):
        above = 100 * (losses / losses.min() - 1)
        closed = torch.cat([above, above[:1]])  # a quarter turn permutes the neurons
        at_reference = abs(q - REFERENCE) < 1e-9
        ax.plot(degrees, closed, color=shade, lw=2.2 if at_reference else 1.2, label=f"q = {q:g}")
    ax.set_xlim(0, 90)
    ax.set_xlabel("optimum turned by (degrees)", fontsize=8)
    ax.set_ylabel("loss above the best turn (%)", fontsize=8)
    ax.set_xticks([0, 22.5, 45, 67.5, 90], ["0", "22.5", "45", "67.5", "90"])
    ax.set_title(f"{n_features} features in 2 dimensions", fontsize=9)
    ax.legend(fontsize=7, frameon=False)


def _ranks(ax: Axes, ranks: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    labelled: set[str] = set()
    for place, of_kind in enumerate(ranks.values()):
        for number, (kind, values) in enumerate(of_kind.items()):
            at = place + (number - 1.5) * 0.19
            spread = np.linspace(-0.05, 0.05, len(values))
            label = None if kind in labelled else kind
            labelled.add(kind)
            ax.plot(at + spread, values, ".", color=KINDS[kind], ms=5, alpha=0.7, mew=0, label=label)
            ax.plot([at - 0.08, at + 0.08], [np.median(values)] * 2, color=KINDS[kind], lw=2)
    ax.axhline(0.5, color="0.7", lw=0.8, ls=":", zorder=0)
    ax.set_xticks(range(len(ranks)), list(ranks), fontsize=7)
    ax.set_ylim(-0.04, 1.25)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1])
    ax.set_title(f"share of turns that are better than the trained one, q = {REFERENCE:g}", fontsize=9)
    ax.legend(fontsize=7, frameon=False, ncols=2, loc="upper center", handletextpad=0.2)


def _over_rate(ax: Axes, mask: Mapping[int, Trained], gaussian: Mapping[int, Trained], of: str) -> None:
    for trained, style, words in ((mask, "o-", ""), (gaussian, "s--", ", Gaussian noise")):
        for n_features, found in trained.items():
            median, low, high = (part.numpy() for part in seed_interval(getattr(found, of)))
            colour, face = COLOURS[n_features], COLOURS[n_features] if style == "o-" else "white"
            ax.plot(found.q, median, style, color=colour, mfc=face, ms=4.5, lw=1.3, label=f"n = {n_features}{words}")
            ax.fill_between(found.q, low, high, color=colour, alpha=0.12, lw=0)
    ax.set_xlabel("dropout rate q", fontsize=8)
    ax.legend(fontsize=6.5, frameon=False, ncols=2, loc="lower left")


def geometries(mask: Mapping[int, Trained]) -> Figure:
    """The models of lowest loss, a row for each number of features in two dimensions, a column for each rate."""
    most = max(mask)
    shown, titles = [], []
    for n_features, found in mask.items():
        best = found.best(found.W)
        for q, W in zip(found.q, best, strict=True):
            missing = torch.zeros(most - n_features, W.shape[1])
            shown.append(torch.cat([W, missing]))
            shape = describe(find_polytopes(W)) or "nothing represented"
            titles.append(f"{n_features} feature{'s' * (n_features > 1)}, q = {q:g}\n{shape}")
    return features_2d(torch.stack(shown), titles, columns=len(next(iter(mask.values())).q))
