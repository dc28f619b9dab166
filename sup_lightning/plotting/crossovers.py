"""Figures of crossovers between shapes: where they lie, and the losses on both sides."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from sup_lightning.plotting.sweeps import BLUE, GREEN, PURPLE, RED, YELLOW


def crossover_curves(curves: Mapping[str, Mapping[float, float]], trained: Mapping[float, float]) -> Figure:
    """Times rarer at the crossover against the density: on logarithmic axes, and the inverse on linear ones.

    Args:
        curves: By name, times rarer at each density; the first one gets a power law through its two densest points.
        trained: The same of trained models.
    """
    figure = Figure(figsize=(9.4, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    looks = ((BLUE, "o", 9), (RED, "s", 5), (GREEN, "^", 7), (PURPLE, "D", 6))
    for (colour, marker, size), (name, curve) in zip(looks, curves.items(), strict=False):
        p, times = np.array(list(curve)), np.array(list(curve.values()))
        left.plot(p, times, marker=marker, ms=size, color=colour, lw=1.5, label=name)
        right.plot(p, 1 / times, marker=marker, ms=size, color=colour, lw=1.5, label=name)
    first = next(iter(curves.values()))
    (p1, p2), (t1, t2) = list(first)[-2:], list(first.values())[-2:]
    slope = np.log(t2 / t1) / np.log(p2 / p1)
    wide = np.geomspace(min(first), p2, 50)
    left.plot(wide, t2 * (wide / p2) ** slope, ":", color="0.4", lw=1.2, label=f"$p^{{{slope:.2f}}}$")
    left.plot(list(trained), list(trained.values()), "x", color=YELLOW, ms=10, mew=2.5, label="7 in 3, best trained")
    left.set(xscale="log", yscale="log", xlabel="density $p$ of the others", ylabel="times rarer at the crossover")
    left.set_ylim(0.9, 2 * max(max(each.values()) for each in curves.values()))
    ticks = (1, 2, 3, 5, 10, 20)
    left.set_yticks([t for t in ticks if t < left.get_ylim()[1]], [str(t) for t in ticks if t < left.get_ylim()[1]])
    left.minorticks_off()
    left.legend(fontsize=8, frameon=False)
    right.set(xlabel="density $p$ of the others", ylabel="density of the rare one over $p$", ylim=(0, 1.05))
    right.set_xlim(0, None)
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def losses_over_rarity(
    times: Tensor,
    shapes: Mapping[str, Tensor],
    times_trained: Tensor,
    losses: Tensor,
    kept: Tensor,
    crossing: float,
) -> Figure:
    """Losses of two or three shapes and of trained models relative to the best shape, against the rarity of a feature.

    Args:
        times: How many times rarer, `[n]`.
        shapes: By name, the loss of each shape, `[n]`; the last one is that without the feature.
        times_trained: The same for trained models, `[n_points]`.
        losses: `[n_points, n_seeds]`.
        kept: Whether the rare feature is represented, `[n_points, n_seeds]`.
        crossing: A vertical line.
    """
    figure = Figure(figsize=(6.2, 4.0), layout="constrained")
    ax = figure.subplots()
    x, each_loss = times.numpy(), np.stack([loss.numpy() for loss in shapes.values()])
    lowest = each_loss.min(axis=0)
    for colour, name, loss in zip(
        (BLUE, GREEN, RED) if len(each_loss) > 2 else (BLUE, RED), shapes, each_loss, strict=True
    ):
        ax.plot(x, loss / lowest, color=colour, lw=1.6, label=name)
    at = times_trained.numpy()
    best = np.exp(np.interp(np.log(at), np.log(x), np.log(lowest)))
    aside = np.exp(np.linspace(-0.02, 0.02, losses.shape[1]))
    places, excess, keeps = at[:, None] * aside, losses.numpy() / best[:, None], kept.numpy()
    ax.plot(places[keeps], excess[keeps], ".", color=BLUE, alpha=0.6, ms=8, mew=0, label="trained, kept")
    ax.plot(
        places[~keeps], excess[~keeps], "o", mfc="none", mec=RED, alpha=0.7, ms=5, mew=0.8, label="trained, dropped"
    )
    ax.axvline(crossing, color="0.3", lw=0.9)
    ticks = [t for t in (1, 1.5, 2, 3, 4, 6, 9, 12) if t <= 1.05 * at.max()]
    ax.set(xscale="log", ylim=(0.95, 1.6), xlabel="times rarer", ylabel="loss relative to the best shape")
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()
    ax.legend(fontsize=8, frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return figure
