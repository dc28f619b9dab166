"""N03: every neuron that represents a feature, by activation patching."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import pandas as pd
import torch
from torch import Tensor

from sup_lightning.errors import reject, require_positive
from sup_lightning.functional.basis import random_rotations
from sup_lightning.functional.intervals import bootstrap_interval
from sup_lightning.functional.teams import loads, overlap_ratio, participation_number
from sup_lightning.nn.transformer import Transformer
from sup_lightning.studies.language import LanguageStudy
from sup_lightning.studies.neurons.all_neurons_figures import removal, team_map
from sup_lightning.studies.neurons.features import (
    CLEAN,
    FIRST,
    NEITHER,
    SECOND,
    Feature,
    KnownFeature,
    known_features,
    real_contexts,
    related,
    text_trigrams,
    words,
)
from sup_lightning.studies.neurons.removal import Removal, and_share, feature_auc, removal_of
from sup_lightning.studies.neurons.teams import LEAST_CARRIED, LEAST_GAIN, N_DRAWS, SHARE, random_teams
from sup_lightning.studies.study import Answer, Picture
from sup_lightning.studies.subjects import Subject
from sup_lightning.studies.verdict import Claim

LEAST_TEAM, LARGEST_TEAM = 4, 0.25
"""Neurons of a team: more than a few, and a share of all that is not most of them."""
MOST_OF_ROTATED = 2 / 3
"""A team's size over that of as good a team of random directions."""
LEAST_AND, LEAST_OVERLAP, LEAST_AUC = 0.5, 0.5, 0.9
FEWEST = 6
"""Features below which there is no interval."""


class AllNeurons(LanguageStudy):
    """Which neurons hold a feature: one, some or all."""

    id = "N03"
    title = "Every neuron of a feature"
    question = (
        "Which neurons represent a feature, so that without them the model no longer detects it? A few, or many a "
        "little?"
    )
    hypothesis = (
        "Features are trigrams of the held-out text: a b foretells c (p > .7) and b alone does not (p < .15). Of what "
        "a adds to log p(c) (1 nat or more, or the model does not know the trigram), the neurons carry half or more. "
        "It takes 4 neurons or more, and a quarter of them or fewer, to remove 90 % of that (median over features); "
        "two thirds or fewer of the directions that it takes in a random basis. Half or more of what such a team does "
        "needs both tokens (an AND). Teams of unrelated features share half as many neurons as random teams would, or "
        "more. A probe on all other neurons still tells the feature (AUC .9): the model no longer detects it, but "
        "could."
    )
    caveat = (
        "Trigrams are the simplest features that need a non-linearity; features of longer contexts may be held in "
        "another way. Neurons are ordered by what each adds along the way from clean to patched (integrated "
        "gradients), which need not be the best order: a team is an upper bound on the smallest. Patched at one token "
        "and one layer; one model, intervals over features."
    )
    minutes = (6, 25)

    def __init__(
        self,
        text: str = "stdlib",
        model: str | None = None,
        experiment: str = "lm_gelu-1l",
        layer: int = 0,
        n_features: int = 48,
        n_contexts: int = 256,
    ) -> None:
        """Options beyond the text and the model.

        Args:
            text: What the models are trained and measured on: `stdlib` or another text of
                `configs/data/text_<name>.yaml`, or a file like these.
            model: Asked in place of the models trained here: a run directory, checkpoint or export, `owner/name` of an
                export on the hub, or the name of a TransformerLens model.
            experiment: Which model is trained, a config of language models.
            layer: Whose neurons, from 0.
            n_features: Most features that are looked at.
            n_contexts: Contexts of each, half to choose neurons by and half to measure on.
        """
        require_positive(n_features=n_features, n_contexts=n_contexts)
        if layer < 0:
            reject("layer", layer, "0 or more")
        self.experiment, self.layer, self.n_features, self.n_contexts = experiment, layer, n_features, n_contexts
        self.experiments = (experiment,)
        super().__init__(text, model)

    def measure(self, subjects: Mapping[str, Subject]) -> Answer:
        (subject,) = subjects.values()
        real = real_contexts(subject, self.n_contexts)
        trigrams = text_trigrams(subject)
        known, n_seen = known_features(subject.net, self.layer, trigrams, real, self.n_features, LEAST_GAIN)
        if len(known) < FEWEST:
            return Answer([], {}, gate=f"the model knows {len(known)} of {n_seen} trigrams; {FEWEST} are needed")
        bases = random_rotations(known[0].chosen_on.post.shape[-1], N_DRAWS).float()
        removals = [removal_of(each, bases) for each in known]
        held = [each for each in removals if each.team.carried >= LEAST_CARRIED]
        initial = [_at_start(subject.initial, self.layer, each, real) for each in known]
        claims = [_carried(removals, n_seen, initial)]
        pictures, tables = {}, {"features": _table(subject, removals)}
        if len(held) >= FEWEST:
            claims += [*_sizes(held), _rotated(held), _needs_both(held, initial), _shared(held), _left(held, initial)]
            members = [each.team.members for each in held]
            names = [words(subject, each.team.known.trigram[:3]) for each in held]
            random = torch.stack([random_teams(members, draw) for draw in range(N_DRAWS)])
            pictures = {
                "removal": Picture(removal(held, SHARE), REMOVAL),
                "teams": Picture(team_map(held, names, random), MAP),
            }
        return Answer(claims, pictures, tables)


REMOVAL = (
    "Left: share of the neurons' part in log p(c) that is gone when the first k neurons are patched, in the order of "
    "their effects, beside directions of random bases, neurons by the weights of a probe, and neurons in random order. "
    "Middle: the share that comes back when these neurons alone are restored. Medians over features, bands from the "
    "first to the third quartile. Right: how many neurons, or random directions, it takes to remove 90 %."
)
MAP = (
    "Left: effects of neurons on each feature's log p(c), as a share of all neurons' together; neurons that are in "
    "some team, those of most teams first. Right: in how many teams a neuron is, beside random teams of the same sizes."
)


@dataclass(frozen=True)
class AtStart:
    """The same feature in the untrained model.

    Attributes:
        gain: Nats that a before b adds to log p(c).
        and_share: Of all neurons.
        auc: Of a probe on all neurons.
    """

    gain: float
    and_share: float
    auc: float


def _at_start(initial: Transformer, layer: int, known: KnownFeature, real: Tensor) -> AtStart:
    halves = [Feature.of(initial, layer, known.trigram, part) for part in (real[::2], real[1::2])]
    twin = KnownFeature(*halves)
    everything = torch.ones(halves[0].post.shape[-1], dtype=torch.bool)
    return AtStart(halves[1].gain, and_share(halves[1], everything), feature_auc(twin, everything))


def over_features(statistic: Callable[[Tensor], Tensor], values: Sequence[float]) -> tuple[float, float, float]:
    """A statistic of all features, with an interval that resamples features."""
    return bootstrap_interval(statistic, torch.tensor(values, dtype=torch.float64))


def middle(values: Tensor) -> Tensor:
    """The median, the mean of the two middle values if there are two."""
    return values.quantile(0.5)


def _carried(removals: Sequence[Removal], n_seen: int, initial: Sequence[AtStart]) -> Claim:
    effect, low, high = over_features(middle, [each.team.carried for each in removals])
    return Claim(
        "the neurons carry the feature", effect, (low, high), (LEAST_CARRIED, math.inf),
        f"the model knows {len(removals)} of the {n_seen} most frequent trigrams; a adds "
        f"{median(each.gain for each in removals):.2f} nats to log p(c), {median(each.gain for each in initial):.3f} "
        "before training",
        "share of what a adds to log p(c) that patching all neurons removes, median over features",
    )  # fmt: skip


def _sizes(held: Sequence[Removal]) -> list[Claim]:
    n_neurons = len(held[0].team.members)
    size, *ends = over_features(middle, [each.size() for each in held])
    share, *share_ends = over_features(middle, [each.size() / n_neurons for each in held])
    one = median(float(each.removed[1]) for each in held)
    random = median(each.size("shuffled") for each in held) / n_neurons
    kept = median(each.size("kept") for each in held)
    return [
        Claim(
            "more than a few neurons", size, (ends[0], ends[1]), (LEAST_TEAM, math.inf),
            f"{len(held)} features of which the neurons carry half; the best neuron alone removes {one:.0%}; half is "
            f"removed by {median(each.size(share=0.5) for each in held):g}; {kept:g} restored alone bring 90 % back",
            "fewest neurons that remove 90 %, median over features",
        ),
        Claim(
            "not most neurons", share, (share_ends[0], share_ends[1]), (-math.inf, LARGEST_TEAM),
            f"neurons in random order: {random:.2f}; by the weights of a probe: "
            f"{median(each.size('probed') for each in held) / n_neurons:.2f}",
            f"the same as a share of {n_neurons} neurons",
        ),
    ]  # fmt: skip


def _rotated(held: Sequence[Removal]) -> Claim:
    effect, low, high = over_features(middle, [each.size() / each.size("rotated") for each in held])
    number = median(float(participation_number(each.team.effects)) for each in held)
    return Claim(
        "fewer neurons than random directions", effect, (low, high), (-math.inf, MOST_OF_ROTATED),
        f"directions of a random basis: {median(each.size('rotated') for each in held):g}, mean of {N_DRAWS} bases; "
        f"participation number of the neurons' effects: {number:.0f}",
        "fewest neurons that remove 90 % over fewest directions of a random basis, median over features",
    )  # fmt: skip


def _needs_both(held: Sequence[Removal], initial: Sequence[AtStart]) -> Claim:
    effect, low, high = over_features(middle, [each.and_share for each in held])
    return Claim(
        "the team computes an AND", effect, (low, high), (LEAST_AND, math.inf),
        f"all neurons before training: {median(each.and_share for each in initial):.2f}; the rest is what a adds "
        "whatever follows it",
        "part of what the team adds to log p(c) that needs both tokens, median over features",
    )  # fmt: skip


def _shared(held: Sequence[Removal]) -> Claim:
    members = [each.team.members for each in held]
    teams = torch.stack(members)
    kin = related([each.team.known.trigram for each in held])

    def ratio(chosen: Tensor, of: Tensor = teams) -> Tensor:
        index = chosen.long()
        return overlap_ratio(of[index], kin[index][:, index])

    effect, low, high = over_features(ratio, list(range(len(held))))
    everyone = torch.arange(len(held))
    random = [float(ratio(everyone, random_teams(members, draw))) for draw in range(N_DRAWS)]
    load, dealt = loads(teams), loads(random_teams(members, 0))
    return Claim(
        "unrelated features share neurons", effect, (low, high), (LEAST_OVERLAP, math.inf),
        f"random teams: {min(random):.2f} to {max(random):.2f}; the busiest neuron is in {int(load.max())} of "
        f"{len(held)} teams (random: {int(dealt.max())}), {float((load == 0).double().mean()):.0%} of neurons are in "
        f"none (random: {float((dealt == 0).double().mean()):.0%})",
        "neurons shared by teams without a token in common, over what random teams of their sizes share",
    )  # fmt: skip


def _left(held: Sequence[Removal], initial: Sequence[AtStart]) -> Claim:
    effect, low, high = over_features(middle, [each.left for each in held])
    return Claim(
        "the other neurons still tell the feature", effect, (low, high), (LEAST_AUC, math.inf),
        f"all neurons before training: {median(each.auc for each in initial):.3f}; chance .5",
        "AUC of a probe for a before b on all neurons outside the team, median over features",
    )  # fmt: skip


def _table(subject: Subject, removals: Sequence[Removal]) -> pd.DataFrame:
    rows = []
    for each in removals:
        trigram, logprob = each.team.known.trigram, each.team.known.measured_on.logprob.mean(dim=1).tolist()
        rows.append(
            {
                "trigram": words(subject, trigram[:3]),
                **{name: getattr(trigram, name) for name in ("occurrences", "documents", "p_pair", "p_second")},
                "logprob_clean": logprob[CLEAN],
                "logprob_first": logprob[FIRST],
                "logprob_second": logprob[SECOND],
                "logprob_neither": logprob[NEITHER],
                "carried": each.team.carried,
                "k50": each.size(share=0.5),
                "k90": each.size(),
                "k90_restored": each.size("kept"),
                "k90_rotated": each.size("rotated"),
                "k90_probe": each.size("probed"),
                "k90_random": each.size("shuffled"),
                "removed_by_one": float(each.removed[1]),
                "most_removed": float(each.removed.max()),
                "participation": float(participation_number(each.team.effects)),
                "and_share": each.and_share,
                "auc_left": each.left,
            }
        )
    return pd.DataFrame(rows)
