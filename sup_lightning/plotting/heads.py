"""Figures of attention heads: losses over their number, which head does what, and attention strengths."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from sup_lightning.functional.intervals import seed_interval
from sup_lightning.plotting.sweeps import BLUE, GREEN, PURPLE, RED, YELLOW

MARKS = ((RED, "s"), (YELLOW, "v"), (GREEN, "D"), (PURPLE, "^"))


def losses_over_heads(
    p: Sequence[float], fvu: Mapping[int, Tensor], others: Mapping[str, tuple[int, Tensor]], n_linear: int
) -> Figure:
    """Unexplained variance against the number of heads, one panel for each p, with the best assignment dashed.

    Args:
        p: Of each point.
        fvu: By the number of heads, `[n_points, n_seeds]`.
        others: Controls, by name: the number of heads, and the same.
        n_linear: Heads at which the assignment does all.
    """
    figure = Figure(figsize=(3.0 * len(p) + 2.0, 3.6), layout="constrained")
    panels = figure.subplots(1, len(p), squeeze=False, sharey=True)[0]
    n_heads = sorted(fvu)
    places = {n: place for place, n in enumerate(n_heads)}
    for point, (ax, each) in enumerate(zip(panels, p, strict=True)):
        ax.plot(range(len(n_heads)), [max(0.0, 1 - n / n_linear) for n in n_heads], "--", color="0.4", lw=1.2)
        ax.plot([], [], "--", color="0.4", lw=1.2, label="best assignment")
        values = {n: fvu[n][point] for n in n_heads}
        for n, seeds in values.items():
            _dots(ax, places[n], seeds, BLUE)
        ax.plot(
            range(len(n_heads)),
            [float(seed_interval(values[n])[0]) for n in n_heads],
            "o-",
            color=BLUE,
            ms=5,
            lw=1.6,
            label="ReLU readout",
        )
        for (colour, marker), (name, (n, seeds)) in zip(MARKS, others.items(), strict=False):
            _dots(ax, places[n] + 0.16, seeds[point], colour)
            median = float(seed_interval(seeds[point])[0])
            ax.plot([places[n] + 0.16], [median], marker, color=colour, ms=6, label=name)
        ax.set_xticks(range(len(n_heads)), [str(n) for n in n_heads])
        ax.set(xlabel="attention heads", title=f"p = {each:g}", ylim=(-0.03, 1.08))
        ax.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("fraction of variance unexplained")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", fontsize=8, frameon=False)
    return figure


def _dots(ax: Axes, place: float, seeds: Tensor, colour: str) -> None:
    aside = np.linspace(-0.07, 0.07, len(seeds))
    ax.plot(place + aside, seeds.numpy(), ".", color=colour, ms=5, alpha=0.4, mew=0)


def head_matrices(matrices: Mapping[str, Tensor], columns: Sequence[str], n_trigrams: Mapping[str, int]) -> Figure:
    """Effects of heads (rows) on trigrams and other tokens (columns), each trigram's column as shares.

    Columns after the trigrams are divided by the mean sum of the trigrams' columns.

    Args:
        matrices: By title, `[n_heads, n_columns]`.
        columns: Name of each column.
        n_trigrams: By title, columns that are trigrams.
    """
    heights = [max(2.2, len(each)) for each in matrices.values()]
    figure = Figure(figsize=(8.2, 0.27 * sum(heights) + 0.85 * len(heights)), layout="constrained")
    panels = figure.subplots(len(matrices), 1, squeeze=False, height_ratios=heights)[:, 0]
    image = None
    for ax, (title, effects) in zip(panels, matrices.items(), strict=True):
        n = n_trigrams[title]
        sums = effects.sum(dim=0)
        shares = effects / sums.where(sums.new_tensor([k < n for k in range(len(sums))]).bool(), sums[:n].mean())
        image = ax.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
        ax.axvline(n - 0.5, color=RED, lw=1.2)
        ax.set_xticks(range(len(columns)), columns if ax is panels[-1] else [], fontsize=7, rotation=90)
        ax.set_yticks(range(len(effects)), [str(k + 1) for k in range(len(effects))], fontsize=7)
        ax.set_ylabel("head", fontsize=8)
        ax.set_title(title, fontsize=9)
    assert image is not None
    figure.colorbar(image, ax=list(panels), label="share of the effect", shrink=0.6)
    return figure


def attention_plane(strengths: Tensor, lines: Tensor, labels: Tensor) -> Figure:
    """Attention of two heads to a source for each destination, and where each label's output is on.

    Args:
        strengths: `[n_sources, n_destinations, 2]`.
        lines: Before the ReLU a label is x · α + c: `[n_sources, n_labels, 3]` with (x_1, x_2, c).
        labels: Of each trigram, `[n_sources, n_destinations]`.
    """
    n_sources = len(strengths)
    figure = Figure(figsize=(3.7 * n_sources + 0.3, 3.8), layout="constrained")
    colours = (BLUE, RED, GREEN, YELLOW, PURPLE, "0.35")
    grid = np.linspace(-0.05, 1.05, 300)
    for source, ax in enumerate(figure.subplots(1, n_sources, squeeze=False)[0]):
        for destination, (x, y) in enumerate(strengths[source].tolist()):
            label = int(labels[source, destination])
            colour = colours[label % len(colours)]
            first, second, c = lines[source, label].tolist()
            level = first * grid[None, :] + second * grid[:, None] + c
            ax.contour(grid, grid, level, levels=[0.0], colors=[colour], linewidths=1.0, linestyles="--")
            ax.contourf(grid, grid, level, levels=[0.0, np.inf], colors=[colour], alpha=0.10)
            ax.plot([x], [y], "o", color=colour, ms=8, mec="white")
            ax.annotate(f"B{destination + 1}", (x, y), (5, 4), textcoords="offset points", fontsize=8, color=colour)
        ax.plot([0], [0], "+", color="0.3", ms=8)
        ax.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05), aspect="equal", title=f"source A{source + 1}")
        ax.set(xlabel="attention of head 1 to the source", ylabel="attention of head 2" if source == 0 else "")
    return figure
