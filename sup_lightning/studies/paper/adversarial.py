"""M08: how easily a model in superposition is attacked (Elhage et al. 2022, "Superposition & Adversarial Examples")."""

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from sup_lightning.data import SyntheticFeatures
from sup_lightning.experiment import Run
from sup_lightning.functional.adversarial import attack_strength, attacked_loss, vulnerability
from sup_lightning.functional.correlation import rank_correlation
from sup_lightning.functional.dimensionality import dimensions_per_feature
from sup_lightning.functional.intervals import bootstrap_interval, seed_interval
from sup_lightning.functional.keyed_random import keyed_normal
from sup_lightning.functional.reconstruction import weighted_squared_error
from sup_lightning.nn import BottleneckModel
from sup_lightning.studies.study import Answer, Comparison, Picture, Study
from sup_lightning.studies.verdict import Claim

LEAST_RISE = 3.0
LEAST_CORRELATION = 0.9
EXPERIMENT = "m08_adversarial"


class AdversarialVulnerability(Study):
    """Vulnerability to an L2 attack, against features per dimension, over a sweep of the feature probability."""

    id = "M08"
    title = "Superposition and adversarial vulnerability"
    question = (
        "Does superposition make a model vulnerable to small adversarial inputs, in step with features per dimension?"
    )
    hypothesis = (
        "An attack as long as a tenth of the mean input costs more than 3 times what it costs a model without "
        "superposition, at some feature probability; and over the sweep vulnerability and features per dimension have "
        "a rank correlation above 0.9."
    )
    caveat = (
        "Inputs are independent features in their own basis, so the attacker writes on every feature directly; in a "
        "real model an attack passes through layers and need not reach features one by one. The sweep changes the data "
        "as well as the packing, so the correlation says that the two rise together, not which causes which. The "
        "attack is the paper's analytic one, one direction for all inputs; a stronger attack would raise every number. "
        "A real model in which features that interfere more are not easier to attack would change the verdict."
    )
    experiments = (EXPERIMENT,)
    minutes = (3, 9)

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        run = runs[EXPERIMENT]
        model, data = run.toy, cast(SyntheticFeatures, run.data)
        net = cast(BottleneckModel, model.net)
        shape = (model.sweep.n_points, model.sweep.n_seeds)
        trained = measured(net.W, net.b, data).view(3, *shape)
        fresh = BottleneckModel(net.n_features, net.seeds, net.n_hidden)
        first = measured(fresh.W, fresh.b, data).view(3, *shape)
        table = _table(data.feature_probability[:: shape[1], 0], trained)
        return Answer(
            claims=_claims(table, trained, first),
            pictures={"vulnerability": Picture(_figure(table, trained), CAPTION)},
            tables={"vulnerability": table},
            comparisons=_comparisons(trained),
        )


def measured(W: Tensor, b: Tensor, data: SyntheticFeatures) -> Tensor:
    """Vulnerability, that to random directions, and features per dimension 1/D*, `[3, n_instances]`.

    The unit of vulnerability is what the attack costs a model that keeps n_hidden features exactly and drops the rest:
    the square of its length.
    """
    batches = [
        data.batch("validation", k, range(data.val_batch_size), data.val_batch_size) for k in range(data.val_batches)
    ]
    costs = [torch.stack([_cost(W[k], b[k], [batch.features[k] for batch in batches]) for k in range(len(W))], dim=1)]
    return torch.cat([*costs, 1 / dimensions_per_feature(W)[None]])


def _cost(W: Tensor, b: Tensor, rows: list[Tensor]) -> Tensor:
    """Of one instance: vulnerability under the analytic attack, and under the worst of as many random directions."""
    x, one = torch.cat(rows).contiguous(), torch.ones(len(b))

    def forward(features: Tensor) -> Tensor:
        return torch.relu(features @ W @ W.mT + b)

    strength = attack_strength(x)
    clean = weighted_squared_error(forward(x), x, one)
    attacked = attacked_loss(forward, x, x, one, W, strength)
    aimless = strength * torch.nn.functional.normalize(keyed_normal("attack", [0], 0, (len(b), len(b)))[0], dim=-1)
    both = torch.cat([aimless, -aimless])  # as many as the attack chooses from
    random = torch.stack([weighted_squared_error(forward(x + each), x, one) for each in both]).max()
    reference = torch.tensor(0.0), strength.square()
    return torch.stack([vulnerability(clean, each, *reference) for each in (attacked, random)])


def tracking(values: Tensor) -> float:
    """Rank correlation of the two rows of `[2, ...]`."""
    return rank_correlation(values[0], values[1])


def highest(values: Tensor) -> float:
    """The largest median over seeds of `[n_points, n_seeds]`."""
    return float(values.median(dim=-1).values.max())


def _table(p: Tensor, trained: Tensor) -> pd.DataFrame:
    columns: dict[str, Any] = {"feature_probability": p.tolist()}
    for name, values in zip(("vulnerability", "to_random_direction", "features_per_dimension"), trained, strict=True):
        columns |= dict(zip((name, f"{name}_low", f"{name}_high"), seed_interval(values), strict=True))
    return pd.DataFrame(columns).astype(float)


def _claims(table: pd.DataFrame, trained: Tensor, first: Tensor) -> list[Claim]:
    rise, *rise_ends = bootstrap_interval(highest, trained[0])
    track, *track_ends = bootstrap_interval(tracking, trained[[0, 2]])
    at_one_p = [tracking(trained[[0, 2], point]) for point in range(trained.shape[1])]
    densest = table.iloc[int(table["feature_probability"].argmax())]
    return [
        Claim(
            "superposition makes an attack cost more than 3 times as much",
            rise,
            (rise_ends[0], rise_ends[1]),
            (LEAST_RISE, math.inf),
            f"models trained at p = {densest['feature_probability']:g}, where nothing is gained by superposition: "
            f"{densest['vulnerability']:.2f}; the worst of as many random directions of that length: at most "
            f"{highest(trained[1]):.2f}",
            "vulnerability at the p where its median over seeds is largest",
        ),
        Claim(
            "vulnerability rises with the number of features per dimension",
            track,
            (track_ends[0], track_ends[1]),
            (LEAST_CORRELATION, math.inf),
            f"the same models before training: {tracking(first[[0, 2]]):.2f}; among the trained models of one p, "
            f"which differ in the seed alone, mean over p: {np.mean(at_one_p):.2f}",
            "rank correlation over all models of the sweep",
        ),
    ]


def _comparisons(trained: Tensor) -> list[Comparison]:
    return [
        Comparison("largest vulnerability of the sweep", "> 3", "", f"{highest(trained[0]):.2f}"),
        Comparison(
            "vulnerability at the densest features (no superposition)", "1", "1", f"{float(trained[0, 0].median()):.2f}"
        ),
    ]


CAPTION = (
    "Left: what an attack along the worst single direction costs, in units of what it costs a model without "
    "superposition (1), and the number of features per dimension, for rarer and rarer features; lines are medians over "
    "seeds, dots are single models. Right: the two against each other, one dot for each model."
)
ATTACK, PACKING = "#D55E00", "#0072B2"


def _figure(table: pd.DataFrame, trained: Tensor) -> Figure:
    rarity = 1 / table["feature_probability"].to_numpy()
    figure = Figure(figsize=(9.2, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    shown = {
        "vulnerability": ("vulnerability", trained[0], ATTACK, "o"),
        "features_per_dimension": ("features per dimension, 1/D*", trained[2], PACKING, "s"),
    }
    for name, (label, values, colour, marker) in shown.items():
        left.plot(rarity, table[name], color=colour, lw=2, label=label)
        left.plot(rarity, values.numpy(), marker, color=colour, ms=3, alpha=0.45, mew=0)
    left.plot(
        rarity, table["to_random_direction"], color="0.55", lw=1.5, ls="--", label="vulnerability, random direction"
    )
    left.axhline(1, color="0.8", lw=1, zorder=0)
    left.set(xscale="log", yscale="log", xlabel="rarity of features, 1/p", ylabel="relative to no superposition")
    left.set_xticks(rarity, [f"{value:.3g}" for value in rarity], minor=False)
    left.minorticks_off()
    left.legend(fontsize=8, frameon=False)
    points = right.scatter(
        trained[2].flatten(),
        trained[0].flatten(),
        c=np.repeat(np.log10(rarity), trained.shape[2]),
        s=18,
        cmap="viridis",
    )
    right.set(xscale="log", yscale="log", xlabel="features per dimension, 1/D*", ylabel="vulnerability")
    marks = np.log10(rarity[:: max(1, len(rarity) // 5)])
    bar = figure.colorbar(points, ax=right, ticks=marks, label="rarity of features, 1/p")
    bar.ax.set_yticklabels([f"{10**mark:.3g}" for mark in marks])
    left.set_ylim(0.08, 10)
    for axes, ticks in ((left, [0.1, 0.3, 1, 3, 10]), (right, [1, 2, 3, 4, 5])):
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.spines[["top", "right"]].set_visible(False)
    right.set_xticks([1, 2, 3, 5, 8], ["1", "2", "3", "5", "8"])
    right.minorticks_off()
    return figure
