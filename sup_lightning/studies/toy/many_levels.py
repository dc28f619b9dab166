"""T13b: five outputs for each input, one for each of its levels, from fewer neurons than outputs."""

import math
from collections.abc import Mapping
from typing import Any, cast

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from sup_lightning.data import LevelOneHot, SyntheticFeatures
from sup_lightning.errors import reject
from sup_lightning.experiment import Run
from sup_lightning.functional.counting import growth_exponent
from sup_lightning.functional.intervals import bootstrap_interval, seed_interval
from sup_lightning.functional.naive import level_neurons, naive_loss, naive_n_exact
from sup_lightning.nn import ComputationModel
from sup_lightning.nn.activations import ToyActivationName
from sup_lightning.studies.study import Answer, Picture, Study
from sup_lightning.studies.toy.many_functions import Measured, finish, hidden_layer, measure
from sup_lightning.studies.toy.many_functions_plots import functions_over_width, responses
from sup_lightning.studies.verdict import Claim

WIDTHS = (4, 8, 12)
EXPERIMENTS = tuple(f"t13b_levels_w{width}" for width in WIDTHS)
MIDDLE = 8
"""The width at which functions are compared with the naive network's."""
N_LEVELS = 5
N_FEATURES = 8
BEATS = 0.9
"""Loss over that of the naive network that counts as computing more than it."""
MORE, FALL, FASTER = 1.25, 0.2, 1.2
"""Functions over the naive network's; rise of the loss ratio from rare to dense features; exponent of growth."""
ROOM = 0.9
"""Growth is measured over the widths, from the least on, that leave more than a tenth of the functions out."""


class ManyLevels(Study):
    """Indicators of five levels of each feature, over a sweep of widths and feature probabilities.

    Args:
        n_features: Number of features; the more, the fewer neurons there are to each.
        activation: Of the neurons.
    """

    id = "T13b"
    title = "Five outputs for each input"
    question = (
        "If features fire at one of five levels and each level has an output of its own, how many of these outputs do "
        "few neurons compute, and how does that number grow with the neurons?"
    )
    hypothesis = (
        "With outputs between 0 and 1 (a sigmoid) two neurons can tell the five levels of a feature apart, so a "
        "network that shares no neurons computes five functions for every two. At p = 0.03 networks do better: less "
        "than 0.9 of its loss at every width from 4 to 12 for eight features, and at least a quarter more functions "
        "with R² above 0.9 at 8 neurons. That takes rare features: at p = 0.3 the ratio of the losses is at least 0.2 "
        "more. The number of functions grows faster than that of the neurons, with an exponent of 1.2 or more, as "
        "long as nine tenths are not reached."
    )
    revised = (
        "The outputs were first meant to end in a ReLU. Trials, not of the committed size, showed that two thirds of "
        "these outputs die in training, whatever its rate, and that a sigmoid does not: the labels are 0 or 1, and the "
        "loss is still the squared error. Features went from ten to eight, widths from five to three, and 16 neurons, "
        "which then suffice for all functions, were left out. The thresholds are those from before the trials, which "
        "had shown ratios of 0.5 to 0.7 for 8 neurons at p = 0.03. A first run of the full size started the outputs at "
        "one half and had 1.0, 1.1 and 2.1 times the naive loss at 4, 8 and 12 neurons; the trials had started them "
        "near how rarely a label is 1, by a bias of -2, and so do the runs now, at two feature probabilities, no "
        "longer three."
    )
    caveat = (
        "Eight independent features at equally likely levels, small enough to train many; a real layer reads "
        "thousands, and what feeds it is itself in superposition. That more functions than neurons come out takes "
        "outputs with a non-linearity: with linear ones the loss cannot fall below the variance outside as many "
        "principal components as there are neurons, whatever these do, and a real layer writes linearly. R² above 0.9 "
        "is one threshold; a network that gives each function a vague guess can have a low loss and few functions. "
        "Longer training would help these, and wider networks with more features would tell whether the exponent is "
        "that of a law."
    )
    experiments = EXPERIMENTS
    minutes = (1, 3)

    def __init__(self, n_features: int = N_FEATURES, activation: ToyActivationName = "relu") -> None:
        if n_features * level_neurons(N_LEVELS) <= max(WIDTHS):
            fewest = max(WIDTHS) // level_neurons(N_LEVELS) + 1
            reject("n_features", n_features, f"{fewest} or more, as {max(WIDTHS)} neurons compute all else")
        self.n_features, self.activation = n_features, activation

    def overrides(self, experiment: str) -> dict[str, Any]:
        changed: dict[str, Any] = {}
        if self.n_features != N_FEATURES:
            changed["data"] = {"n_features": self.n_features}
            changed["model"] = {"net": {"n_outputs": self.n_features * N_LEVELS}}
        if self.activation != "relu":
            changed.setdefault("model", {}).setdefault("net", {})["activation"] = self.activation
        return changed

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        found = [measure(runs[name], naive_levels) for name in EXPERIMENTS]
        return Answer(
            claims=_claims(found),
            pictures={
                "functions": Picture(_functions(found), FUNCTIONS),
                "responses": Picture(_responses(runs[EXPERIMENTS[WIDTHS.index(MIDDLE)]]), RESPONSES),
            },
            tables={"functions": pd.concat(map(table, found))},
        )


def naive_levels(features: Tensor, targets: Tensor, width: int) -> Tensor:
    """Loss without shared neurons: all levels of as many features as the neurons allow, the mean of the rest."""
    variance = targets.var(dim=0, correction=0).mean().expand(targets.shape[1])  # all are alike but for sampling
    return naive_loss(variance, torch.ones(1), naive_count(width))


def naive_count(width: int) -> int:
    """Functions that the naive network computes: five for every two neurons, and one for a neuron left over."""
    return N_LEVELS * naive_n_exact(width, level_neurons(N_LEVELS)) + width % level_neurons(N_LEVELS)


def table(m: Measured) -> pd.DataFrame:
    """One row for each p of one width: medians over seeds."""
    ratio, low, high = seed_interval(m.ratio)
    return pd.DataFrame(
        {
            "width": m.width,
            "feature_probability": m.p,
            "loss_over_naive": ratio,
            "loss_over_naive_low": low,
            "loss_over_naive_high": high,
            "loss_over_naive_best": m.ratio.amin(dim=1),
            "loss_over_linear_floor": seed_interval(m.loss / m.floor.unsqueeze(1))[0],
            "random_loss_over_naive": seed_interval(m.random_loss / m.naive.unsqueeze(1))[0],
            "functions": seed_interval(m.count)[0],
            "functions_most": m.count.amax(dim=1),
            "mean_explained": m.explained.nanmean(dim=(1, 2)),
            "functions_read_linearly": seed_interval(m.probed)[0],
            "functions_of_random_neurons": seed_interval(m.random_ridge)[0],
            "functions_of_random_neurons_trained": seed_interval(m.random_trained)[0],
            "functions_permuted": seed_interval(m.permuted)[0],
        }
    )


def largest_median(values: Tensor) -> float:
    """Over widths, of the median over seeds of `[n_widths, n_seeds]`."""
    return float(values.median(dim=-1).values.max())


def growth(counts: Tensor) -> float:
    """The exponent with which the mean over seeds of counts `[n_widths, n_seeds]` grows with the width."""
    widths = torch.tensor(WIDTHS[: len(counts)], dtype=torch.float32)
    return float(growth_exponent(widths, counts.mean(dim=-1))) if len(counts) > 1 else math.nan


def _claims(found: list[Measured]) -> list[Claim]:
    p = found[0].p
    rare, dense = p.index(min(p)), p.index(max(p))
    middle = found[WIDTHS.index(MIDDLE)]
    ratios = torch.stack([m.ratio[rare] for m in found])
    worst, *worst_ends = bootstrap_interval(largest_median, ratios)
    random = torch.stack([m.random_loss[rare] / m.naive[rare] for m in found])
    more, *more_ends = (float(value) for value in seed_interval(middle.count[rare] / naive_count(middle.width)))
    fall, *fall_ends = (float(value) for value in seed_interval(middle.ratio[dense] - middle.ratio[rare]))
    n_functions = middle.explained.shape[-1]
    room = [found[0]] + [m for m in found[1:] if float(m.count[rare].median()) < ROOM * n_functions]
    exponent, *exponent_ends = bootstrap_interval(growth, torch.stack([m.count[rare] for m in room]))
    random_growth = growth(torch.stack([m.random_trained[rare] for m in found]))

    def median(values: Tensor) -> str:
        return f"{float(values.median()):g}"

    return [
        Claim(
            f"rare features: at every width more is computed than without shared neurons (p = {p[rare]:g})",
            worst,
            (worst_ends[0], worst_ends[1]),
            (-math.inf, BEATS),
            f"naive network: 1; random neurons with a trained sigmoid readout: "
            f"{random.median(dim=1).values.min():.2f} to {random.median(dim=1).values.max():.2f}; with linear outputs "
            f"no network of {middle.width} neurons can have less than "
            f"{float(middle.floor[rare] / middle.naive[rare]):.2f}",
            "loss over naive loss, median over seeds, largest over widths",
        ),
        Claim(
            f"{middle.width} neurons compute more functions than the naive network",
            more,
            (more_ends[0], more_ends[1]),
            (MORE, math.inf),
            f"functions of {n_functions}: naive {naive_count(middle.width)}, trained "
            f"{median(middle.count[rare])}, random neurons {median(middle.random_ridge[rare])} (ridge) and "
            f"{median(middle.random_trained[rare])} (trained sigmoid readout), "
            f"permuted targets {median(middle.permuted[rare])}",
            "functions with R² above 0.9, over the naive network's",
        ),
        Claim(
            "it takes rare features",
            fall,
            (fall_ends[0], fall_ends[1]),
            (FALL, math.inf),
            f"at p = {p[rare]:g} the ratio is {float(middle.ratio[rare].median()):.2f}",
            f"loss over naive loss at p = {p[dense]:g} less that at p = {p[rare]:g}, {middle.width} neurons",
        ),
        Claim(
            "functions grow faster than neurons",
            exponent,
            (exponent_ends[0], exponent_ends[1]),
            (FASTER, math.inf),
            f"naive network: 1; random neurons with a trained readout, all widths: {random_growth:.2f} "
            "(nan: none computed at some width)",
            f"exponent a of functions ~ neurons^a at p = {p[rare]:g}, {room[0].width} to {room[-1].width} neurons",
        ),
    ]


FUNCTIONS = (
    "Left: how many of the outputs are computed (R² above 0.9) by networks of few neurons, for rarer and rarer "
    "features; dots are single models, lines medians over seeds. Grey: a network that shares no neurons. Crosses: as "
    "many random neurons with the best readout found. Right: the loss over that of the network that shares none; below "
    "1 more is computed."
)
RESPONSES = (
    "What the best of the models with eight neurons, at the rarest features, answers if one feature alone fires, at "
    "one level after the other (rows): all outputs (columns). A diagonal is what is wanted. Boxes hold the five levels "
    "of a feature; without shared neurons four of them could be right."
)


def _functions(found: list[Measured]) -> Figure:
    return functions_over_width(found, [naive_count(m.width) for m in found])


def _responses(run: Run) -> Figure:
    model, data = run.toy, cast(SyntheticFeatures, run.data)
    net, levels = cast(ComputationModel, model.net), cast(LevelOneHot, data.task).levels
    n_seeds, rare = model.sweep.n_seeds, int(data.feature_probability[:, 0].argmin())
    losses = torch.tensor(run.final["loss"].to_numpy())[rare : rare + n_seeds]
    best = rare + int(losses.argmin())
    one = torch.block_diag(*[torch.tensor(levels).unsqueeze(1)] * data.n_features)
    hidden = hidden_layer(net, one, slice(best, best + 1))[0]
    output = finish(net, hidden @ net.W_out[best].T + net.b[best])
    return responses(output, len(levels), f"feature, at level 1 to {len(levels)}")
