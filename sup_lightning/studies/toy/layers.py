"""T14: functions of functions in two and three narrow layers, of which only the last is supervised."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any, cast

import pandas as pd
import torch
from torch import Tensor

from sup_lightning.data import SyntheticFeatures
from sup_lightning.errors import reject
from sup_lightning.experiment import Run
from sup_lightning.functional.intermediates import (
    binary_rows,
    interaction_directions,
    interaction_explained,
    interchange_effect,
)
from sup_lightning.functional.intervals import bootstrap_interval, seed_interval
from sup_lightning.modules import ToyModel
from sup_lightning.nn import BinaryCrossEntropy, DeepComputationModel
from sup_lightning.studies.study import Answer, Picture, Study
from sup_lightning.studies.toy.layers_plots import intermediates_figure, loss_figure
from sup_lightning.studies.verdict import Claim

SHALLOW, TWO, THREE = "t14_one-layer", "t14_two-layers", "t14_three-layers"
RESIDUAL, LINEAR, BCE = "t14_residual", "t14_linear-first", "t14_bce"
LABELS = {
    SHALLOW: "one layer, as many neurons",
    TWO: "two layers",
    THREE: "three layers",
    RESIDUAL: "two layers, residual",
    LINEAR: "two layers, the first linear",
    BCE: "two layers, cross-entropy",
}
BEATS = 0.9
"""Loss over naive loss that counts as computing more than the neurons allow, and deep over shallow loss that counts."""
READABLE, CAUSAL = 0.1, 0.25
"""How much more of a true intermediate than of another pair can be read, and does what it should if it is set."""
INTERCHANGE_ROWS = 2_048


class SeveralLayers(Study):
    """XORs of ANDs in layers of four neurons, with the intermediate ANDs looked for after the first.

    Args:
        n_features: Number of binary features, a multiple of 4: two for each AND, four for each output.
        n_hidden: Neurons of each layer; an even number, fewer than there are ANDs.
    """

    id = "T14"
    title = "Superposition in several layers"
    question = (
        "Do networks whose layers are narrower than what they have to compute on the way compute in superposition over "
        "several layers, and can what they compute on the way be found?"
    )
    hypothesis = (
        "Sixteen binary features, eight ANDs of pairs, four outputs that are each the XOR of two ANDs; only the "
        "outputs are supervised, and each layer has four neurons. The naive network of two or three layers computes "
        "two outputs exactly and the mean of the others. At the rarest features the loss is less than 0.9 of the naive "
        "one in two layers and in three, for the squared error and for cross-entropy. Two layers have at most 0.9 of "
        "the loss of one layer with as many neurons. After the first layer at least 0.1 more of the variance of a true "
        "AND, beyond what the features explain on their own, can be read linearly than of the AND of another pair of "
        "the same output; and setting it there changes the output as it should, by 0.25 of the right change or more "
        "beyond that of another pair. Only a loss below naive is called superposition."
    )
    revised = (
        "The losses of the first run showed one layer at half of its naive loss as it was first counted, with three "
        "neurons for each output or none. Two that are not shared nearly suffice, being wrong only where both ANDs "
        "hold. The naive loss now is the least over all ways to give neurons to outputs, with the best of one or two "
        "neurons found for one layer; those of the networks of the first three claims have not changed by that."
    )
    caveat = (
        "Disjoint pairs of independent binary features and a width that is half of what the intermediates need, so "
        "that a network has to give up half of the outputs or share neurons. Sizes are small enough for the loss over "
        "all 65,536 inputs to be exact; constructions with superposition in the literature need many more features "
        "than that, and rarer ones. The naive network is the best of those that were built by hand, not proven to be "
        "the best without shared neurons. Read-outs are linear: an intermediate that is there in another way is "
        "missed. Where training ends above the naive loss, a better network of the same shape is known and was not "
        "found: that is about training as much as about what neurons can hold. Larger and rarer tasks, other "
        "optimisers or many more seeds could turn the verdict."
    )
    experiments = (SHALLOW, TWO, THREE, RESIDUAL, LINEAR, BCE)
    minutes = (1, 3)

    def __init__(self, n_features: int = 16, n_hidden: int = 4) -> None:
        if n_features % 4 or not 8 <= n_features <= 16:
            reject("n_features", n_features, "8, 12 or 16")
        if n_hidden % 2 or not 2 <= n_hidden < n_features // 2:  # what one neuron over is good for is not counted
            reject("n_hidden", n_hidden, f"an even number, 2 or more, and fewer than the {n_features // 2} ANDs")
        self.n_features, self.n_hidden = n_features, n_hidden

    def overrides(self, experiment: str) -> dict[str, Any]:
        if (self.n_features, self.n_hidden) == (16, 4):
            return {}
        n_hidden = 2 * self.n_hidden if experiment == SHALLOW else self.n_hidden
        net = {"n_hidden": n_hidden, "n_outputs": self.n_features // 4}
        return {"data": {"n_features": self.n_features}, "model": {"net": net}}

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        found = {name: measure(run) for name, run in runs.items()}
        return Answer(
            claims=_claims(found),
            pictures={
                "loss": Picture(
                    loss_figure({LABELS[name]: m.ratio for name, m in found.items()}, found[TWO].p), LOSS_CAPTION
                ),
                "intermediates": Picture(
                    intermediates_figure(
                        {LABELS[name]: (m.read, m.read_other, m.effect, m.effect_other) for name, m in found.items()},
                        found[TWO].p.index(min(found[TWO].p)),
                    ),
                    INTERMEDIATES_CAPTION,
                ),
            },
            tables={"layers": pd.concat([_table(name, m) for name, m in found.items()])},
        )


def naive_neurons(net: DeepComputationModel) -> tuple[int, int]:
    """Neurons there are for the outputs, and how many of them compute one output exactly without being shared.

    One layer takes three neurons for an output (a ∧ b) ⊕ (c ∧ d): relu(a + b - 1), relu(c + d - 1) and
    relu(a + b + c + d - 3), of which the sum of the first two less twice the third is the XOR. With a second layer,
    which finds a XOR of two numbers by relu(s) - 2 relu(s - 1) of their sum s, the first takes two. A linear first
    layer leaves it to the neurons of the others to do it all. In the residual model the neurons of every layer see
    the features.
    """
    if net.residual:
        return net.n_layers * net.n_hidden, 3
    deep = net.n_layers - (net.first_activation == "linear") > 1
    return net.n_hidden, 2 if deep else 3


@dataclass(frozen=True)
class Measured:
    """What the models of one run compute; leading axes are `[n_points, n_seeds]`.

    Attributes:
        p: Feature probability of each point.
        loss: Expected loss, exact.
        naive: That of the naive network, `[n_points]`.
        read: Share of the true intermediates' own variance that can be read after the first layer, mean over them.
        read_other: The same of other pairs of the same output.
        effect: Share of the right change of the output if an intermediate is set there.
        effect_other: The same of other pairs, as if they were the intermediate.
    """

    p: list[float]
    loss: Tensor
    naive: Tensor
    read: Tensor
    read_other: Tensor
    effect: Tensor
    effect_other: Tensor

    @property
    def ratio(self) -> Tensor:
        """Loss over naive loss."""
        return self.loss / self.naive.unsqueeze(-1)


def measure(run: Run) -> Measured:
    """Exact losses over all inputs, and what is left of the intermediates after the first layer."""
    model, data = run.toy, cast(SyntheticFeatures, run.data)
    net, shape = cast(DeepComputationModel, model.net), (model.sweep.n_points, model.sweep.n_seeds)
    p = [round(float(value), 6) for value in data.feature_probability[:: shape[1], 0]]
    true, other, output_of = pairs_of_blocks(data.n_features)
    pairs = torch.cat([true, other])
    rows, _ = binary_rows(data.n_features, p[0])
    states = net.states(rows.expand(net.n_instances, -1, -1))
    outputs, targets = net.read(states[-1], net.n_layers), data.task(rows.mT).mT.expand(net.n_instances, -1, -1)
    losses = model.objective.row_losses(outputs, targets, model.importance).unflatten(0, shape)
    first = states[0].unflatten(0, shape)
    probability = torch.stack([binary_rows(data.n_features, each)[1] for each in p])
    read, directions = (
        torch.stack([of(first[k], rows, probability[k], p[k], pairs) for k in range(len(p))])
        for of in (interaction_explained, interaction_directions)
    )
    batch = data.batch("interchange", 0, range(INTERCHANGE_ROWS), INTERCHANGE_ROWS)
    effect = interchange_effect(
        lambda state: model.objective.prediction(net.read(state, 1)),
        net.states(batch.features)[0],
        directions.flatten(0, 1),
        batch.features[..., pairs].prod(dim=-1),
        1 - 2 * batch.targets[..., output_of],  # an XOR turns with either of its arguments
        output_of,
    ).unflatten(0, shape)
    loss = (losses * probability.unsqueeze(1)).sum(dim=-1)
    naive = torch.tensor([naive_loss_of(model, each) for each in p])
    parts = [part.mean(dim=-1) for quantity in (read, effect) for part in quantity.split([len(true), len(other)], -1)]
    return Measured(p, loss, naive, *parts)


def naive_loss_of(model: ToyModel, p: float) -> float:
    """Loss of the naive network: the least over all ways to give its neurons to outputs.

    Without neurons an output is its mean. With a second layer one neuron of the first finds that one AND holds and
    the other does not; in one layer one or two neurons do what they can, see `few_neurons`.
    """
    net = cast(DeepComputationModel, model.net)
    n_neurons, n_exact = naive_neurons(net)
    r = p * p
    one = r * (1 - r)  # that the first AND holds alone
    q, rest = 2 * one, one / (1 - one)
    if isinstance(model.objective, BinaryCrossEntropy):
        left = [_entropy(q), (1 - one) * _entropy(rest)]
    elif n_exact == 2:
        left = [q * (1 - q), (1 - one) * rest * (1 - rest)]
    else:
        left = [q * (1 - q), few_neurons(p, 1, net.residual), few_neurons(p, 2, net.residual)]
    left.append(0.0)
    given = combinations_with_replacement(range(len(left)), net.n_outputs)
    return min(sum(left[k] for k in each) for each in given if sum(each) <= n_neurons)


def few_neurons(p: float, n_neurons: int, reads_features: bool) -> float:
    """Least error of one output from relu(a + b - 1 - k (c + d)), and the same with the pairs changed, over k.

    Args:
        p: Feature probability.
        n_neurons: One or both of them.
        reads_features: Whether the readout also reads the features themselves.
    """
    u, v = torch.meshgrid(*[torch.arange(3.0, dtype=torch.float64)] * 2, indexing="ij")
    u, v = u.flatten(), v.flatten()  # how many of two features are active
    binomial = torch.tensor([(1 - p) ** 2, 2 * p * (1 - p), p * p], dtype=torch.float64)
    root = (binomial.unsqueeze(1) * binomial).flatten().sqrt().unsqueeze(1)
    target = ((u == 2) != (v == 2)).double().unsqueeze(1)
    others = [torch.ones_like(u)] + ([u, v] if reads_features else [])
    errors = []
    for k in torch.linspace(0, 0.5, 51, dtype=torch.float64):
        neurons = [(u - 1 - k * v).relu(), (v - 1 - k * u).relu()][:n_neurons]
        read = torch.stack(neurons + others, dim=1)
        weights = torch.linalg.lstsq(root * read, root * target).solution
        errors.append(float((root * (read @ weights - target)).square().sum()))
    return min(errors)


def _entropy(q: float) -> float:
    return -q * math.log(q) - (1 - q) * math.log(1 - q)


def pairs_of_blocks(n_features: int) -> tuple[Tensor, Tensor, Tensor]:
    """The ANDs, the other pairs within the four features of an output, and the output of each (ANDs first)."""
    first = torch.arange(0, n_features, 4).unsqueeze(1)
    true = torch.stack([first + torch.tensor([0, 2]), first + torch.tensor([1, 3])], dim=2).flatten(0, 1)
    other = torch.stack([first + torch.tensor([0, 0, 1, 1]), first + torch.tensor([2, 3, 2, 3])], dim=2).flatten(0, 1)
    return true, other, torch.cat([true, other])[:, 0] // 4


def _table(name: str, m: Measured) -> pd.DataFrame:
    """One row for each p: medians over seeds."""
    ratio, low, high = seed_interval(m.ratio)
    columns: dict[str, Any] = {"network": LABELS[name], "feature_probability": m.p}
    columns |= {"loss": m.loss.median(dim=1).values, "naive_loss": m.naive, "loss_over_naive": ratio}
    columns |= {"loss_over_naive_low": low, "loss_over_naive_high": high, "loss_over_naive_best": m.ratio.amin(dim=1)}
    for quantity in ("read", "read_other", "effect", "effect_other"):
        columns[quantity] = seed_interval(getattr(m, quantity))[0]
    return pd.DataFrame(columns)


def _claims(found: Mapping[str, Measured]) -> list[Claim]:
    two, shallow, linear = found[TWO], found[SHALLOW], found[LINEAR]
    rare = two.p.index(min(two.p))

    def median(values: Tensor) -> float:
        return float(values[rare].median())

    claims = []
    for name in (TWO, THREE, BCE):
        effect, low, high = (float(value) for value in seed_interval(found[name].ratio[rare]))
        claims.append(
            Claim(
                f"{LABELS[name]}: more is computed than the naive network can (p = {two.p[rare]:g})",
                effect,
                (low, high),
                (-math.inf, BEATS),
                f"naive network: 1; best of the seeds {float(found[name].ratio[rare].min()):.2f}; one layer with as "
                f"many neurons as two, against its own naive loss: {median(shallow.ratio):.2f}; the first layer "
                f"linear, against its own: {median(linear.ratio):.2f}",
                "loss over naive loss, median over seeds",
            )
        )
    deeper, low, high = (float(value) for value in seed_interval(two.loss[rare] / shallow.loss[rare]))
    claims.append(
        Claim(
            "two layers do better than one with as many neurons",
            deeper,
            (low, high),
            (-math.inf, BEATS),
            f"with the first layer linear: {float((linear.loss[rare] / shallow.loss[rare]).median()):.2f}; residual: "
            f"{float((found[RESIDUAL].loss[rare] / shallow.loss[rare]).median()):.2f}",
            "loss over that of one layer, the same seeds",
        )
    )
    for text, name, threshold, quantity in (
        ("intermediates can be read after the first layer", "read", READABLE, "R² beyond the features' own"),
        ("setting an intermediate there sets the output", "effect", CAUSAL, "share of the right change"),
    ):
        true, other = getattr(two, name), getattr(two, f"{name}_other")
        least, *ends = bootstrap_interval(lambda values: float(values.median(dim=-1).values.min()), true - other)
        claims.append(
            Claim(
                text,
                least,
                (ends[0], ends[1]),
                (threshold, math.inf),
                f"true ANDs {median(true):.2f}, other pairs of the same output {median(other):.2f} at p = "
                f"{two.p[rare]:g}; first layer linear: {median(getattr(linear, name)):.2f}",
                f"{quantity}, true ANDs less other pairs, median over seeds, least over p",
            )
        )
    return claims


LOSS_CAPTION = (
    "Loss over that of the naive network of the same shape, which shares no neurons, for rarer and rarer features. "
    "Only below the line is more computed than neurons allow. Dots are single models, lines medians over seeds."
)
INTERMEDIATES_CAPTION = (
    "What is left of the eight intermediate ANDs after the first layer, at the rarest features: how much of their own "
    "variance a linear readout finds (left), and how much of the right change of the output follows if one is set "
    "there (right). Grey: pairs of features of the same output that are no intermediate. Dots are single models."
)
