"""P01: linear probes for simple features of text in the neurons of a one-layer model."""

import math
from collections.abc import Callable, Mapping

import pandas as pd
import torch
from torch import Tensor

from sup_lightning.errors import require_positive
from sup_lightning.functional.intervals import document_interval
from sup_lightning.studies.language import LanguageStudy
from sup_lightning.studies.probing.features import OF_THE_TOKEN, features_of
from sup_lightning.studies.probing.probed import BASELINES, FEW, KS, N_DRAWS, Probed, can_be_probed, probe_all
from sup_lightning.studies.probing.sample import Sample
from sup_lightning.studies.probing.simple_features_figures import interchange_bars, overview, sparsity_curves
from sup_lightning.studies.study import Answer, Picture
from sup_lightning.studies.subjects import Subject
from sup_lightning.studies.verdict import Claim

FEWEST_TOKENS = 200
"""Tokens with a feature, and without it, that there must be among the training tokens and among the judged ones."""
LEAST_GAP, LEAST_SHARE, LEAST_LEAD, LEAST_COSINE, LEAST_MOVED = 0.05, 0.95, 0.03, 0.8, 0.1


class SimpleFeatures(LanguageStudy):
    """Detection, sparsity, and how far to trust what a probe finds.

    Args:
        text: What the model is trained and measured on, as in every study of language models.
        model: A model to ask in place of the one trained here.
        n_windows: Windows of held-out text that are read.
    """

    id = "P01"
    title = "Linear probes for simple features"
    question = (
        "Can a linear probe of a one-layer model's neurons detect simple features of text, such as being inside quotes "
        "or in Python code? How sparse is it, and has it found how the model represents the feature?"
    )
    hypothesis = (
        "On the mean over the features that depend on context: a linear discriminant of all neurons has an AUC on "
        "held-out documents at least 0.05 above the best of what the token itself predicts, the same probe of the "
        "initial weights, and labels shuffled within documents (detectable); the best 8 neurons keep 95 % of its "
        "distance from chance (sparse); 8 neurons do better than 8 directions of a random rotation by 0.03 (the "
        "neurons are the right basis); probes from two halves of the documents have a cosine of 0.8 (one direction); "
        "taking the coordinate along the probe from an equal token of the other class makes at least 0.1 more of the "
        "shift in predictions that all neurons make than a placebo does (the model uses it)."
    )
    revised = (
        "Labels shuffled within documents became a baseline of the first claim after the first numbers of a full run: "
        "they leave what the kind of document gives away, which is more than the token does for comments and quotes. "
        "No threshold was changed."
    )
    caveat = (
        "A rule of the text stands for the feature; a model may represent another one that the rule follows. Features "
        "too rare in the text at hand are left out, as base64 is in most text. Whether features are spread over many "
        "neurons in larger models is not settled by small ones; a larger model whose probes are sparse would change "
        "the verdict."
    )
    experiments = ("lm_gelu-1l",)
    minutes = (8, 35)

    def __init__(self, text: str = "stdlib", model: str | None = None, n_windows: int = 512) -> None:
        super().__init__(text, model)
        require_positive(n_windows=n_windows)
        self.n_windows = n_windows

    def measure(self, subjects: Mapping[str, Subject]) -> Answer:
        (subject,) = subjects.values()
        sample = Sample.of(subject, self.n_windows)
        labels = features_of(subject, sample.windows)
        features = {name: label for name, label in labels.items() if can_be_probed(label, sample, FEWEST_TOKENS)}
        rare = {name: int((label == 1).sum()) for name, label in labels.items() if name not in features}
        found = probe_all(subject, sample, features)
        context = {name: each for name, each in found.items() if name not in OF_THE_TOKEN}
        if not context:
            return Answer([], {}, gate=f"too few tokens have the features that depend on context: {', '.join(rare)}")
        ones = torch.ones(int(sample.judged.sum()))
        tables = {"features": _features(found, ones), "sparsity": _sparsity(found, ones)}
        pictures = {
            "features": Picture(overview(tables["features"]), OVERVIEW),
            "sparsity": Picture(sparsity_curves(tables["sparsity"], tables["features"]), SPARSITY),
        }
        shares = _shares(found, ones)
        if len(shares):
            tables["interchange"] = shares
            pictures["interchange"] = Picture(interchange_bars(shares), INTERCHANGE)
        if rare:
            tables["left_out"] = pd.DataFrame({"feature": list(rare), "tokens": list(rare.values())})
        return Answer(_claims(context, sample.windows.documents[sample.judged]), pictures, tables)


OVERVIEW = (
    "AUC on held-out documents for each feature: the linear discriminant of all neurons, the best single neuron, the "
    "same probe of the initial weights, what the token and the token before it predict, and labels shuffled within "
    "each document, which leave what the kind of document gives away. Above the line the features that the token "
    "alone settles, where a high AUC says nothing."
)
SPARSITY = (
    "AUC of linear discriminants that read k neurons, chosen one after the other, of the trained model and at its "
    "initial weights, and k directions of random rotations (mean and range of five). Dotted: all neurons."
)
INTERCHANGE = (
    "Part of the shift in predictions, when all neurons are taken from an equal token of the other class, that the "
    "coordinate along one direction makes: of the probe, of logistic regression, of the difference of the means; the "
    "size of the part that placebos make (as far along differences of two tokens of one class); and what the 8 "
    "neurons of the sparse probe make, beside 8 random ones."
)


def reading_of(row: Mapping[str, float]) -> str:
    """What one feature's numbers say, in words.

    >>> baselines = {"token": 0.7, "initial weights": 0.8, "shuffled labels": 0.5}
    >>> reading_of(baselines | {"probe": 0.97, "lead": 0.01, "enough": 64, "moved": 0.3})
    'decodable, not neuron-aligned, over 64 neurons or more; its direction is used'
    """
    if row["token"] >= 0.95:
        return "the token alone settles it"
    if row["probe"] - max(row[name] for name in BASELINES) < LEAST_GAP:
        return "no more decodable than from the token, the document or untrained neurons"
    aligned = "neuron-aligned" if row["lead"] >= LEAST_LEAD else "not neuron-aligned"
    spread = f"{row['enough']:g} neurons" if row["enough"] <= FEW else f"over {min(row['enough'], KS[-1]):g} neurons"
    more = " or more" if row["enough"] >= KS[-1] else ""
    if math.isnan(row["moved"]):
        return f"decodable, {aligned}, {spread}{more}"
    used = "is used" if row["moved"] >= LEAST_MOVED else "is hardly used"
    return f"decodable, {aligned}, {spread}{more}; its direction {used}"


def _features(found: Mapping[str, Probed], ones: Tensor) -> pd.DataFrame:
    rows = []
    for name, each in found.items():
        numbers = {probe: score(ones) for probe, score in each.auc.items()} | {
            "best neuron": each.sparse["neurons"][0](ones),
            f"best {FEW} neurons": each.sparse["neurons"][KS.index(FEW)](ones),
            f"best {FEW} of a rotation": each.of_rotations(FEW, ones),
            "cosine of halves": float(each.cosines.mean()),
            "moved": each.moved(ones),
            "lead": each.lead_of_neurons(ones),
            "enough": each.enough_neurons("neurons", ones),
        }
        words = {"feature": name, "context": name not in OF_THE_TOKEN, "reading": reading_of(numbers)}
        counts = {"tokens without": each.counts[0], "tokens with": each.counts[1]}
        rows.append(words | counts | numbers | {"neurons": " ".join(map(str, each.neurons))})
    return pd.DataFrame(rows)


def _sparsity(found: Mapping[str, Probed], ones: Tensor) -> pd.DataFrame:
    return pd.DataFrame(
        {"feature": name, "basis": basis, "k": k, "auc": score(ones)}
        for name, each in found.items()
        for basis, scores in each.sparse.items()
        for k, score in zip(KS, scores, strict=False)
    )


def _shares(found: Mapping[str, Probed], ones: Tensor) -> pd.DataFrame:
    return pd.DataFrame(
        {"feature": name, "direction": way, "pairs": len(each.interchange.base) // 2, "share": share}
        for name, each in found.items()
        if each.interchange is not None
        for way, share in [
            *((way, each.interchange.share(way, ones)) for way in each.interchange.along if "placebo" not in way),
            ("placebo", each.interchange.placebo(ones)),
        ]
    )


def _claims(found: Mapping[str, Probed], documents: Tensor) -> list[Claim]:
    """All on the mean over features; the intervals resample the judged documents."""

    def mean(of: Callable[[Probed, Tensor], float]) -> tuple[float, tuple[float, float]]:
        def statistic(weights: Tensor) -> float:
            return float(torch.tensor([of(each, weights) for each in found.values()]).nanmean())

        effect, low, high = document_interval(statistic, documents)
        return effect, (low, high)

    ones = torch.ones(len(documents))

    def auc(name: str) -> float:
        return sum(each.auc[name](ones) for each in found.values()) / len(found)

    few = sum(each.sparse["neurons"][KS.index(FEW)](ones) for each in found.values()) / len(found)
    rotated = sum(each.of_rotations(FEW, ones) for each in found.values()) / len(found)
    untrained = sum(each.sparse["initial weights"][KS.index(FEW)](ones) for each in found.values()) / len(found)
    cosines = torch.stack([each.cosines for each in found.values()]).mean(dim=0)
    shares = [each.interchange for each in found.values() if each.interchange is not None]
    placebo = sum(each.placebo(ones) for each in shares) / len(shares) if shares else math.nan
    means = sum(each.share("difference of means", ones) for each in shares) / len(shares) if shares else math.nan
    return [
        Claim(
            "a linear probe of the neurons detects features of the context",
            *mean(Probed.gap), (LEAST_GAP, math.inf),
            f"mean AUC {auc('probe'):.3f}; token {auc('token'):.3f}, token before {auc('token before'):.3f}, initial "
            f"weights {auc('initial weights'):.3f}, shuffled labels {auc('shuffled labels'):.3f}",
            f"AUC less the best of {', '.join(BASELINES)}, mean over {len(found)} features",
        ),
        Claim(
            f"{FEW} neurons are enough", *mean(Probed.share_of_few), (LEAST_SHARE, math.inf),
            f"AUC of {FEW} neurons {few:.3f}, of {FEW} at the initial weights {untrained:.3f}",
            f"distance from chance of the best {FEW} neurons as a part of that of all",
        ),
        Claim(
            "neurons are a better basis than random directions", *mean(Probed.lead_of_neurons), (LEAST_LEAD, math.inf),
            f"AUC of {FEW} neurons {few:.3f}, of {FEW} directions of {N_DRAWS} random rotations {rotated:.3f}",
            f"AUC of the best {FEW} neurons less that of the best {FEW} directions of a random rotation",
        ),
        Claim(
            "two halves of the documents give the same direction", float(cosines.mean()),
            (float(cosines.min()), float(cosines.max())), (LEAST_COSINE, math.inf),
            f"AUC after the probe's direction is removed {auc('probe removed'):.3f}, before {auc('probe'):.3f}",
            f"cosine of their probes; interval: range over the {len(cosines)} ways to halve",
        ),
        Claim(
            "the model uses the probe's direction", *mean(Probed.moved), (LEAST_MOVED, math.inf),
            f"placebos {placebo:.3f}, the difference of the means {means:.3f}; {len(shares)} features have pairs",
            "share of the interchange along the probe less that of a placebo",
        ),
    ]  # fmt: skip
