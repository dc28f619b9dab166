"""Pictures of X04."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from sup_lightning.functional.intervals import bootstrap_interval
from sup_lightning.plotting.sweeps import BLUE, GREEN, RED, YELLOW

COLOURS = (RED, BLUE, GREEN, YELLOW)


class Found(Protocol):
    """What is drawn of an experiment; `feature_sets.Measured` is one."""

    @property
    def p(self) -> list[float]: ...
    @property
    def share_of_a(self) -> float: ...
    @property
    def atoms(self) -> Tensor: ...
    @property
    def matches(self) -> Tensor: ...
    @property
    def only(self) -> Tensor: ...
    @property
    def best(self) -> Tensor: ...


def choices(found: Mapping[str, Found], between: Tensor, angles: Sequence[float]) -> Figure:
    """Matches of every block with A and B, the loss between the bases, and A's share by what the data prefer.

    Args:
        found: Experiments; the first two have equal data, and were trained by Adam and by SGD.
        between: Losses at the angles, `[n_angles]`.
        angles: Degrees.
    """
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    equal, sgd, *tilted = found.values()
    turn = np.radians(np.linspace(0, 45, 50))
    left.plot(np.cos(turn), np.cos(np.pi / 4 - turn), color="0.8", lw=1.2, zorder=1, label="orthogonal pairs of atoms")
    for is_best, colour, label in ((False, "0.6", "other models"), (True, RED, "best models")):
        a, b = equal.matches[equal.best == is_best].reshape(-1, 2).T.numpy()
        left.plot(a, b, "o", color=colour, ms=5 if is_best else 3.5, alpha=0.5, mew=0, label=label)
    left.annotate("A", (1, 0.5**0.5), (0, -12), textcoords="offset points", ha="center", fontsize=9)
    left.annotate("B", (0.5**0.5, 1), (-10, 0), textcoords="offset points", va="center", fontsize=9)
    left.set_xlabel("match with basis A (mean |cos|)", fontsize=8)
    left.set_ylabel("match with basis B (mean |cos|)", fontsize=8)
    left.set_ylim(bottom=0.38)
    left.legend(fontsize=7, frameon=False, loc="lower left")
    middle.plot(angles, (between / between[0]).numpy(), "o-", color=BLUE, ms=4, lw=1.4)
    middle.set_xlabel("angle of the atoms", fontsize=8)
    middle.set_ylabel("lowest exact loss, over that at A", fontsize=8)
    middle.set_xticks([0, 22.5, 45], ["0: A", "22.5", "45: B"])
    middle.set_ylim(bottom=0)
    alike = sorted([equal, *tilted], key=lambda each: each.share_of_a)
    for k, (p, colour) in enumerate(zip(equal.p, COLOURS, strict=False)):
        at = np.array([each.share_of_a for each in alike]) + 0.002 * (k - 1)
        ends = [bootstrap_interval(_share, each.only[k].movedim(0, -1).double()) for each in alike]
        centre, low, high = np.array(ends).T
        bars = (centre - low, high - centre)
        right.errorbar(at, centre, bars, fmt="o-", color=colour, ms=4, lw=1.4, capsize=2, label=f"Adam, p = {p:g}")
    centre, low, high = bootstrap_interval(_share_of_all, sgd.only.movedim(1, -1).double())
    right.errorbar(0.475, centre, [[centre - low], [high - centre]], fmt="s", color="0.25", ms=5, capsize=2,
                   label="SGD, equal data, all p")  # fmt: skip
    right.axhline(0.5, color="0.8", lw=0.8, zorder=0)
    right.set_ylim(0, 1.05)
    right.set_xticks([each.share_of_a for each in alike])
    right.set_xlabel("how often the data take basis A", fontsize=8)
    right.set_ylabel("blocks with A, of those with one basis", fontsize=8)
    right.legend(fontsize=7, frameon=False, loc="lower right")
    for axes in (left, middle, right):
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _share(only: Tensor) -> Tensor:
    """A's share of blocks `[n_blocks, 2, n_seeds]`."""
    counts = only.sum(dim=(0, 2))
    return counts[0] / counts.sum()


def _share_of_all(only: Tensor) -> Tensor:
    """The same of blocks `[n_points, n_blocks, 2, n_seeds]`."""
    return _share(only.flatten(0, 1))


def atoms_in_blocks(equal: Found, n_models: int = 6) -> Figure:
    """The atoms of some of the best models at the middle p: a column for each model, a row for each block."""
    k = len(equal.p) // 2
    models = equal.best[k].nonzero().squeeze(1)[:n_models]
    n_blocks = equal.matches.shape[-2]
    figure = Figure(figsize=(1.5 * max(len(models), 2) + 0.5, 1.65 * n_blocks + 0.3), layout="constrained")
    panels = figure.subplots(n_blocks, len(models), squeeze=False)
    for column, model in enumerate(models):
        for block, ax in enumerate(panels[:, column]):
            for degrees, style in ((0, "-"), (90, "-"), (45, "--"), (135, "--")):
                x, y = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
                ax.plot([-2 * x, 2 * x], [-2 * y, 2 * y], style, color="0.8", lw=0.8, zorder=1)
            plane = equal.atoms[k, model, :, 2 * block : 2 * block + 2].float()
            plane = plane[plane.norm(dim=1) > 0.1]
            a, b = equal.only[k, model, block].tolist()
            name, colour = ("A", BLUE) if a else ("B", RED) if b else ("neither", "0.4")
            ax.plot(*torch.cat([plane, -plane]).T.numpy(), "o", color=colour, ms=5, alpha=0.85, mew=0, zorder=2)
            ax.set(xlim=(-1.7, 1.7), ylim=(-1.7, 1.7), aspect="equal", xticks=[], yticks=[])
            ax.spines[:].set_color("0.85")
            ax.set_title(f"seed {int(model)}: {name}" if block == 0 else name, fontsize=8)
    for block, ax in enumerate(panels[:, 0]):
        ax.set_ylabel(f"block {block}", fontsize=8)
    return figure
