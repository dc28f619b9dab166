"""T12: a bottleneck that names features under a cross-entropy."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import pandas as pd
import torch
from torch import Tensor

from sup_lightning.data import ExactlyKActive, SoftLabel, SyntheticFeatures
from sup_lightning.errors import require_positive
from sup_lightning.experiment import Run
from sup_lightning.functional.dimensionality import feature_dimensionality, feature_norms
from sup_lightning.functional.intervals import bootstrap_interval, seed_interval
from sup_lightning.functional.keyed_random import keyed_uniform
from sup_lightning.nn import BottleneckModel, ClassifierModel
from sup_lightning.nn.optimum import find_optimum
from sup_lightning.studies.active_rows import active_rows, expected_loss
from sup_lightning.studies.study import Answer, Picture, Study
from sup_lightning.studies.toy.classification_figures import answers, geometry
from sup_lightning.studies.verdict import Claim

SOFT, UNTIED, SAMPLED, ONE, SQUARED = (
    "t12_soft",
    "t12_soft_untied",
    "t12_sampled",
    "t12_one-active",
    "t12_squared-error",
)
NORMS = {2: "t12_norm-2", 4: "t12_norm-4", 8: "t12_norm-8"}
MOST_ACTIVE, N_ROWS = 3, 4096
"""Active features up to which accuracy is measured, and rows for each number of them."""
LEAST_ACCURACY = 0.8
OVER_RANDOM = 0.75
"""Most excess over that of random directions."""
SAME = 0.1
"""Relative difference of the excess that counts as none."""
LEAST_SHARE = 0.5
"""Least D_i of a feature that has its share, over n_hidden / n_features."""
GROWTH, TOO_LONG = 1.1, 1.05
"""Least growth of the norm after two fifths of training that counts, and of the loss from the best norm on."""


def excess_nats(logits: Tensor, chance: Tensor) -> Tensor:
    """Cross-entropy above the labels' own entropy, in nats: the divergence of answers from chances, `[..., batch]`.

    Args:
        logits: `[..., n_labels, batch]`.
        chance: Of each label, broadcastable to that.
    """
    return (torch.special.xlogy(chance, chance) - chance * logits.log_softmax(dim=-2)).sum(dim=-2)


Answers = Callable[[Tensor], Tensor]
"""From features `[n_features, batch]` to logits or outputs `[n_seeds, n_outputs, batch]`."""


def answers_of(net: ClassifierModel | BottleneckModel, instances: slice) -> Answers:
    """What some instances of a network answer."""
    W, b = net.feature_directions().detach()[instances], net.b.detach()[instances].unsqueeze(2)
    if isinstance(net, BottleneckModel):
        return lambda x: (b + W @ (W.mT @ x)).relu()
    readout = net.readout().detach()[instances]

    def logits(x: Tensor) -> Tensor:
        of_features = b[:, :-1] + readout @ (W.mT @ x)
        return torch.cat([of_features, b[:, -1:].expand(-1, 1, x.shape[1])], dim=1)

    return logits


def accuracy_given_active(answer: Answers, n_features: int, k: int) -> Tensor:
    """Share of rows with k active features of which the largest has the highest output of all, `[n_seeds]`.

    "None" is no answer here: models without that label could else not be compared, and small features are rightly
    called none where most rows are silent.
    """
    law = ExactlyKActive(k)
    uniform = keyed_uniform("classification", [0], k, (law.n_draws(n_features), N_ROWS))[0]
    x = law.sample(uniform, torch.tensor(k / n_features))
    return (answer(x)[:, :n_features].argmax(dim=1) == x.argmax(dim=0)).double().mean(dim=1)


def excess_of(answer: Answers, p: Tensor, data: SyntheticFeatures) -> Tensor:
    """Expected excess of each seed over the law of the features, `[n_seeds]` float64."""

    def sum_of_rows(x: Tensor) -> Tensor:
        return excess_nats(answer(x), SoftLabel()(x)).double().sum(dim=-1)

    return expected_loss(sum_of_rows, p, data, "classification")


def excess_of_random(W: Tensor, norm: Tensor, p: Tensor, data: SyntheticFeatures) -> Tensor:
    """The same with directions that are not learned, of given lengths, and the best biases, `[n_seeds]`.

    Args:
        W: Directions `[n_seeds, n_features, n_hidden]` of any length.
        norm: Length of each seed's, `[n_seeds]`.
        p: Probability of each feature.
        data: Whose features.
    """
    net = ClassifierModel(W.shape[1], range(len(W)), n_hidden=W.shape[2]).double()
    with torch.no_grad():
        net.W.copy_(W / feature_norms(W).unsqueeze(2) * norm.view(-1, 1, 1))
    net.W.requires_grad_(False)
    law = data.features
    x = law.sample(keyed_uniform("fit", [0], 0, (law.n_draws(data.n_features), N_ROWS))[0], p.unsqueeze(-1)).double()
    chance = SoftLabel()(x)
    rows = x.mT.expand(len(W), -1, -1)
    find_optimum(net, lambda net: excess_nats(net(rows).mT, chance).mean(dim=-1), max_evaluations=40)
    return excess_of(answers_of(net.float(), slice(None)), p, data)


@dataclass(frozen=True)
class Measured:
    """An experiment; `[n_points, n_seeds]` unless said.

    Attributes:
        p: Feature probability of each point.
        W: Directions `[n_points, n_seeds, n_features, n_hidden]`.
        norm: Mean length of the directions.
        accuracy: Given 1, 2 … active features, `[n_points, n_seeds, MOST_ACTIVE]`.
        excess: Nats above the entropy of soft labels; None for squared errors.
        random: That of random directions of the same length; None as well.
        norms: Mean length after each epoch, `[n_epochs, n_points, n_seeds]`.
    """

    p: list[float]
    W: Tensor
    norm: Tensor
    accuracy: Tensor
    excess: Tensor | None
    random: Tensor | None
    norms: Tensor

    @classmethod
    def of(cls, run: Run) -> "Measured":
        """Measure a finished run."""
        data, sweep = cast(SyntheticFeatures, run.data), run.toy.sweep
        net = cast(ClassifierModel | BottleneckModel, run.toy.net)
        n_seeds, n = sweep.n_seeds, data.n_features
        points = [slice(k * n_seeds, (k + 1) * n_seeds) for k in range(sweep.n_points)]
        settings = data.feature_probability[::n_seeds]
        found = [answers_of(net, each) for each in points]
        W = net.feature_directions().detach().unflatten(0, (sweep.n_points, n_seeds))
        norm = feature_norms(W).mean(dim=-1)
        accuracy = [
            torch.stack([accuracy_given_active(each, n, k) for k in range(1, MOST_ACTIVE + 1)], -1) for each in found
        ]
        excess = random = None
        if isinstance(net, ClassifierModel):
            excess = torch.stack([excess_of(each, p, data) for each, p in zip(found, settings, strict=True)])
            start = ClassifierModel(n, sweep.axes["seed"], n_hidden=net.n_hidden).W.detach()
            random = torch.stack([excess_of_random(start, *each, data) for each in zip(norm, settings, strict=True)])
        by_epoch = run.instances.sort_values(["step", "instance"])["feature_norm"].to_numpy()
        norms = torch.tensor(by_epoch).view(-1, sweep.n_points, n_seeds)
        return cls(settings[:, 0].tolist(), W, norm, torch.stack(accuracy), excess, random, norms)

    @property
    def nats(self) -> Tensor:
        """The excess of a model with logits."""
        assert self.excess is not None
        return self.excess


class Classification(Study):
    """Bottlenecks that name the feature of a row.

    Args:
        n_features: Number of features; there is one more label, "none".
        n_hidden: Dimensions of the bottleneck.
    """

    id = "T12"
    title = "Classification with a cross-entropy"
    question = (
        "If a bottleneck has to name a feature, and is trained by cross-entropy in place of squared error, does it "
        "still put more features than dimensions into superposition, and which limits are left?"
    )
    hypothesis = (
        "Ten features, two dimensions, a label drawn in proportion to the features' sizes. At every p all features are "
        "told apart: shown alone, the right one is named of all in 80 % of the rows or more. The excess over the "
        "labels' entropy is at least a quarter lower than that of random directions of the same length with the best "
        "biases. Sampled labels leave the same excess as soft ones within 10 %. At a fixed length every feature has at "
        "least half of an equal share of the dimensions. Where only one feature is active, so that labels are certain, "
        "the directions still grow by 10 % or more after two fifths of training; where several are (p = 0.3) there is "
        "a best length, and the longest one tried costs 5 % more or worse."
    )
    revised = (
        "Accuracy was first that among all labels, none included: 68 % of rows with one active feature at the worst p "
        "(0.1), as small features are called none. It is now that among the features, as for the twin trained on "
        "squared error, which has no such label. The longest length was first to be 16 and the "
        "steps 2,000; they are 8 and 600, as compute was short: the steps were cut before any full run."
    )
    caveat = (
        "Features are independent and uniform, the network is linear up to the softmax, and 'none' has a bias alone. "
        "Soft labels depend on the ratio of sizes, which no linear logit can follow, so that some excess is left at "
        "any length. Lengths are fixed or free, not decayed; a weight decay would choose one of them. Classes of real "
        "models are not one feature each. Features that are dropped as under squared error, or a loss that random "
        "directions reach as well, would change the verdict."
    )
    experiments = (SOFT, UNTIED, SAMPLED, *NORMS.values(), ONE, SQUARED)
    minutes = (2, 3)

    def __init__(self, n_features: int = 10, n_hidden: int = 2) -> None:
        require_positive(n_features=n_features, n_hidden=n_hidden)
        self.n_features, self.n_hidden = n_features, n_hidden

    def overrides(self, experiment: str) -> dict[str, Any]:
        return {"data": {"n_features": self.n_features}, "model": {"net": {"n_hidden": self.n_hidden}}}

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        found = {name: Measured.of(run) for name, run in runs.items()}
        fixed = {norm: found[name] for norm, name in NORMS.items()}
        pictures = {
            "answers": Picture(answers(found[SOFT], found[SQUARED], found[ONE], fixed), ANSWERS),
            "geometry": Picture(geometry({name: found[name] for name in (SOFT, NORMS[4], SQUARED)}), GEOMETRY),
        }
        floor = entropy_floors(cast(SyntheticFeatures, runs[SOFT].data), found[SOFT].p)
        tables = {
            "points": pd.concat([_table(name, each) for name, each in found.items()]),
            "entropy": pd.DataFrame({"p": found[SOFT].p, "entropy of the labels (nats)": floor}),
        }
        return Answer(_claims(found, fixed), pictures, tables)


ANSWERS = (
    "Left: nats above the entropy of the labels against the length of the directions, median over seeds: fixed lengths "
    "(lines), learned ones (stars), and random directions with the best biases (crosses). Middle: share of rows in "
    "which the largest active feature is named, p = 0.1, all seeds. Right: length of the directions during training."
)
GEOMETRY = "Directions of the first seeds at p = 0.1: learned length, fixed length, and trained on squared error."


def entropy_floors(data: SyntheticFeatures, p: list[float]) -> list[float]:
    """Mean entropy of the soft labels in nats, for each p, on rows."""

    def of(setting: float) -> float:
        total, n_rows = 0.0, 0
        for x, drawn in active_rows(torch.full((data.n_features,), setting), data, "classification"):
            chance = SoftLabel()(x)
            total -= float(torch.special.xlogy(chance, chance).sum())
            n_rows += drawn
        return total / n_rows

    return [of(each) for each in p]


def _claims(found: Mapping[str, Measured], fixed: Mapping[int, Measured]) -> list[Claim]:
    soft, squared, one = found[SOFT], found[SQUARED], found[ONE]
    assert soft.random is not None

    def least(values: Tensor) -> Tensor:
        return values.median(dim=-1).values.min()

    def most(values: Tensor) -> Tensor:
        return values.median(dim=-1).values.max()

    def claim(
        text: str, statistic: Callable[[Tensor], Tensor], values: Tensor, holds: tuple[float, float], *rest: str
    ) -> Claim:
        effect, low, high = bootstrap_interval(statistic, values)
        return Claim(text, effect, (low, high), holds, *rest)

    difference = found[SAMPLED].nats / soft.nats - 1
    apart = found[UNTIED].nats / soft.nats
    dense = max(range(len(soft.p)), key=lambda k: soft.p[k])
    by_norm = torch.stack([each.nats[dense] for each in fixed.values()])  # [n_norms, n_seeds]
    early = max(0, len(one.norms) // 2 - 1)  # the second of five epochs
    growth, of_soft = (each.norms[-1] / each.norms[early] for each in (one, soft))
    grown = zip(seed_interval(of_soft)[0].tolist(), soft.p, strict=True)
    varies = float((soft.nats.std(dim=1) / soft.nats.mean(dim=1)).max())
    middle = fixed[4]
    n_features, n_hidden = middle.W.shape[-2:]
    share = feature_dimensionality(middle.W).amin(dim=-1) * n_features / n_hidden
    of_squared = feature_dimensionality(squared.W).amin(dim=-1) * n_features / n_hidden

    def widest(values: Tensor) -> Tensor:
        medians = values.median(dim=-1).values
        return medians[medians.abs().argmax()]

    def over_best(values: Tensor) -> Tensor:
        medians = values.median(dim=-1).values
        return medians[-1] / medians.min()

    return [
        claim(
            "all features are told apart when alone",
            least,
            soft.accuracy[..., 0],
            (LEAST_ACCURACY, math.inf),
            f"trained on squared error: {float(least(squared.accuracy[..., 0])):.2f}; guessing: {1 / n_features:.2f}",
            "share of rows with one active feature whose output is the highest, median over seeds, least over p",
        ),
        claim(
            "the directions are learned: random ones of the same length are worse",
            most,
            soft.nats / soft.random,
            (-math.inf, OVER_RANDOM),
            f"untied readout over tied: {float(least(apart)):.2f} to {float(most(apart)):.2f}",
            "excess nats over those of random directions with the best biases, median over seeds, most over p",
        ),
        claim(
            "sampled labels teach what soft ones do",
            widest,
            difference,
            (-SAME, SAME),
            f"between seeds the excess of soft labels varies by {varies:.0%}",
            "relative difference of the excess, median over seeds, the widest over p",
        ),
        claim(
            "at a fixed length every feature has its share of the dimensions",
            least,
            share,
            (LEAST_SHARE, math.inf),
            f"trained on squared error: {float(least(of_squared)):.2f}",
            "least D_i over n_hidden / n_features at length 4, median over seeds, least over p",
        ),
        claim(
            "certain labels make the directions grow without end",
            least,
            growth,
            (GROWTH, math.inf),
            "several active features: " + ", ".join(f"{each:.2f} at p = {p:g}" for each, p in grown),
            "length at the end over that after two fifths of training, one active feature, median over seeds",
        ),
        claim(
            f"uncertain labels have a best length (p = {soft.p[dense]:g})",
            over_best,
            by_norm,
            (TOO_LONG, math.inf),
            "excess at lengths "
            + ", ".join(f"{norm}: {float(each.median()):.3f}" for norm, each in zip(fixed, by_norm, strict=True))
            + f"; learned length {float(soft.norm[dense].median()):.1f}: {float(soft.nats[dense].median()):.3f}",
            "excess at the longest over that at the best length tried, medians over seeds",
        ),
    ]


def _table(name: str, found: Measured) -> pd.DataFrame:
    rows: dict[str, Any] = {"experiment": name, "p": found.p, "length": found.norm.median(dim=1).values}
    if found.excess is not None and found.random is not None:
        median, low, high = seed_interval(found.excess)
        rows |= {
            "excess nats": median,
            "low": low,
            "high": high,
            "of random directions": found.random.median(dim=1).values,
        }
    for k in range(MOST_ACTIVE):
        rows[f"accuracy given {k + 1} active"] = found.accuracy[..., k].median(dim=1).values
    D = feature_dimensionality(found.W)
    rows["D_i, least"] = D.amin(dim=-1).median(dim=1).values
    rows["D_i, median"] = D.median(dim=-1).values.median(dim=1).values
    return pd.DataFrame(rows)
