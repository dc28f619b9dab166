"""M07: learning in jumps and stages (Elhage et al. 2022, "Superposition and Learning Dynamics")."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from sup_lightning.callbacks.snapshots import Snapshots, load_snapshots
from sup_lightning.data import SyntheticFeatures
from sup_lightning.experiment import Run
from sup_lightning.functional.correlation import rank_correlation
from sup_lightning.functional.dimensionality import feature_dimensionality, represented_features
from sup_lightning.functional.dynamics import EnergyJump, energy_jumps
from sup_lightning.functional.geometry import plateau
from sup_lightning.functional.intervals import bootstrap_interval, proportion_interval
from sup_lightning.studies.study import Answer, Comparison, Picture, Study
from sup_lightning.studies.verdict import Claim

LEVELS, CORRELATED, INDEPENDENT = "m07_energy-levels", "m07_octahedron_correlated", "m07_octahedron_independent"
SETTLED = 300
"""Step from which dynamics are looked at. Adam moves a weight by its rate a step at most, so up to then each may change
by its own initial size (.22 at a rate of .001): lengths and biases adjust, and the loss falls with them."""
MOVED = 0.1
"""A feature has moved if its D_i changes by more than this from then to the end."""
BY_JUMPS, WITH_LOSS = 0.5, 0.5
"""Share of the features that move which do so in a jump; rank correlation of movement and fall of the loss."""
OWN_LOSS = 0.1
"""How much higher that correlation is than with another seed's loss."""
ON_LEVEL = 0.8
"""Share of features that end at D_i = 1/2 or 0."""
ANTIPODAL = -0.9
"""Cosine of an antipodal pair."""
CROSS_PAIRS = 0.7
"""Share of models with antipodes across the sets; .4 of all ways to pair six features are such."""
PARTED, TOGETHER = -0.8, 0.5
"""The sets have parted, each still in one bundle: cosine between their means, and mean cosine within them."""


@dataclass(frozen=True)
class Stages:
    """How two sets of three features lie to each other, `[n_times, n_instances]` each.

    Attributes:
        steps: Optimiser steps `[n_times]`.
        between: Cosine of the sets' mean directions.
        within: Mean cosine of two features of a set.
        crossed: Represented features that have an antipode, represented too, in the other set.
        paired: The same, with the antipode in either set.
    """

    steps: Tensor
    between: Tensor
    within: Tensor
    crossed: Tensor
    paired: Tensor

    @property
    def parted_first(self) -> Tensor:
        """Whether the sets parted while each was still a bundle, `[n_instances]` bool."""
        return ((self.between < PARTED) & (self.within > TOGETHER)).any(dim=0)

    @property
    def octahedron(self) -> Tensor:
        """Whether every feature ends with an antipode, `[n_instances]` bool."""
        return self.paired[-1] == 6

    @property
    def across(self) -> Tensor:
        """Whether every feature ends with an antipode in the other set, `[n_instances]` bool."""
        return self.crossed[-1] == 6


@dataclass(frozen=True)
class Paths:
    """Dimensionalities along the way.

    Attributes:
        steps: Optimiser steps `[n_times]`, from the first on.
        D: D_i at these, `[n_times, n_instances, n_features]`.
        kept: Whether a feature is represented at the end, `[n_instances, n_features]`.
        loss: Of the directions with their best biases, on rows common to all times, `[n_times, n_instances]`.
        jumps: Of all models, once settled.
        start: Whether a feature of the initial weights is paired or absent, `[n_instances, n_features]` float.
    """

    steps: Tensor
    D: Tensor
    kept: Tensor
    loss: Tensor
    jumps: list[EnergyJump]
    start: Tensor

    @property
    def settled(self) -> int:
        """The first time at which training is looked at."""
        return int((self.steps >= min(SETTLED, int(self.steps[-1]))).nonzero()[0])


class LearningDynamics(Study):
    """Energy levels of many alike features, and the stages in which two correlated sets find their octahedron."""

    id = "M07"
    title = "Learning dynamics"
    question = (
        "Do features move between levels of dimensionality in jumps that the loss shows, and do correlated sets reach "
        "their final shape in stages?"
    )
    hypothesis = (
        "At p = 0.5 at least 80 % of thirty alike features in ten dimensions end in antipodal pairs or unrepresented; "
        "at least half of those that move after step 300 do so in a jump, that is within a factor 2 of time between "
        "two levels; and the loss falls most when they move most (rank correlation above 0.5, and by 0.1 "
        "above that with another seed's loss). Two sets of three "
        "correlated features in three dimensions part along one axis first, in half of the models or more, and in 70 % "
        "or more end with every antipodal pair across the sets."
    )
    revised = (
        "There were first 100 features, a cut at one per cent of training (with which the correlation with the loss "
        "was 0.42) in place of step 300, and the loss of the training batches in place of one computed from snapshots "
        "with fitted biases. A rule that compared each jump's drop with another seed's gave 0 and was replaced by the "
        "claims about jumps and about the loss. As another seed's loss also reaches a correlation above 0.5, the "
        "comparison with it was added. Antipodes first counted features that are not represented."
    )
    caveat = (
        "Adam at a constant rate from one law of initial weights (Xavier, about unit length): from much smaller "
        "weights, as in the published code, early stages are longer and clearer. All features are alike, so many move "
        "in the same part of training; the correlation says that the loss falls in that part, not that each single "
        "jump has a drop of its own, for which the share of jumps is given. In a real model features differ, and jumps "
        "of single features would drown in the loss of all the others."
    )
    experiments = (LEVELS, CORRELATED, INDEPENDENT)
    minutes = (2, 7)

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        levels, correlated, independent = (snapshots(runs[name]) for name in self.experiments)
        paths = paths_of(levels, cast(SyntheticFeatures, runs[LEVELS].data))
        stages, twin = set_stages(correlated), set_stages(independent)
        return Answer(
            claims=[*_level_claims(paths), *_stage_claims(stages, twin)],
            pictures={
                "levels": Picture(_levels(paths), LEVELS_CAPTION),
                "octahedron": Picture(_stages(correlated, stages), STAGES_CAPTION),
            },
            tables={"jumps": _jumps_table(paths.jumps), "stages": _stages_table(stages, twin)},
            comparisons=_comparisons(stages, twin),
        )


def snapshots(run: Run) -> Snapshots:
    """What the run kept of its weights along the way."""
    assert run.directory is not None
    return load_snapshots(run.directory)


def set_stages(kept: Snapshots) -> Stages:
    """The relations of features 0 to 2 and 3 to 5 along the way."""
    unit = torch.nn.functional.normalize(kept.W, dim=-1)
    cosines = unit @ unit.mT
    a, b = slice(0, 3), slice(3, 6)
    means = kept.W.unflatten(-2, (2, 3)).mean(dim=-2)
    between = torch.nn.functional.cosine_similarity(means[..., 0, :], means[..., 1, :], dim=-1)
    within = torch.stack([(cosines[..., s, s].sum(dim=(-2, -1)) - 3) / 6 for s in (a, b)]).mean(dim=0)
    kept_features = represented_features(kept.W)
    antipodes = (cosines < ANTIPODAL) & kept_features.unsqueeze(-1) & kept_features.unsqueeze(-2)
    cross = antipodes[..., a, b]
    crossed = cross.any(dim=-1).sum(dim=-1) + cross.any(dim=-2).sum(dim=-1)
    paired = antipodes.any(dim=-1).sum(dim=-1)
    return Stages(kept.step, between, within, crossed, paired)


def paths_of(kept: Snapshots, data: SyntheticFeatures) -> Paths:
    """What became of each feature, from snapshots of models with ReLU outputs."""
    x = data.batch("validation", 0, range(data.val_batch_size), data.val_batch_size).features[0].mT.contiguous()
    loss = torch.stack([fitted_loss(W, x) for W in kept.W[1:]])
    D = feature_dimensionality(kept.W)
    represented = represented_features(kept.W[-1])
    start = paired_or_absent(D[0], represented_features(kept.W[0]))
    return with_jumps(Paths(kept.step[1:], D[1:], represented, loss, [], start))


def with_jumps(paths: Paths) -> Paths:
    """The same with the jumps that are found once settled."""
    first = paths.settled
    jumps = energy_jumps(paths.D[first:], paths.loss[first:], paths.steps[first:].tolist())
    return replace(paths, jumps=jumps)


def evenly(paths: Paths) -> Paths:
    """The same ends, reached at a constant rate in log time from the settled moment on."""
    first = paths.settled
    time = paths.steps.clamp_min(1).log()
    share = ((time - time[first]) / (time[-1] - time[first])).clamp(0, 1).view(-1, 1, 1)
    return with_jumps(replace(paths, D=paths.D[first] + share * (paths.D[-1] - paths.D[first])))


def fitted_loss(W: Tensor, x: Tensor, n_iterations: int = 12) -> Tensor:
    """Loss of ReLU(W W^T x + b) with the best b, by Newton's method, `[n_instances]`.

    The loss of single training batches has more noise than most drops; rows that are common to all times have none,
    and biases follow the weights within some tens of steps.

    Args:
        W: `[n_instances, n_features, n_hidden]`.
        x: Features `[n_features, batch]`.
        n_iterations: Steps; the loss is piecewise quadratic in b, so few are enough.
    """
    inputs = W @ (W.mT @ x)
    b = torch.zeros(*inputs.shape[:-1], 1)
    for _ in range(n_iterations):
        output = (inputs + b).relu()
        on = (output > 0).to(x)
        b = b - ((output - x) * on).mean(dim=-1, keepdim=True) / on.mean(dim=-1, keepdim=True).clamp_min(1e-3)
    return ((inputs + b).relu() - x).square().mean(dim=-1).sum(dim=-1)


def jump_shares(paths: Paths) -> Tensor:
    """Features that jump, and features that move at all once settled, `[2, n_instances]`."""
    jumped = torch.zeros(paths.D.shape[1:])
    for jump in paths.jumps:
        jumped[jump.instance[0], jump.feature] = 1
    moved = ((paths.D[-1] - paths.D[paths.settled]).abs() > MOVED).float()
    return torch.stack([(jumped * moved).sum(dim=-1), moved.sum(dim=-1)])


def movement_and_fall(paths: Paths) -> tuple[Tensor, Tensor]:
    """Total change of D_i, and fall of log loss, between neighbouring snapshots, `[n_times - 1, n_instances]` each."""
    D, loss = paths.D[paths.settled :], paths.loss[paths.settled :]
    return D.diff(dim=0).abs().sum(dim=-1), -loss.log().diff(dim=0)


def _ratio(part_and_all: Tensor) -> float:
    part, whole = (float(row.sum()) for row in part_and_all)
    return part / whole if whole else math.nan


def _median_correlation(correlations: Tensor) -> float:
    return float(correlations.median())


def _level_claims(paths: Paths) -> list[Claim]:
    n_seeds = paths.D.shape[1]
    ended, *ended_ends = bootstrap_interval(
        lambda values: float(values.mean()), paired_or_absent(paths.D[-1], paths.kept).mean(dim=-1)
    )
    jumped, *jumped_ends = bootstrap_interval(_ratio, jump_shares(paths))
    even = evenly(paths)
    moves, falls = movement_and_fall(paths)

    def correlations(falls: Tensor) -> Tensor:
        return torch.tensor([rank_correlation(moves[:, k], falls[:, k]) for k in range(n_seeds)])

    own, other = correlations(falls), correlations(falls.roll(1, dims=1))
    together, *together_ends = bootstrap_interval(_median_correlation, own)
    above, *above_ends = bootstrap_interval(_median_correlation, own - other)
    with_drop = [float(jump.with_loss_drop) for jump in paths.jumps]
    return [
        Claim(
            "most features end in antipodal pairs, or not represented",
            ended,
            (ended_ends[0], ended_ends[1]),
            (ON_LEVEL, math.inf),
            f"before training: {float(paths.start.mean()):.2f}",
            "share of features with D_i within .0125 of 1/2 or |W_i| below 1/2, mean over models",
        ),
        Claim(
            "features move in jumps from level to level",
            jumped,
            (jumped_ends[0], jumped_ends[1]),
            (BY_JUMPS, math.inf),
            f"from the same start to the same end at a constant rate in log time: {_ratio(jump_shares(even)):.2f}",
            f"share of the features that move by more than {MOVED:g} which jump; {len(paths.jumps)} jumps in all",
        ),
        Claim(
            "the loss falls when dimensionalities change",
            together,
            (together_ends[0], together_ends[1]),
            (WITH_LOSS, math.inf),
            f"with the loss of another seed's model: {_median_correlation(other):.2f}; single jumps whose drop stands "
            f"out from the model's usual fall: {np.mean(with_drop) if with_drop else math.nan:.2f}",
            "rank correlation over time of total change of D_i and fall of the loss, median over models",
        ),
        Claim(
            "it goes with the model's own loss, not only with that of any model at that time",
            above,
            (above_ends[0], above_ends[1]),
            (OWN_LOSS, math.inf),
            f"rank correlation with the own loss {together:.2f}, with another seed's {_median_correlation(other):.2f}",
            "the former less the latter, median over models",
        ),
    ]


def paired_or_absent(D: Tensor, represented: Tensor) -> Tensor:
    """Whether each feature has D_i = 1/2 or is not represented, as a float in D's shape."""
    return ((plateau(D) == 0.5) | ~represented).float()


def _stage_claims(stages: Stages, twin: Stages) -> list[Claim]:
    claims = []
    for text, holds, which, quantity in (
        ("the sets part along one axis first", 0.5, "parted_first", "in which the sets part while each is one bundle"),
        ("antipodes are of different sets in the end", CROSS_PAIRS, "across", "whose pairs are all across the sets"),
    ):
        found, without = getattr(stages, which), getattr(twin, which)
        share, low, high = proportion_interval(int(found.sum()), len(found))
        chance = "; .40 of all ways to pair six features" if which == "across" else ""
        control = (
            f"six features without correlation, in the same two groups: {float(without.float().mean()):.2f}{chance}"
        )
        claims.append(Claim(text, share, (low, high), (holds, math.inf), control, f"share of models {quantity}"))
    return claims


def _jumps_table(jumps: list[EnergyJump]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = [
        {
            "seed": jump.instance[0],
            "feature": jump.feature,
            "start": jump.start,
            "end": jump.end,
            "before": jump.before,
            "after": jump.after,
            "loss_drop": jump.loss_drop,
            "typical_drop": jump.typical_drop,
            "with_loss_drop": jump.with_loss_drop,
        }
        for jump in jumps
    ]
    return pd.DataFrame(rows)


def _stages_table(stages: Stages, twin: Stages) -> pd.DataFrame:
    tables = []
    for name, each in (("correlated", stages), ("independent", twin)):
        columns = {"step": each.steps, "between": each.between, "within": each.within, "crossed": each.crossed.float()}
        medians = {k: v if v.ndim == 1 else v.median(dim=1).values for k, v in columns.items()}
        tables.append(pd.DataFrame({"features": name, **{k: v.numpy() for k, v in medians.items()}}))
    return pd.concat(tables)


def _comparisons(stages: Stages, twin: Stages) -> list[Comparison]:
    found, without = float(stages.octahedron.float().mean()), float(twin.octahedron.float().mean())
    within = [float(each.within.amax(dim=0).median()) for each in (stages, twin)]
    return [
        Comparison(
            "share of models that end as an octahedron",
            "an octahedron is shown",
            "",
            f"{found:.2f} (without correlation {without:.2f})",
        ),
        Comparison(
            "mean cosine within a set where it is largest",
            "sets along one axis are shown",
            "",
            f"{within[0]:.2f} (without correlation {within[1]:.2f})",
        ),
    ]


LEVELS_CAPTION = (
    "One model of thirty alike features in ten dimensions at p = 0.5. Above: the dimensionality of each feature over "
    "training, in colour if it jumps. Below: the loss of these directions (black), and how much all dimensionalities "
    "change between neighbouring snapshots (blue)."
)
STAGES_CAPTION = (
    "Two sets of three correlated features in three dimensions. Above: the directions of one model at four moments, a "
    "colour for each set. Below: for all models, the cosine between the sets' means and the mean cosine within a set, "
    "with their medians. In an octahedron with antipodes across the sets they are -1 and 0."
)
SETS = ("#0072B2", "#D55E00")


def _levels(paths: Paths) -> Figure:
    figure = Figure(figsize=(7.4, 5.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.6, 1))
    mine = [jump for jump in paths.jumps if jump.instance[0] == 0]
    movers = sorted({jump.feature for jump in mine})
    steps, D, loss = paths.steps.numpy(), paths.D[:, 0].numpy(), paths.loss[:, 0].numpy()
    above.plot(steps, D, color="0.75", lw=0.8)
    for place, feature in enumerate(movers):
        above.plot(steps, D[:, feature], color=COLOURS[place % len(COLOURS)], lw=1.3)
    for level, name in ((1.0, "1: alone"), (2 / 3, "2/3"), (0.5, "1/2: pair"), (0.0, "0")):
        above.axhline(level, color="0.4", lw=0.7, ls=":", zorder=0)
        above.annotate(name, (1.01, level), xycoords=("axes fraction", "data"), va="center", fontsize=8, color="0.3")
    above.set(ylabel="dimensionality $D_i$", ylim=(-0.03, 1.05))
    below.plot(steps, loss, color="black", lw=1.5)
    moves = movement_and_fall(paths)[0][:, 0].numpy()
    beside = below.twinx()
    late = steps[paths.settled :]
    beside.bar(late[:-1], moves, np.diff(late), align="edge", color="#56B4E9", alpha=0.5)
    beside.set_ylabel("change of $D_i$, total", color="#0072B2", fontsize=9)
    beside.spines["top"].set_visible(False)
    below.set_zorder(beside.get_zorder() + 1)
    below.patch.set_visible(False)
    below.set(xscale="log", xlabel="optimiser step", ylabel="loss")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def _stages(kept: Snapshots, stages: Stages) -> Figure:
    figure = Figure(figsize=(8.4, 6.2), layout="constrained")
    parts = figure.subfigures(2, 1, height_ratios=(1, 1.05), squeeze=False)
    top, bottom = parts[0, 0], parts[1, 0]
    shown = int((stages.across.float() + stages.parted_first.float()).argmax())
    moments = moments_of(stages, shown)
    for place, moment in enumerate(moments):
        axes = top.add_subplot(1, len(moments), place + 1, projection="3d")
        W = kept.W[moment, shown].numpy()
        for feature, tip in enumerate(W):
            axes.plot(*np.stack([np.zeros(3), tip], axis=1), color=SETS[feature // 3], lw=2)
            axes.scatter(*tip[:, None], color=SETS[feature // 3], s=25)
        axes.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1), xticks=[], yticks=[], zticks=[])
        axes.set_title(f"step {int(kept.step[moment]):,}", fontsize=9)
        axes.set_box_aspect((1, 1, 1))
    below = bottom.subplots()
    steps = stages.steps.clamp_min(1).numpy()
    for values, colour, label in (
        (stages.between, "#009E73", "between the sets' means"),
        (stages.within, "#CC79A7", "within a set"),
    ):
        below.plot(steps, values.numpy(), color=colour, lw=0.4, alpha=0.4)
        below.plot(steps, values.median(dim=1).values, color=colour, lw=2.5, label=label)
    for moment in moments:
        below.axvline(float(steps[moment]), color="0.7", lw=0.8, ls="--", zorder=0)
    below.set(xscale="log", xlabel="optimiser step", ylabel="cosine", ylim=(-1.05, 1.05))
    below.legend(fontsize=8, frameon=False)
    below.spines[["top", "right"]].set_visible(False)
    return figure


def moments_of(stages: Stages, instance: int) -> list[int]:
    """Four moments of one model: the start, the sets most apart as bundles, half way to the end, and the end."""
    bundled = (stages.within - stages.between)[:, instance]
    parted = int(bundled.argmax())
    last = len(stages.steps) - 1
    middle = (stages.within[parted, instance] + stages.within[-1, instance]) / 2
    later = (stages.within[parted:, instance] <= middle).nonzero().flatten()
    half = parted + int(later[0]) if len(later) else last
    return sorted({0, parted, half, last})
