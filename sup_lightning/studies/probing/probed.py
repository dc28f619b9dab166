"""Everything that is measured of a feature: probes dense and sparse, what they are compared with, and interchange."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations

import torch
from torch import Tensor

from sup_lightning.functional.class_statistics import Sums, linear_discriminant, mean_difference
from sup_lightning.functional.interchange import interchanged, matched_pairs, moved_as_far
from sup_lightning.functional.keyed_random import keyed_uniform
from sup_lightning.functional.linear_probes import (
    class_rates,
    logistic_direction,
    sparse_discriminants,
    without_direction,
)
from sup_lightning.functional.ranking import auc, auc_of_weights
from sup_lightning.functional.selectivity import random_directions
from sup_lightning.functional.text_rules import before
from sup_lightning.studies.probing.sample import N_FOLDS, Reading, Sample, read
from sup_lightning.studies.subjects import Subject

KS = (1, 2, 4, 8, 16, 32, 64)
"""Neurons that sparse probes read."""
FEW = 8
BEST, RANDOM = f"best {FEW} neurons", f"{FEW} random neurons"
N_DRAWS = 5
"""Random rotations, and shuffles of the labels."""
N_PLACEBOS = 20
"""Directions that mean nothing, along which neurons are moved as far as along the probe."""
N_PAIRS = 400
"""Most pairs of tokens whose neurons are interchanged, each pair in both directions."""
FEWEST_PAIRS = 20
N_FITTED = 4
"""Training folds that probes are fitted to while their regularisation is chosen on the others."""
SHRINKAGES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.001)
"""Of the dense probe to choose from; at 1 it is the difference of the means."""

BASELINES = ("token", "initial weights", "shuffled labels")
"""What a probe is compared with; labels shuffled within documents leave what the kind of document gives away."""

Score = Callable[[Tensor], float]
"""AUC on the judged tokens as a function of the weight of each."""


@dataclass(frozen=True)
class Interchange:
    """How far next-token predictions move towards those of the other class, for each pair of tokens and direction.

    Attributes:
        base: `[n]`, the place among the judged tokens of the one whose neurons are changed.
        whole: `[n]`, the shift if all neurons are taken from the other token, along the mean shift of training pairs.
        along: Name of a direction to the shift if the coordinate along it alone is taken, `[n]`.
    """

    base: Tensor
    whole: Tensor
    along: dict[str, Tensor]

    def share(self, name: str, weights: Tensor) -> float:
        """Part of the shift by all neurons that one direction makes, with a weight for each judged token."""
        weight = weights[self.base].double()
        return float((weight @ self.along[name]) / (weight @ self.whole))

    def placebo(self, weights: Tensor) -> float:
        """Size of the share of a placebo, mean over draws."""
        return sum(abs(self.share(f"placebo {draw}", weights)) for draw in range(N_PLACEBOS)) / N_PLACEBOS


@dataclass(frozen=True)
class Probed:
    """What probes find of one feature.

    Attributes:
        counts: Judged tokens without and with the feature.
        auc: Of each probe or baseline by its name.
        sparse: Of the best k neurons for each of `KS`: `neurons`, `initial weights`, and of directions `rotation 0` ….
        cosines: Between the dense probes of two halves of the training documents, `[n_halvings]`.
        interchange: Nothing if too few pairs of equal tokens differ in the feature.
        neurons: The first `FEW` neurons that a sparse probe reads.
    """

    counts: tuple[int, int]
    auc: dict[str, Score]
    sparse: dict[str, list[Score]]
    cosines: Tensor
    interchange: Interchange | None
    neurons: list[int]

    def gap(self, weights: Tensor) -> float:
        """How far the probe is above the best of what needs no feature: token, document, untrained neurons."""
        return self.auc["probe"](weights) - max(self.auc[name](weights) for name in BASELINES)

    def share_of_few(self, weights: Tensor) -> float:
        """Part of the dense probe's distance from chance that `FEW` neurons keep."""
        return (self.sparse["neurons"][KS.index(FEW)](weights) - 0.5) / (self.auc["probe"](weights) - 0.5)

    def of_rotations(self, k: int, weights: Tensor) -> float:
        """AUC of k directions of a random rotation, mean over rotations."""
        return sum(self.sparse[f"rotation {draw}"][KS.index(k)](weights) for draw in range(N_DRAWS)) / N_DRAWS

    def lead_of_neurons(self, weights: Tensor) -> float:
        """AUC of `FEW` neurons less that of as many directions of a random rotation."""
        return self.sparse["neurons"][KS.index(FEW)](weights) - self.of_rotations(FEW, weights)

    def moved(self, weights: Tensor) -> float:
        """Share of the interchange along the probe, less the size of that of a placebo; NaN without pairs."""
        if self.interchange is None:
            return float("nan")
        return self.interchange.share("probe", weights) - self.interchange.placebo(weights)

    def enough_neurons(self, basis: str, weights: Tensor) -> float:
        """The least k of `KS` that keeps 95 % of the dense probe's distance from chance; infinite if none does."""
        wanted = 0.5 + 0.95 * (self.auc["probe"](weights) - 0.5)
        scores = self.sparse[basis]
        return next((k for k, score in zip(KS, scores, strict=False) if score(weights) >= wanted), float("inf"))


def probe_all(subject: Subject, sample: Sample, labels: Mapping[str, Tensor]) -> dict[str, Probed]:
    """Probe a model, and its initial weights, for each feature.

    Args:
        subject: The model.
        sample: The text.
        labels: Of each feature, `[N, T]`, -1 where a token is left out.
    """
    shuffled = {name: [sample.shuffled(label, draw) for draw in range(N_DRAWS)] for name, label in labels.items()}
    trained, initial = read(subject.net, sample, labels, shuffled), read(subject.initial, sample, labels)
    rotations = [random_directions(trained.judged.shape[1], draw) for draw in range(N_DRAWS)]
    found = {}
    for name, label in labels.items():
        probes = _Probes(name, label, sample, trained, initial)
        auc = probes.dense() | probes.shuffled([each[sample.judged] for each in shuffled[name]])
        found[name] = Probed(
            counts=(int((probes.truth == 0).sum()), int((probes.truth == 1).sum())),
            auc=auc | of_tokens(label, sample),
            sparse=probes.sparse(rotations),
            cosines=cosines_of_halves(trained.folds[name], probes.shrinkage),
            interchange=probes.interchange(),
            neurons=probes.neurons,
        )
    return found


def can_be_probed(labels: Tensor, sample: Sample, fewest: int) -> bool:
    """Whether there are enough tokens of both labels to fit to, and to judge; and some to choose the penalty with.

    Args:
        labels: `[N, T]`, -1 where a token is left out.
        sample: The text.
        fewest: Tokens of each label, both among the training tokens and among the judged ones.
    """
    fitted, kept = sample.part[sample.kept] < N_FITTED, labels[sample.kept]
    needed = [(labels[sample.training], fewest), (labels[sample.judged], fewest), (kept[fitted], 1), (kept[~fitted], 1)]
    return all(int((part == which).sum()) >= least for part, least in needed for which in (0, 1))


class _Probes:
    """Probes of one feature, fitted to the training tokens.

    Args:
        name: Of the feature.
        labels: `[N, T]`.
        sample: The text.
        trained: The model.
        initial: The same at its initial weights.
    """

    def __init__(self, name: str, labels: Tensor, sample: Sample, trained: Reading, initial: Reading) -> None:
        self.name, self.sample, self.trained, self.initial = name, sample, trained, initial
        self.truth, self.kept = labels[sample.judged], labels[sample.kept]
        self.sums = trained.sums(name)
        self.shrinkage = chosen_shrinkage(trained, name, self.kept, sample)
        self.probe = discriminant(self.sums, self.shrinkage)
        known = self.kept >= 0
        validation = sample.part[sample.kept][known] >= N_FITTED
        self.directions = {
            "probe": self.probe,
            "logistic regression": logistic_direction(trained.kept[known], self.kept[known], validation),
            "difference of means": mean_difference(self.sums.n, self.sums.first),
        }
        self.ks = [k for k in KS if k <= len(self.probe)]
        self.neurons = sparse_discriminants(self.sums, [min(FEW, len(self.probe))])[1].tolist()

    def score(self, direction: Tensor, reading: Reading | None = None) -> Score:
        """AUC of a direction `[d_mlp]`."""
        reading = self.trained if reading is None else reading
        return auc_of_weights(reading.judged @ direction.float(), self.truth)

    def dense(self) -> dict[str, Score]:
        """Of probes that read all neurons, and what is left when the first one's direction is removed."""
        rest = discriminant(without_direction(self.sums, self.probe), self.shrinkage)
        unit = self.probe / self.probe.norm()
        shrinkage = chosen_shrinkage(self.initial, self.name, self.kept, self.sample)
        untrained = discriminant(self.initial.sums(self.name), shrinkage)
        return {name: self.score(direction) for name, direction in self.directions.items()} | {
            "initial weights": self.score(untrained, self.initial),
            "probe removed": self.score(rest - (rest @ unit) * unit),
        }

    def shuffled(self, labels: Sequence[Tensor]) -> dict[str, Score]:
        """Of probes fitted to shuffled labels and judged on them, mean over draws."""
        draws = [
            auc_of_weights(self.trained.judged @ discriminant(sums, self.shrinkage).float(), drawn)
            for sums, drawn in zip(self.trained.shuffled[self.name], labels, strict=True)
        ]
        return {"shuffled labels": lambda weights: sum(draw(weights) for draw in draws) / len(draws)}

    def sparse(self, rotations: Sequence[Tensor]) -> dict[str, list[Score]]:
        """Of probes that read k neurons, or k directions of a rotation."""

        def curve(reading: Reading, basis: Tensor | None = None) -> list[Score]:
            sums = reading.sums(self.name)
            rows, _ = sparse_discriminants(sums if basis is None else sums.along(basis), self.ks)
            return [self.score(row if basis is None else basis.double() @ row, reading) for row in rows]

        curves = {"neurons": curve(self.trained), "initial weights": curve(self.initial)}
        return curves | {f"rotation {draw}": curve(self.trained, basis) for draw, basis in enumerate(rotations)}

    def _within_class_differences(self) -> Tensor:
        """Differences of two random training tokens of one class: as neurons vary, but not with the feature."""
        order = keyed_uniform("placebos", [0], 0, (len(self.kept),))[0].argsort()
        sides = [order[self.kept[order] == label] for label in (0, 1)]
        some = max(sides, key=len)[: 2 * N_PLACEBOS]
        return self.trained.kept[some[0::2]] - self.trained.kept[some[1::2]]

    def interchange(self) -> Interchange | None:
        """Neurons interchanged between equal tokens that differ in the feature."""
        tokens, trained = self.sample.windows.tokens, self.trained
        training = matched_pairs(tokens[self.sample.kept], self.kept, N_PAIRS)
        judged = matched_pairs(tokens[self.sample.judged], self.truth, N_PAIRS)
        if min(len(training[0]), len(judged[0])) < FEWEST_PAIRS:
            return None
        base, source, sign = _both_ways(*training)
        before_it = trained.logprobs(trained.residual_kept[base], trained.kept[base])
        after = trained.logprobs(trained.residual_kept[base], trained.kept[source])
        towards = (sign.unsqueeze(1) * (after - before_it)).mean(dim=0)
        towards = towards / towards.square().sum()

        base, source, sign = _both_ways(*judged)
        own, other, residual = trained.judged[base], trained.judged[source], trained.residual_judged[base]
        unchanged = trained.logprobs(residual, own)

        def shift(post: Tensor) -> Tensor:
            return (sign * ((trained.logprobs(residual, post) - unchanged) @ towards)).double()

        def taken(neurons: Tensor) -> Tensor:
            return shift(own.index_copy(1, neurons, other[:, neurons]))

        along = {name: shift(interchanged(own, other, way.float())) for name, way in self.directions.items()}
        along[BEST] = taken(torch.tensor(self.neurons))
        random = keyed_uniform("random neurons", range(N_DRAWS), 0, (own.shape[1],))
        random[:, self.neurons] = 1.0  # last in order: all others come before
        draws = [taken(order[: len(self.neurons)]) for order in random.argsort(dim=1)]
        along[RANDOM] = torch.stack(draws).mean(dim=0)
        for draw, placebo in enumerate(self._within_class_differences()):
            along[f"placebo {draw}"] = shift(moved_as_far(own, other, self.probe.float(), placebo))
        return Interchange(base, shift(other), along)


def discriminant(sums: Sums, shrinkage: float) -> Tensor:
    """The dense probe, `[d_mlp]`."""
    return linear_discriminant(*sums, shrinkage)[0]


def chosen_shrinkage(reading: Reading, feature: str, kept: Tensor, sample: Sample) -> float:
    """The best of `SHRINKAGES` by AUC, fitted to some training folds and judged on the others.

    Args:
        reading: What the neurons hold.
        feature: Its name.
        kept: Labels of the training tokens whose activations are kept, `[n_kept]`.
        sample: The text.
    """
    fitted = reduce(Sums.plus, reading.folds[feature][:N_FITTED])
    judged = sample.part[sample.kept] >= N_FITTED
    activations, labels = reading.kept[judged], kept[judged]
    return max(SHRINKAGES, key=lambda each: auc(activations @ discriminant(fitted, each).float(), labels))


def _both_ways(without: Tensor, having: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Bases, sources, and 1 where the source has the feature, -1 where the base has it."""
    sign = torch.ones(len(without))
    return torch.cat([without, having]), torch.cat([having, without]), torch.cat([sign, -sign])


def of_tokens(labels: Tensor, sample: Sample) -> dict[str, Score]:
    """AUC of what the token, the token before it, and both (as if independent) predict.

    Args:
        labels: `[N, T]`.
        sample: The text.
    """
    tokens = sample.windows.tokens
    n_tokens = int(tokens.max()) + 1
    truth = labels[sample.judged]
    odds = {}
    for name, seen in (("token", tokens), ("token before", before(tokens, 0))):
        rates = class_rates(seen[sample.training], labels[sample.training], n_tokens)
        odds[name] = rates[seen[sample.judged]].logit(1e-9)
    odds["both tokens"] = odds["token"] + odds["token before"]
    return {name: auc_of_weights(each, truth) for name, each in odds.items()}


def cosines_of_halves(folds: Sequence[Sums], shrinkage: float) -> Tensor:
    """Cosine of the probes of half of the folds and of the others, for each way to halve them, `[n_halvings]`."""

    def probe(chosen: Sequence[int]) -> Tensor:
        return discriminant(reduce(Sums.plus, (folds[number] for number in chosen)), shrinkage)

    halves = [half for half in combinations(range(N_FOLDS), N_FOLDS // 2) if 0 in half]
    rest = [[number for number in range(N_FOLDS) if number not in half] for half in halves]
    return torch.stack(
        [torch.cosine_similarity(probe(one), probe(other), dim=0) for one, other in zip(halves, rest, strict=True)]
    )
