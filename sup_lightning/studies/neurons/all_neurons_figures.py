"""Figures of the question which neurons hold a feature."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from sup_lightning.functional.teams import loads
from sup_lightning.plotting.sweeps import BLUE, GREEN, RED
from sup_lightning.studies.neurons.removal import Removal

GREY = "0.55"


def removal(features: Sequence[Removal], share: float) -> Figure:
    """What patching and restoring neurons does, and how many it takes."""
    figure = Figure(figsize=(13, 3.8), layout="constrained")
    panels = figure.subplots(1, 3)
    for of, colour, label in (
        ("removed", BLUE, "neurons, by effect"),
        ("rotated", RED, "random directions, by effect"),
        ("probed", GREEN, "neurons, by a probe's weights"),
        ("shuffled", GREY, "neurons, in random order"),
    ):
        _band(panels[0], features, of, colour, label)
    _band(panels[1], features, "kept", BLUE, "")
    panels[0].set_title("removed by patching k", fontsize=9)
    panels[1].set_title("brought back by restoring k alone", fontsize=9)
    panels[0].legend(fontsize=7, frameon=False, loc="upper left")
    for ax in panels[:2]:
        ax.axhline(share, color="0.7", lw=0.8, ls=":", zorder=0)
        ax.set(xscale="log", xlabel="k", ylim=(-0.1, 1.9), ylabel="share of the feature")
    n_neurons = len(features[0].team.members)
    bins = np.geomspace(0.9, n_neurons * 1.1, 25)
    for of, colour, label in (("removed", BLUE, "neurons"), ("rotated", RED, "random directions")):
        panels[2].hist([each.size(of, share) for each in features], bins, color=colour, alpha=0.6, label=label)
    panels[2].set(xscale="log", xlabel=f"fewest that remove {share:.0%}", ylabel="features")
    panels[2].legend(fontsize=7, frameon=False)
    for ax in panels:
        ax.tick_params(labelsize=7)
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def _band(ax: Axes, features: Sequence[Removal], of: str, colour: str, label: str) -> None:
    curves = torch.stack([getattr(each, of).reshape(-1, len(each.team.sizes)).mean(dim=0) for each in features])
    low, mid, high = (curves.quantile(q, dim=0)[1:].numpy() for q in (0.25, 0.5, 0.75))
    sizes = features[0].team.sizes[1:]
    ax.fill_between(sizes, low, high, color=colour, alpha=0.15, lw=0)
    ax.plot(sizes, mid, color=colour, lw=1.4, label=label)


def team_map(features: Sequence[Removal], names: Sequence[str], random: Tensor, most: int = 120) -> Figure:
    """Effects of the neurons of teams on all features, and the neurons' loads.

    Args:
        features: The features, with their teams.
        names: Of the features.
        random: Random teams, `[n_draws, n_features, d_mlp]` bool.
        most: Neurons that are drawn.
    """
    teams = torch.stack([each.team.members for each in features])
    load = loads(teams)
    neurons = load.argsort(descending=True, stable=True)[: min(most, int((load > 0).sum()))]
    shares = torch.stack([each.team.effects / each.team.effects.sum() for each in features])[:, neurons].numpy()
    figure = Figure(figsize=(13, 0.9 + 0.13 * len(features)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3.4, 1))
    bound = float(np.quantile(np.abs(shares), 0.99))
    image = left.imshow(shares, cmap="RdBu_r", vmin=-bound, vmax=bound, aspect="auto", interpolation="nearest")
    left.set_yticks(range(len(names)), [name.replace("$", r"\$") for name in names], fontsize=5)
    left.set_xlabel(f"{len(neurons)} neurons, those of most teams first", fontsize=8)
    figure.colorbar(image, ax=left, pad=0.01, label="share of all neurons' effect")
    edges = np.arange(int(max(load.max(), random.sum(dim=1).max())) + 2) - 0.5
    right.hist(load.numpy(), edges, color=BLUE, alpha=0.6, label="teams of features")
    counts = np.stack([np.histogram(loads(draw).numpy(), edges)[0] for draw in random])
    right.plot(edges[:-1] + 0.5, counts.mean(axis=0), "o-", color=GREY, ms=3, lw=1, label="random teams")
    right.set(xlabel="teams that a neuron is in", ylabel="neurons", yscale="symlog")
    right.legend(fontsize=7, frameon=False)
    right.spines[["top", "right"]].set_visible(False)
    for ax in (left, right):
        ax.tick_params(axis="x", labelsize=7)
    return figure
