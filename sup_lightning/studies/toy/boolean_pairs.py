"""T05: can fewer neurons than pairs compute AND, OR and XOR of pairs of binary features?"""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from sup_lightning.errors import reject, require_positive
from sup_lightning.experiment import Run
from sup_lightning.functional.intervals import bootstrap_interval, seed_interval
from sup_lightning.functional.pairs import area_under_curve, interaction
from sup_lightning.nn.activations import ToyActivationName
from sup_lightning.studies.study import Answer, Picture, Study
from sup_lightning.studies.toy.boolean_figures import CALIBRATION, LOSSES, calibration, losses
from sup_lightning.studies.toy.pair_functions import PairMeasures, pair_measures
from sup_lightning.studies.verdict import Claim

AND, OR, XOR = "t05_and", "t05_or", "t05_xor"
LINEAR, ALL_PAIRS = "t05_and_linear-hidden", "t05_and_all-pairs"
RELU_OUTPUT, RELU_OUTPUT_LINEAR = "t05_or_relu-output", "t05_or_relu-output_linear-hidden"
NAMES = {
    AND: "AND",
    OR: "OR",
    XOR: "XOR",
    LINEAR: "AND, linear hidden layer",
    ALL_PAIRS: "AND of all pairs",
    RELU_OUTPUT: "OR, ReLU on the outputs",
    RELU_OUTPUT_LINEAR: "OR, ReLU on the outputs alone",
}
CLOSE = 0.1
"""Relative difference of a loss from another that still counts as none."""
COMPUTED = 0.5
"""Share of a function's interaction between its two features above which an output computes it."""
MISCOUNT = 1.0
"""Difference of the number of computed pairs from that of neurons that still counts as none."""
TOLD_APART = 0.9
"""Area under the curve from which a pair's function can be read off its output."""


class BooleanPairs(Study):
    """AND, OR and XOR of disjoint pairs of binary features by half as many neurons as pairs.

    Args:
        n_features: Number of features, half as many pairs; of the experiments with disjoint pairs.
        n_hidden: Number of neurons in these.
        activation: Of the neurons, except in the controls whose hidden layer is linear.
    """

    id = "T05"
    title = "AND, OR and XOR of pairs"
    question = "Can fewer neurons than pairs compute AND, OR and XOR of pairs of binary features?"
    hypothesis = (
        "With a linear readout, no: outputs are then combinations of as many functions as there are neurons, so for "
        "independent pairs no network leaves less than the variance of all pairs but one for each neuron. Trained "
        "networks come within a tenth of the best network that shares no neuron (the naive one), for AND, OR, XOR and "
        "for the AND of all pairs of 8 features, at every p; of the 12 ANDs as many are computed as there are neurons, "
        "give or take one, and the others are not. A ReLU on the outputs lets more through: ORs of rare features "
        "leave less than 0.9 of the naive loss, and at least a tenth less than with a linear hidden layer, so that it "
        "is the neurons that compute and not the output."
    )
    revised = (
        "Hypothesis and thresholds stand as they were before any number. Learning rate, initialisation and length of "
        "training were chosen on short runs of AND, in which the usual settings left it even farther from the naive "
        "network."
    )
    caveat = (
        "Training, not the neurons, may be what falls short where the loss is above naive: neurons of disjoint pairs "
        "die, as an AND is silent on most inputs, and longer training or another start would bring the loss nearer to "
        "the naive one, though never below it. "
        "Under squared error and a linear readout, what a neuron explains of one independent pair it cannot explain "
        "of another, so neurons gain nothing by sharing, whatever real networks do under losses that punish only large "
        "errors. The bound holds for any width and depth before a linear readout of few neurons; with more "
        "neurons than a readout's targets, or with a non-linear readout, it says nothing. Disjoint independent pairs "
        "are the hardest case: features of a real model take part in many functions, and the AND of all pairs is as "
        "near to that as 8 features come. Larger sizes would narrow the intervals and test sharing among more pairs "
        "than 28."
    )
    experiments = (AND, OR, XOR, LINEAR, ALL_PAIRS, RELU_OUTPUT, RELU_OUTPUT_LINEAR)
    minutes = (1, 2)

    def __init__(self, n_features: int = 24, n_hidden: int = 6, activation: ToyActivationName = "relu") -> None:
        require_positive(n_features=n_features, n_hidden=n_hidden)
        if n_features % 2:
            reject("n_features", n_features, "an even number, as its pairs are disjoint")
        self.n_features, self.n_hidden, self.activation = n_features, n_hidden, activation

    def overrides(self, experiment: str) -> dict[str, Any]:
        net: dict[str, Any] = {}
        if experiment not in (LINEAR, RELU_OUTPUT_LINEAR):
            net |= {"activation": self.activation}
        if experiment == ALL_PAIRS:
            return {"model": {"net": net}}
        net |= {"n_hidden": self.n_hidden, "n_outputs": self.n_features // 2}
        return {"data": {"n_features": self.n_features}, "model": {"net": net}}

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        measures = {name: pair_measures(run) for name, run in runs.items()}
        table = pd.concat([_table(measures[name], NAMES[name]) for name in self.experiments])
        return Answer(
            claims=_claims(measures),
            pictures={
                "loss": Picture(losses({NAMES[name]: m for name, m in measures.items()}), LOSSES),
                "calibration": Picture(calibration({NAMES[name]: m for name, m in measures.items()}), CALIBRATION),
            },
            tables={"boolean_pairs": table},
        )


def computed_share(m: PairMeasures) -> Tensor:
    """How much of the function's interaction each output has, `[n_points, n_seeds, n_pairs]`; 1 is all of it."""
    return interaction(m.mean) / interaction(m.target)


def n_computed(m: PairMeasures) -> Tensor:
    """Number of pairs that are computed, `[n_points, n_seeds]`."""
    return (computed_share(m) > COMPUTED).float().sum(dim=-1)


def areas(m: PairMeasures) -> Tensor:
    """How well each output tells rows where its function is 1 from others, `[n_points, n_seeds, n_pairs]`."""
    on = m.target > 0.5
    return torch.stack(
        [area_under_curve(m.outputs[k], m.probability[k] * on, m.probability[k] * ~on) for k in range(len(m.p))]
    )


def farthest_from(neutral: float, values: Tensor) -> float:
    """Of the medians over seeds of `[n_points, n_seeds]`, that which differs most from a neutral value."""
    medians = values.median(dim=-1).values
    return float(medians[(medians - neutral).abs().argmax()])


def _claims(measures: dict[str, PairMeasures]) -> list[Claim]:
    linear = measures[LINEAR]
    claims = []
    for name in (AND, OR, XOR, ALL_PAIRS):
        m = measures[name]
        effect, low, high = bootstrap_interval(lambda values: farthest_from(1.0, values), m.ratio)
        floor = m.floor / m.naive
        least = f"bound for any network: {float(floor.min()):.2f} to {float(floor.max()):.2f} of the naive loss"
        linear_ratio = linear.ratio.median(dim=1).values
        without = f"; linear hidden layer: {float(linear_ratio.min()):.2f} to {float(linear_ratio.max()):.2f}"
        claims.append(
            Claim(
                f"{NAMES[name]}, {m.n_pairs} pairs, {m.n_hidden} neurons: no better and no worse than unshared neurons",
                effect,
                (low, high),
                (1 - CLOSE, 1 + CLOSE),
                least + (without if name == AND else ""),
                "loss over naive loss, median over seeds, at the p where it is farthest from 1",
            )
        )
    return [*claims, _count_claim(measures[AND], linear), *_output_claims(measures)]


def _count_claim(m: PairMeasures, linear: PairMeasures) -> Claim:
    effect, low, high = bootstrap_interval(lambda values: farthest_from(0.0, values), n_computed(m) - m.n_hidden)
    told = (areas(m) > TOLD_APART).float().sum(dim=-1).mean(dim=-1)
    told_linear = (areas(linear) > TOLD_APART).float().sum(dim=-1).mean(dim=-1)
    return Claim(
        "as many ANDs are computed as there are neurons",
        effect,
        (low, high),
        (-MISCOUNT, MISCOUNT),
        f"linear hidden layer: {float(n_computed(linear).mean()):.1f} are. Areas under the curve hardly tell: above "
        f"{TOLD_APART} for {float(told.min()):.1f} to {float(told.max()):.1f} pairs, and for "
        f"{float(told_linear.min()):.1f} to {float(told_linear.max()):.1f} with the linear hidden layer, as a sum puts "
        "(1,1) first as well",
        f"pairs with more than half of the interaction, less {m.n_hidden}; median over seeds, at the p where it is "
        "farthest from 0",
    )


def _output_claims(measures: dict[str, PairMeasures]) -> list[Claim]:
    relu, without = measures[RELU_OUTPUT], measures[RELU_OUTPUT_LINEAR]
    rarest = min(range(len(relu.p)), key=lambda point: relu.p[point])
    ratio, *ends = (float(value) for value in seed_interval(relu.ratio[rarest]))
    loss, loss_without = (m.pair_loss.sum(dim=-1)[rarest] for m in (relu, without))
    gain, *gain_ends = (float(value) for value in seed_interval(loss / loss_without))
    return [
        Claim(
            "with a ReLU on the outputs, ORs of rare features cost less than with unshared neurons",
            ratio,
            (ends[0], ends[1]),
            (-math.inf, 1 - CLOSE),
            f"linear readout: {float(measures[OR].ratio[rarest].median()):.2f}; ReLU on the outputs, linear hidden "
            f"layer: {float(without.ratio[rarest].median()):.2f}",
            f"loss over naive loss at p = {relu.p[rarest]:g}, median over seeds",
        ),
        Claim(
            "and it is the neurons that compute, not the outputs alone",
            gain,
            (gain_ends[0], gain_ends[1]),
            (-math.inf, 1 - CLOSE),
            "linear hidden layer: 1",
            f"loss over that with a linear hidden layer at p = {relu.p[rarest]:g}, median over seeds",
        ),
    ]


def _table(m: PairMeasures, name: str) -> pd.DataFrame:
    ratio, low, high = seed_interval(m.ratio)
    area = areas(m)
    means = m.mean.flatten(1, 2).mean(dim=1)
    computed = (computed_share(m) > COMPUTED).unsqueeze(-1)
    total = computed.sum(dim=(1, 2)).clamp_min(1)
    of_computed = torch.where(computed, m.mean, 0.0).sum(dim=(1, 2)) / total
    scatter = torch.where(computed, m.deviation, 0.0).sum(dim=(1, 2)) / total
    columns: dict[str, Any] = {
        "function": name,
        "feature_probability": m.p,
        "n_pairs": m.n_pairs,
        "n_neurons": m.n_hidden,
        "loss_over_naive": ratio,
        "loss_over_naive_low": low,
        "loss_over_naive_high": high,
        "loss_over_naive_best": m.ratio.amin(dim=1),
        "bound_over_naive": m.floor / m.naive,
        "variance_unexplained": m.unexplained.median(dim=1).values,
        "pairs_computed": n_computed(m).mean(dim=1),
        "area_under_curve_median": area.flatten(1).median(dim=1).values,
        "pairs_told_apart": (area > TOLD_APART).float().sum(dim=-1).mean(dim=1),
    }
    for state, label in enumerate(("00", "10", "01", "11")):
        columns[f"mean_output_{label}"] = means[:, state]
        columns[f"mean_output_{label}_computed"] = of_computed[:, state]
        columns[f"interference_{label}_computed"] = scatter[:, state]
    return pd.DataFrame(columns)
