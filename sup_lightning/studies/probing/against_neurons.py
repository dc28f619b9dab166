"""What a probe finds of a rule, beside the neurons whose strongest tokens the rule describes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sup_lightning.functional.class_statistics import Sums
from sup_lightning.functional.keyed_random import keyed_normal
from sup_lightning.functional.linear_probes import forward_selection
from sup_lightning.functional.ranking import auc, auc_of_weights, recall_of_weights
from sup_lightning.studies.probing.probed import Score, chosen_shrinkage, discriminant
from sup_lightning.studies.probing.sample import Reading, Sample, read
from sup_lightning.studies.rules import RuleBook, Rules
from sup_lightning.studies.subjects import Subject

PRUNED = (0, 1, 2, 4, 8, 16, 32, 64)
"""Neurons that a probe may no longer read: those that it would have read first."""
REMOVED = 8
PRECISION = 0.8
QUANTILES = (0.999, 0.99, 0.9)


@dataclass(frozen=True)
class Shared:
    """A feature that several neurons seem to represent.

    Attributes:
        name: The rule that describes their strongest tokens.
        neurons: Whose.
        best: The one of them with the greatest AUC on the training tokens.
        n: Judged tokens that the rule holds for.
        auc: Of `neuron`, `probe` and the probe of the `initial weights`.
        recall: At a precision of 80 %, of the same.
        pruned: AUC of probes without the first neurons, for each of `PRUNED`.
        cosine: Of the probe with the best neuron.
        tail: Precision and recall of the best neuron above each of `QUANTILES` of its activation.
        damage: Nats that tokens of the rule lose if the neuron, or the coordinate along the probe or along a random
            direction, is set to its mean; and if all neurons are.
    """

    name: str
    neurons: list[int]
    best: int
    n: int
    auc: dict[str, Score]
    recall: dict[str, Score]
    pruned: list[Score]
    cosine: float
    tail: list[tuple[float, float]]
    damage: dict[str, float]

    def gain(self, weights: Tensor) -> float:
        """AUC of the probe less that of the best neuron."""
        return self.auc["probe"](weights) - self.auc["neuron"](weights)

    def recall_of_neuron(self, weights: Tensor) -> float:
        return self.recall["neuron"](weights)

    def left(self, weights: Tensor) -> float:
        """Part of the probe's distance from chance that is left without the neurons that it would have read first."""
        without = self.pruned[PRUNED.index(REMOVED)](weights)
        return (without - 0.5) / (self.pruned[0](weights) - 0.5)


def probe_shared(
    subject: Subject, sample: Sample, book: RuleBook, wanted: list[tuple[int, int]], rules: Rules
) -> list[Shared]:
    """Probe a model, and its initial weights, for each rule, and compare with the neurons that it describes."""
    labels = {book.words(*rule): book.labels(*rule) for rule in wanted}
    trained, initial = read(subject.net, sample, labels), read(subject.initial, sample, labels)
    found = []
    for (attribute, value), (name, label) in zip(wanted, labels.items(), strict=True):
        neurons = ((rules.attribute == attribute) & (rules.value == value)).nonzero().flatten().tolist()
        found.append(_compared(name, label, neurons, sample, trained, initial))
    return found


def _compared(
    name: str, labels: Tensor, neurons: list[int], sample: Sample, trained: Reading, initial: Reading
) -> Shared:
    truth, kept = labels[sample.judged], labels[sample.kept]
    sums = trained.sums(name)
    shrinkage = chosen_shrinkage(trained, name, kept, sample)
    probe = discriminant(sums, shrinkage)
    untrained = discriminant(initial.sums(name), chosen_shrinkage(initial, name, kept, sample))
    best = max(neurons, key=lambda neuron: auc(trained.kept[:, neuron], kept))
    scores = {
        "neuron": trained.judged[:, best],
        "probe": trained.judged @ probe.float(),
        "initial weights": initial.judged @ untrained.float(),
    }
    order = forward_selection(sums, min(PRUNED[-1], len(probe) - 1))
    return Shared(
        name=name,
        neurons=neurons,
        best=best,
        n=int(truth.sum()),
        auc={each: auc_of_weights(score, truth) for each, score in scores.items()},
        recall={each: recall_of_weights(score, truth, PRECISION) for each, score in scores.items()},
        pruned=[
            auc_of_weights(trained.judged @ without(sums, order[:n], shrinkage).float(), truth)
            for n in PRUNED
            if n < len(probe)
        ],
        cosine=float(probe[best] / probe.norm()),
        tail=[_above(scores["neuron"], truth, trained.kept[:, best].quantile(q)) for q in QUANTILES],
        damage=_damage(trained, sample, truth == 1, best, probe.float()),
    )


def without(sums: Sums, removed: Tensor, shrinkage: float) -> Tensor:
    """The linear discriminant that may not read some neurons, `[d_mlp]`, 0 there."""
    rest = torch.ones(sums.first.shape[1], dtype=torch.bool)
    rest[removed] = False
    part = Sums(sums.n, sums.first[:, rest], sums.second[rest][:, rest])
    direction = torch.zeros(len(rest), dtype=torch.float64)
    direction[rest] = discriminant(part, shrinkage)
    return direction


def _above(activations: Tensor, truth: Tensor, threshold: Tensor) -> tuple[float, float]:
    """Precision and recall of what is above a threshold."""
    found = activations > threshold
    right = float((found & (truth == 1)).sum())
    return right / max(float(found.sum()), 1.0), right / float(truth.sum())


def _damage(trained: Reading, sample: Sample, chosen: Tensor, neuron: int, probe: Tensor) -> dict[str, float]:
    """Nats lost on average by some judged tokens when a coordinate of the neurons is set to its mean."""
    post, residual = trained.judged[chosen], trained.residual_judged[chosen]
    targets = sample.windows.targets[sample.judged][chosen].unsqueeze(1)
    mean = trained.kept.mean(dim=0)

    def loss(changed: Tensor) -> float:
        return -float(trained.logprobs(residual, changed).gather(1, targets).mean())

    def removed(direction: Tensor) -> Tensor:
        unit = direction / direction.norm()
        return post - torch.outer((post - mean) @ unit, unit)

    random = keyed_normal("damage", [0], 0, (len(mean),))[0]
    unchanged = loss(post)
    changed = {
        "neuron": removed(torch.eye(len(mean))[neuron]),
        "probe": removed(probe),
        "random direction": removed(random),
        "all neurons": mean.expand_as(post),
    }
    return {name: loss(each) - unchanged for name, each in changed.items()}
