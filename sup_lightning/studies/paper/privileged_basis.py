"""M09: a ReLU on the hidden layer makes neurons matter (Elhage et al. 2022, "Superposition in a Privileged Basis")."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from sup_lightning.data import SyntheticFeatures
from sup_lightning.experiment import Run
from sup_lightning.functional.basis import participation, random_rotations, rotation_spread
from sup_lightning.functional.dimensionality import represented_features
from sup_lightning.functional.intervals import bootstrap_interval
from sup_lightning.functional.reconstruction import weighted_squared_error
from sup_lightning.nn import BottleneckModel
from sup_lightning.studies.active_rows import expected_loss
from sup_lightning.studies.study import Answer, Comparison, Picture, Study
from sup_lightning.studies.verdict import Claim

RELU, LINEAR = "m09_relu-hidden", "m09_linear-hidden"
ONE_FEATURE = 0.9
"""A neuron is monosemantic if one feature has more than this share of its squared weights …"""
ALIVE = 0.5
"""… and its weights are longer than this."""
LEAST_SPREAD = 0.1
"""Of the loss over rotations: a tenth more somewhere."""
DENSE_SHARE, SPARSE_SHARE = 0.8, 0.2
"""Monosemantic neurons: at least four of five at the densest features, at most one at the rarest."""
MOST_SEEDS = 100
"""Seeds of each point whose loss is measured under rotations, and that are measured at a time."""
PUBLISHED = {0.75: "5", 0.35: "3", 0.15: "2", 0.12: "1", 0.06: "0", 0.03: "0", 0.01: "0"}
"""Monosemantic neurons of the published best models: 3 features in 2 neurons at .2 to .5, 5 in 3 at .15 and so on."""


class PrivilegedBasis(Study):
    """Neurons of the model with a ReLU on its hidden layer, over a sweep of the feature probability."""

    id = "M09"
    title = "Neurons as a privileged basis"
    question = (
        "Does a ReLU on the hidden layer make single neurons stand for features, for one each when features are dense "
        "and for several when they are sparse?"
    )
    hypothesis = (
        "With the ReLU, turning the hidden space raises the loss by a tenth or more at every feature probability; "
        "without it by nothing. In the best model of all seeds at least four of five neurons stand for one feature at "
        "p = 0.75, and at most one at p = 0.01."
    )
    revised = (
        "The best model was first chosen by its loss on validation rows, few of which hold anything at p = 0.01; now "
        "by rows in which something fires. Untrained models with the ReLU were added to the control, as without the "
        "ReLU turning the hidden space cannot change the loss."
    )
    caveat = (
        "Five neurons and ten independent features, weights tied between reading and writing, and the best of many "
        "seeds by loss: typical seeds are worse and less tidy, and are shown beside it. In a real model a neuron's "
        "features are not known beforehand, and residual streams have no such non-linearity. Monosemantic means that "
        "one feature has nine tenths of a neuron's squared weights; a stricter rule moves the counts in between, and "
        "would change the verdict if dense models failed it."
    )
    experiments = (RELU, LINEAR)
    minutes = (2, 22)

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        relu, linear = _measured(runs[RELU]), _measured(runs[LINEAR])
        p, W = relu.p, relu.W
        table = pd.concat([_table(relu, "relu"), _table(linear, "linear")])
        best = W[torch.arange(len(p)), relu.loss.argmin(dim=1)]
        return Answer(
            claims=_claims(relu, linear),
            pictures={
                "neurons": Picture(_neurons(p, best), NEURONS),
                "counts": Picture(_counts(table), COUNTS),
            },
            tables={"neurons": table},
            comparisons=_comparisons(table),
        )


def monosemantic(W: Tensor) -> Tensor:
    """Whether each neuron stands for one feature, `[..., n_hidden]` bool, from W `[..., n_features, n_hidden]`."""
    squared = W.square()
    total = squared.sum(dim=-2)
    return (squared.amax(dim=-2) > ONE_FEATURE * total) & (total.sqrt() > ALIVE)


def share_monosemantic(W: Tensor) -> Tensor:
    """Share of monosemantic neurons of each model, `[...]`."""
    return monosemantic(W).float().mean(dim=-1)


def share_in_best(loss_and_share: Tensor) -> float:
    """The share in the model with the least loss, of `[2, n_seeds]`."""
    return float(loss_and_share[1, loss_and_share[0].argmin()])


def rotated_share(W: Tensor, n_rotations: int = 64) -> float:
    """Mean share of monosemantic neurons if the hidden space of W `[..., n_features, n_hidden]` is turned at random."""
    rotations = random_rotations(W.shape[-1], n_rotations).to(W)
    return float(torch.stack([share_monosemantic(W @ each).mean() for each in rotations]).mean())


@dataclass(frozen=True)
class Measured:
    """What a run says of its neurons.

    Attributes:
        p: Feature probability of each point.
        W: Directions `[n_points, n_seeds, n_features, n_hidden]`.
        loss: Expected loss `[n_points, n_seeds]`, over rows in which something fires: of the rows on which training was
            validated few have anything at p = 0.01, too few to find the best of a thousand seeds.
        spread: Of the loss over rotations, of the first seeds.
        spread_untrained: The same of the initial weights.
    """

    p: list[float]
    W: Tensor
    loss: Tensor
    spread: Tensor
    spread_untrained: Tensor


def _measured(run: Run) -> Measured:
    model, data = run.toy, cast(SyntheticFeatures, run.data)
    net, sweep = cast(BottleneckModel, model.net), model.sweep
    shape = (sweep.n_points, sweep.n_seeds)
    start = BottleneckModel(net.n_features, net.seeds, n_hidden=net.n_hidden, hidden_activation=net.hidden_activation)
    p = data.feature_probability[:: shape[1]]
    importance = model.importance.unflatten(0, shape)[:, :MOST_SEEDS]
    x = data.batch("validation", 0, range(data.val_batch_size), data.val_batch_size).features
    x = x.unflatten(0, shape)[:, :MOST_SEEDS].contiguous()

    def spread(of: BottleneckModel) -> Tensor:
        W, b = (each.detach().unflatten(0, shape)[:, :MOST_SEEDS].contiguous() for each in (of.W, of.b))

        def loss_of(W: Tensor) -> Tensor:
            hidden = x @ W
            output = (hidden.relu() if net.hidden_activation == "relu" else hidden) @ W.mT + b.unsqueeze(2)
            return weighted_squared_error(output.relu(), x, importance)

        return rotation_spread(loss_of, W, n_rotations=32)

    W, b = net.W.unflatten(0, shape), net.b.unflatten(0, shape)
    loss = torch.stack([_losses(W[k], b[k], net, model.importance[0], p[k], data) for k in range(shape[0])])
    points = [round(float(value), 6) for value in p[:, 0]]
    return Measured(points, W, loss, spread(net), spread(start))


def _losses(
    W: Tensor, b: Tensor, net: BottleneckModel, importance: Tensor, p: Tensor, data: SyntheticFeatures
) -> Tensor:
    """Expected loss of each seed of one point, `[n_seeds]` float64."""

    def of(W: Tensor, b: Tensor) -> Tensor:
        def squared_error(x: Tensor) -> Tensor:
            hidden = W.mT @ x
            hidden = hidden.relu() if net.hidden_activation == "relu" else hidden
            output = torch.baddbmm(b.unsqueeze(2), W, hidden).relu()
            return ((output - x).square().sum(dim=2) * importance).sum(dim=1)

        return expected_loss(squared_error, p, data, "privileged basis")

    parts = zip(W.split(MOST_SEEDS), b.split(MOST_SEEDS), strict=True)
    return torch.cat([of(*part) for part in parts]).double()


def _table(measured: Measured, hidden: str) -> pd.DataFrame:
    """One row for each p: the best model and the median over seeds."""
    W, loss = measured.W, measured.loss
    points, best = torch.arange(len(measured.p)), loss.argmin(dim=1)
    count = monosemantic(W).sum(dim=-1).float()
    kept = represented_features(W)
    neurons_of_feature = torch.where(kept, 1 / participation(W), torch.nan).nanmedian(dim=-1).values
    return pd.DataFrame(
        {
            "hidden": hidden,
            "feature_probability": measured.p,
            "monosemantic_best": count[points, best],
            "monosemantic_median": count.median(dim=1).values,
            "monosemantic_mean": count.mean(dim=1),
            "features_best": kept.sum(dim=-1)[points, best],
            "neurons_of_a_feature_best": neurons_of_feature[points, best],
            "loss_best": loss[points, best],
            "loss_median": loss.median(dim=1).values,
            "rotation_spread_median": measured.spread.median(dim=1).values,
            "rotation_spread_untrained_median": measured.spread_untrained.median(dim=1).values,
        }
    )


def _claims(relu: Measured, linear: Measured) -> list[Claim]:
    least, *ends = bootstrap_interval(lambda values: float(values.median(dim=-1).values.min()), relu.spread)
    untrained = relu.spread_untrained.median(dim=-1).values
    most_linear = float(linear.spread.median(dim=-1).values.max())
    claims = [
        Claim(
            "the ReLU privileges the neurons' basis at every p",
            least,
            (ends[0], ends[1]),
            (LEAST_SPREAD, math.inf),
            f"untrained models with the ReLU: {float(untrained.min()):.2g} to {float(untrained.max()):.2g}; without "
            f"the ReLU on the hidden layer, rounding alone: {most_linear:.1g} at most",
            "spread of the loss over rotations of the hidden space, (max - min) / min, median over seeds, least over p",
        )
    ]
    share, share_linear = share_monosemantic(relu.W), share_monosemantic(linear.W)
    for point, text, holds in (
        (int(np.argmax(relu.p)), "dense features: a neuron stands for one feature", (DENSE_SHARE, math.inf)),
        (int(np.argmin(relu.p)), "sparse features: a neuron stands for several", (-math.inf, SPARSE_SHARE)),
    ):
        effect, *ends = bootstrap_interval(share_in_best, torch.stack([relu.loss[point], share[point].double()]))
        without = share_in_best(torch.stack([linear.loss[point], share_linear[point].double()]))
        control = (
            f"without the ReLU: {without:.2f}; the same models turned at random: {rotated_share(relu.W[point]):.2f}; "
            f"mean over all seeds instead of the best: {float(share[point].mean()):.2f}"
        )
        quantity = f"share of monosemantic neurons in the best model at p = {relu.p[point]:g}"
        claims.append(Claim(text, effect, (ends[0], ends[1]), holds, control, quantity))
    return claims


def _comparisons(table: pd.DataFrame) -> list[Comparison]:
    rows = table[table["hidden"] == "relu"]
    found = zip(rows["feature_probability"], rows["monosemantic_best"], rows["monosemantic_mean"], strict=True)
    return [
        Comparison(
            f"monosemantic neurons of 5 in the best model, p = {p:g}",
            PUBLISHED[p],
            "",
            f"{best:.0f} (mean over seeds {mean:.1f})",
        )
        for p, best, mean in found
        if p in PUBLISHED
    ]


NEURONS = (
    "The best model of all seeds at each feature probability p: one bar for each neuron, its weights stacked (negative "
    "ones below the line), one colour and number for each feature, feature 0 being the most important. Neurons with a "
    "dot stand for one feature."
)
COUNTS = (
    "Left: monosemantic neurons of five against the feature probability, in the best model and on average over seeds, "
    "with and without the ReLU on the hidden layer. Right: how much more the loss is in some turned basis than in the "
    "best, median over seeds; without the ReLU only rounding is left."
)


def _neurons(p: list[float], best: Tensor) -> Figure:
    figure = Figure(figsize=(1.75 * len(p) + 0.6, 3.6), layout="constrained")
    panels = figure.subplots(1, len(p), sharey=True)
    colours = colormaps["viridis"](np.linspace(0, 1, best.shape[1]))
    for axes, value, W in zip(panels, p, best, strict=True):
        order = W.abs().amax(dim=0).sort(descending=True).indices
        order = order[W.abs().argmax(dim=0)[order].argsort(stable=True)]
        _stack(axes, W[:, order].numpy(), colours, monosemantic(W)[order].tolist())
        axes.set_title(f"p = {value:g}\n{represented_features(W).sum()} features", fontsize=9)
        axes.set_xlabel("neuron", fontsize=9)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
    panels[0].set_ylabel("weights")
    return figure


def _stack(axes: Axes, W: np.ndarray, colours: np.ndarray, single: list[bool]) -> None:
    """Bars of the neurons' weights `[n_features, n_hidden]`, and dots over those that are monosemantic."""
    neurons = np.arange(W.shape[1])
    for part in (np.maximum(W, 0), np.minimum(W, 0)):
        base = np.zeros(len(neurons))
        for feature, weights in enumerate(part):
            axes.bar(neurons, weights, 0.8, base, color=colours[feature], edgecolor="white", lw=0.5)
            for neuron in np.flatnonzero(np.abs(weights) > 0.3).tolist():
                middle = base[neuron] + weights[neuron] / 2
                white = "white" if feature < 0.6 * len(W) else "black"
                axes.text(neuron, middle, str(feature), ha="center", va="center", fontsize=7, color=white)
            base += weights
        if part.max() > 0:
            axes.plot(neurons[single], base[single] + 0.12, "o", color="#D55E00", ms=5)
    axes.axhline(0, color="0.3", lw=0.8)
    axes.set_xticks([])


def _counts(table: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for hidden, colour, label in (
        ("relu", "#D55E00", "ReLU hidden layer"),
        ("linear", "#0072B2", "linear hidden layer"),
    ):
        rows = table[table["hidden"] == hidden]
        p = rows["feature_probability"]
        left.plot(p, rows["monosemantic_best"], "o-", color=colour, lw=2, label=f"{label}, best model")
        left.plot(p, rows["monosemantic_mean"], "o--", color=colour, lw=1.2, ms=4, mfc="white", label=f"{label}, mean")
        right.plot(p, rows["rotation_spread_median"].clip(lower=1e-8), "o-", color=colour, lw=2, label=label)
    left.set(ylabel="monosemantic neurons of 5", ylim=(-0.2, 5.4))
    right.axhline(LEAST_SPREAD, color="0.6", lw=1, ls=":")
    right.annotate(
        "least that counts", (0.75, LEAST_SPREAD), (0, 3), textcoords="offset points", fontsize=7, color="0.4"
    )
    right.set(yscale="log", ylabel="spread of the loss over rotations")
    for axes in (left, right):
        axes.set(xscale="log", xlabel="feature probability p (rarer to the right)")
        axes.invert_xaxis()
        axes.set_xticks(p, [f"{value:g}" for value in p], fontsize=8, rotation=45)
        axes.minorticks_off()
        axes.legend(fontsize=8, frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
