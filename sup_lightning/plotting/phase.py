"""Phase diagrams over importance and feature probability."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

COLOURS = ("#d9d9d9", "#4477aa", "#cc3311", "#ee9944")
"""Not represented, own dimension, superposed, own dimension while the others are superposed."""


def _edges(values: np.ndarray) -> np.ndarray:
    """Borders of the cells around log-spaced values."""
    logs = np.log(values)
    step = logs[1] - logs[0]
    return np.exp(np.append(logs - step / 2, logs[-1] + step / 2))


def _axes(ax: Axes, title: str) -> None:
    ax.set(xscale="log", yscale="log", xlabel="feature probability p", ylabel="importance of the extra feature")
    ax.set_title(title, fontsize=9)
    ax.tick_params(labelsize=7)
    ax.invert_xaxis()  # sparser to the right, as in the paper


def phase_diagram(
    p: Sequence[float],
    importance: Sequence[float],
    labels: Mapping[str, np.ndarray],
    names: Sequence[str],
    norm: np.ndarray,
    superposition: np.ndarray,
    wrong: np.ndarray,
    suptitle: str,
) -> Figure:
    """Label maps side by side, and last the paper's colouring of the trained models.

    Args:
        p: Feature probabilities.
        importance: Importances of the extra feature.
        labels: Title to labels `[len(p), len(importance)]`, integers below `len(names)`; crosses go on the last.
        names: What the labels mean.
        norm: Length of the extra feature's direction, the same shape.
        superposition: Its superposition, the same shape.
        wrong: Where the last map disagrees with the first off the boundaries, bool.
        suptitle: Title of the figure.
    """
    figure = Figure(figsize=(3.7 * (len(labels) + 1), 4.3), layout="constrained")
    axes = figure.subplots(1, len(labels) + 1)
    x, y = _edges(np.asarray(p)), _edges(np.asarray(importance))
    colours = ListedColormap(COLOURS[: len(names)])
    for ax, (title, values) in zip(axes, labels.items(), strict=False):
        ax.pcolormesh(x, y, values.T, cmap=colours, vmin=-0.5, vmax=len(names) - 0.5)
        _axes(ax, title)
    rows, columns = np.nonzero(wrong)
    axes[-2].plot(np.asarray(p)[rows], np.asarray(importance)[columns], "kx", ms=4, mew=1)
    axes[-1].pcolormesh(x, y, _two_dimensional_colour(norm, superposition).transpose(1, 0, 2))
    _axes(axes[-1], "trained: |W| darkens, superposition reddens")
    figure.legend(
        handles=[Patch(color=colour, label=name) for colour, name in zip(COLOURS, names, strict=False)],
        loc="outside lower center", ncols=len(names), fontsize=8, frameon=False,
    )  # fmt: skip
    figure.suptitle(suptitle, fontsize=11)
    return figure


def _two_dimensional_colour(norm: np.ndarray, superposition: np.ndarray) -> np.ndarray:
    """White without a direction, blue for a direction of its own, red for one that is shared; `[..., 3]`."""
    share = np.clip(superposition, 0, 1)[..., None]
    full = (1 - share) * np.array([0.267, 0.467, 0.667]) + share * np.array([0.8, 0.2, 0.067])
    weight = np.clip(norm, 0, 1)[..., None]
    return (1 - weight) * 1.0 + weight * full
