"""P02: probes against the best single neuron, for features that several neurons seem to represent."""

import math
from collections import Counter
from collections.abc import Callable, Mapping

import pandas as pd
import torch
from torch import Tensor

from sup_lightning.errors import require_positive
from sup_lightning.functional.intervals import bootstrap_interval, document_interval
from sup_lightning.functional.selectivity import random_directions
from sup_lightning.studies.language import LanguageStudy
from sup_lightning.studies.probing.against_neurons import (
    PRECISION,
    PRUNED,
    QUANTILES,
    REMOVED,
    Shared,
    probe_shared,
)
from sup_lightning.studies.probing.probed import Score, can_be_probed
from sup_lightning.studies.probing.sample import Sample, read
from sup_lightning.studies.probing.shared_features_figures import against_neurons, spread
from sup_lightning.studies.probing.strongest import strongest_tokens
from sup_lightning.studies.rules import RuleBook, Rules
from sup_lightning.studies.study import Answer, Picture
from sup_lightning.studies.subjects import Subject
from sup_lightning.studies.verdict import Claim

MOST_RULES, FEWEST_RULES = 24, 3
FEWEST_TOKENS = 50
"""Tokens that a rule must hold for among the training tokens, and among the judged ones."""
N_ROTATIONS = 3
LEAST_GAIN, MOST_RECALL, LEAST_LEFT, LEAST_MORE_RULES = 0.02, 0.5, 0.95, 0.1


class SharedFeatures(LanguageStudy):
    """What a probe adds to the neuron that one would have looked at.

    Args:
        text: What the model is trained and measured on, as in every study of language models.
        model: A model to ask in place of the one trained here; its last layer is read.
        n_windows: Windows of held-out text that are read.
    """

    id = "P02"
    title = "Probes against single neurons"
    question = (
        "For features that several neurons of a one-layer model seem to represent, by the tokens that excite them "
        "most: how much better does a linear probe detect them than one of these neurons?"
    )
    hypothesis = (
        "On the mean over the rules that describe the 20 strongest tokens of two neurons or more: a linear "
        "discriminant of all neurons has an AUC 0.02 above the best of these neurons; at a precision of 80 % that "
        "neuron finds at most half of the tokens that the rule holds for (its strongest tokens make it look cleaner "
        "than it is); without the 8 neurons that it would read first a probe keeps 95 % of its distance from chance "
        "(the feature is in more neurons than one would look at). And 0.1 more of the neurons than of random "
        "directions have a rule."
    )
    caveat = (
        "Rules name tokens, pairs, classes, genre, quotes and comments; a neuron may follow a feature that none of "
        "them names, and is then left out. A rule on the token itself is settled by the token: that a probe finds it "
        "says that neurons keep it, not that they compute it. A larger model with neurons that need no probe would "
        "change the verdict."
    )
    experiments = ("lm_gelu-1l",)
    minutes = (8, 30)

    def __init__(self, text: str = "stdlib", model: str | None = None, n_windows: int = 512) -> None:
        super().__init__(text, model)
        require_positive(n_windows=n_windows)
        self.n_windows = n_windows

    def measure(self, subjects: Mapping[str, Subject]) -> Answer:
        (subject,) = subjects.values()
        sample = Sample.of(subject, self.n_windows)
        book = RuleBook(subject.data, sample.windows, sample.training)
        rules = described(subject, sample, book)
        wanted = shared_rules(rules["neurons"], book, sample)
        tables = {"rules": _rules(rules["neurons"], book), "counts": _counts(rules)}
        if len(wanted) < FEWEST_RULES:
            gate = f"{len(wanted)} rules describe two neurons or more, too few to compare"
            return Answer([_more_rules(rules)], {}, tables, gate=gate)
        found = probe_shared(subject, sample, book, wanted, rules["neurons"])
        documents = sample.windows.documents[sample.judged]
        tables |= {"shared": _shared(found, len(documents))}
        pictures = {
            "neurons": Picture(against_neurons(tables["shared"]), NEURONS),
            "spread": Picture(spread(tables["shared"], PRUNED, QUANTILES), SPREAD),
        }
        return Answer([*_claims(found, documents), _more_rules(rules)], pictures, tables)


NEURONS = (
    "For each rule that describes several neurons (how many, in brackets): AUC on held-out documents of the best of "
    "them and of the linear discriminant of all neurons, trained and at the initial weights; recall at a precision of "
    "80 %; and what tokens of the rule lose in nats if the neuron, the coordinate along the probe or along a random "
    "direction is set to its mean, as a part of what they lose with all neurons."
)
SPREAD = (
    "Left: AUC of probes that may not read the neurons that a sparse probe would read first; a line for each rule, the "
    "mean in black. Right: precision and recall of the best neuron for its rule, above the 99.9, 99 and 90 % quantiles "
    "of its activation; means and rules."
)


def described(subject: Subject, sample: Sample, book: RuleBook) -> dict[str, Rules]:
    """The best rules for the neurons, for random directions, and for neurons at the initial weights."""
    net, d_mlp = subject.net, subject.net.d_mlps[-1]
    unit = read(net, sample, {}).unit
    bases: dict[str, Tensor | None] = {"neurons": None}
    bases |= {f"rotation {draw}": random_directions(d_mlp, draw) / unit.unsqueeze(1) for draw in range(N_ROTATIONS)}
    found = {name: book.best(*strongest_tokens(net, sample, basis)) for name, basis in bases.items()}
    return found | {"initial weights": book.best(*strongest_tokens(subject.initial, sample))}


def shared_rules(rules: Rules, book: RuleBook, sample: Sample) -> list[tuple[int, int]]:
    """Attribute and value of the rules that describe two neurons or more, those of most neurons first."""
    pairs = list(zip(rules.attribute[rules.there].tolist(), rules.value[rules.there].tolist(), strict=True))
    several = [rule for rule, n in sorted(Counter(pairs).items(), key=lambda each: (-each[1], each[0])) if n > 1]
    return [rule for rule in several if can_be_probed(book.labels(*rule), sample, FEWEST_TOKENS)][:MOST_RULES]


def _claims(found: list[Shared], documents: Tensor) -> list[Claim]:
    """All on the mean over rules; the intervals resample the judged documents."""

    def mean(of: Callable[[Shared, Tensor], float]) -> tuple[float, tuple[float, float]]:
        def statistic(weights: Tensor) -> float:
            return float(torch.tensor([of(each, weights) for each in found]).nanmean())

        effect, low, high = document_interval(statistic, documents)
        return effect, (low, high)

    ones = torch.ones(len(documents))

    def average(of: Callable[[Shared], Score]) -> float:
        return sum(of(each)(ones) for each in found) / len(found)

    return [
        Claim(
            "a probe detects the feature better than its best neuron", *mean(Shared.gain), (LEAST_GAIN, math.inf),
            f"AUC of the best neuron {average(lambda each: each.auc['neuron']):.3f}, of the probe "
            f"{average(lambda each: each.auc['probe']):.3f}, of a probe of the initial weights "
            f"{average(lambda each: each.auc['initial weights']):.3f}",
            f"AUC of the probe less that of the best neuron, mean over {len(found)} rules",
        ),
        Claim(
            "a neuron finds less of the feature than its strongest tokens suggest",
            *mean(Shared.recall_of_neuron), (-math.inf, MOST_RECALL),
            f"of the probe {average(lambda each: each.recall['probe']):.3f}, of a probe of the initial weights "
            f"{average(lambda each: each.recall['initial weights']):.3f}",
            f"recall of the best neuron at a precision of {PRECISION:.0%}",
        ),
        Claim(
            "the feature is in many neurons", *mean(Shared.left), (LEAST_LEFT, math.inf),
            f"{sum(len(each.neurons) for each in found) / len(found):.1f} neurons share a rule; cosine of the probe "
            f"with the best of them {sum(each.cosine for each in found) / len(found):.2f}",
            f"distance from chance of a probe without its first {REMOVED} neurons, as a part of that of all",
        ),
    ]  # fmt: skip


def _more_rules(rules: Mapping[str, Rules]) -> Claim:
    rotated = torch.stack([each.there.double() for name, each in rules.items() if name.startswith("rotation")])
    both = torch.stack([rules["neurons"].there.double(), rotated.mean(dim=0)])
    effect, low, high = bootstrap_interval(lambda each: float(each[0].mean() - each[1].mean()), both)
    shares = {name: float(each.there.double().mean()) for name, each in rules.items()}
    return Claim(
        "more neurons than random directions have a rule", effect, (low, high), (LEAST_MORE_RULES, math.inf),
        f"neurons {shares['neurons']:.3f}, random directions {float(rotated.mean()):.3f}, neurons at the initial "
        f"weights {shares['initial weights']:.3f}",
        "share of neurons with a rule less that of random directions; the interval resamples neurons",
    )  # fmt: skip


def _rules(rules: Rules, book: RuleBook) -> pd.DataFrame:
    there = rules.there.nonzero().flatten().tolist()
    rows = [(int(rules.attribute[each]), int(rules.value[each])) for each in there]
    return pd.DataFrame(
        {
            "neuron": there,
            "rule": [book.words(*rule) for rule in rows],
            "share": rules.share[there].tolist(),
            "lift": rules.lift[there].tolist(),
        }
    )


def _counts(rules: Mapping[str, Rules]) -> pd.DataFrame:
    return pd.DataFrame(
        {"basis": name, "with a rule": int(each.there.sum()), "of": len(each.there)} for name, each in rules.items()
    )


def _shared(found: list[Shared], n_judged: int) -> pd.DataFrame:
    ones = torch.ones(n_judged)
    return pd.DataFrame(
        {
            "rule": each.name,
            "n_neurons": len(each.neurons),
            "neurons": " ".join(map(str, each.neurons)),
            "best": each.best,
            "tokens": each.n,
            **{f"auc {name}": score(ones) for name, score in each.auc.items()},
            **{f"recall {name}": score(ones) for name, score in each.recall.items()},
            "cosine": each.cosine,
            **{f"without {n}": score(ones) for n, score in zip(PRUNED, each.pruned, strict=False)},
            **{f"precision above {q}": precision for q, (precision, _) in zip(QUANTILES, each.tail, strict=True)},
            **{f"recall above {q}": recall for q, (_, recall) in zip(QUANTILES, each.tail, strict=True)},
            **{f"damage {name}": loss for name, loss in each.damage.items()},
        }
        for each in found
    )
