"""T04: two classes of features, one of them rarer."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from sup_lightning.errors import reject, require_positive
from sup_lightning.experiment import Run
from sup_lightning.functional.dimensionality import feature_dimensionality, represented_features
from sup_lightning.functional.interference import interference_between
from sup_lightning.functional.intervals import bootstrap_interval
from sup_lightning.functional.keyed_random import keyed_uniform
from sup_lightning.studies.exact import toy_parts
from sup_lightning.studies.study import Answer, Picture, Study
from sup_lightning.studies.toy.two_classes_figures import overlaps, overview
from sup_lightning.studies.verdict import Claim

DENSITY, IMPORTANCE = "t04_density_80-20", "t04_importance_80-20"
FREQUENT, RARE = 0, 1
P_FREQUENT, P_RARE = 0.3, 0.01
RARE_PROBABILITIES = (0.3, 0.1, 0.03, 0.01, 0.003)
RARE_IMPORTANCES = (1, 3, 10, 30, 100)
BALANCED = P_FREQUENT / P_RARE
"""Importance of the rare features at which I · p is that of the frequent ones."""
LEAST_LEAD = 0.2
"""Difference between the represented shares of the classes that counts at equal importance …"""
LEAST_BALANCED_LEAD = 0.1
"""… and at equal I · p; and the difference of the median D_i there."""
LEAST_SHARE = 0.6
"""Of the interference on rare features that comes from rare ones; both classes have as many features."""
N_SHUFFLES = 20


@dataclass(frozen=True)
class Classes:
    """A run with two classes of features; `[n_points, n_seeds]` and more axes.

    Attributes:
        x: What varies: density or importance of the rare class.
        W: `[..., n_features, n_hidden]`.
        labels: Class of each feature, `[n_features]`: the first half is frequent.
    """

    x: list[float]
    W: Tensor
    labels: Tensor

    @classmethod
    def of(cls, run: Run, axis: str) -> "Classes":
        """Measure a finished run."""
        module, data, net = toy_parts(run)
        values = [float(value[-1]) for value in module.sweep.axes[axis]]
        n = data.n_features
        labels = (torch.arange(n) >= n // 2).long()
        return cls(values, net.W.detach().unflatten(0, (module.sweep.n_points, module.sweep.n_seeds)), labels)

    def at(self, x: float) -> int:
        """The point nearest to a value of what varies."""
        return min(range(len(self.x)), key=lambda point: abs(math.log(self.x[point] / x)))

    def shuffled(self, number: int) -> "Classes":
        """The same models with the labels dealt out at random."""
        order = keyed_uniform("shuffled classes", [number], 0, (len(self.labels),))[0].argsort()
        return Classes(self.x, self.W, self.labels[order])

    @property
    def represented(self) -> Tensor:
        """Share of each class that is represented, `[..., 2]`."""
        kept = represented_features(self.W).double()
        return torch.stack([kept[..., self.labels == k].mean(-1) for k in (FREQUENT, RARE)], dim=-1)

    @property
    def dimensionality(self) -> Tensor:
        """Median D_i of the represented features of each class, `[..., 2]`; NaN if there is none."""
        D = torch.where(represented_features(self.W), feature_dimensionality(self.W), torch.nan).double()
        return torch.stack([D[..., self.labels == k].nanquantile(0.5, dim=-1) for k in (FREQUENT, RARE)], dim=-1)

    @property
    def interference(self) -> Tensor:
        """On a represented feature of each class (rows) from all features of each (columns), `[..., 2, 2]`."""
        return interference_between(self.W, self.labels, represented_features(self.W)).double()

    @property
    def own_share(self) -> Tensor:
        """Part of the interference on represented features of each class that its own class causes, `[..., 2]`."""
        caused = self.interference
        return caused.diagonal(dim1=-2, dim2=-1) / caused.sum(-1)


class TwoClasses(Study):
    """Who is represented, with which share of a dimension, and who interferes with whom."""

    id = "T04"
    title = "Two classes of sparsity"
    question = (
        "Half of the features are much rarer than the others. Which are represented, and who interferes with whom?"
    )
    hypothesis = (
        "Frequent features p = 0.3, rare ones p = 0.01, as many of each, four for a hidden dimension. At equal "
        "importance the share of frequent features that is represented is larger by 0.2 or more. At equal I · p it is "
        "the other way round by 0.1 or more, as rare features bear interference; each rare one then has 0.1 of a "
        "dimension less than a frequent one (median D_i), and 60 % or more of the interference on a rare feature "
        "comes from rare ones."
    )
    caveat = (
        "Two sharp classes of equal size; real features have a continuum of densities, and rare ones are often the "
        "less important. A feature counts as represented if its direction is longer than 1/2. Larger models were not "
        "trained; a balance that moves with the number of features for each dimension would change the verdict."
    )
    experiments = (DENSITY, IMPORTANCE)
    minutes = (0.5, 2.5)

    def __init__(self, n_features: int = 80, n_hidden: int = 20) -> None:
        require_positive(n_features=n_features, n_hidden=n_hidden)
        if n_features % 2 or n_features <= n_hidden:
            reject("n_features", n_features, f"an even number above n_hidden, which is {n_hidden}")
        self.n_features, self.n_hidden = n_features, n_hidden

    def overrides(self, experiment: str) -> dict[str, Any]:
        if (self.n_features, self.n_hidden) == (80, 20):
            return {}
        half = self.n_features // 2

        def classes(frequent: float, rare: float) -> list[float]:
            return [frequent] * half + [rare] * half

        data: dict[str, Any] = {"n_features": self.n_features}
        if experiment == DENSITY:
            sweep = {"feature_probability": [classes(P_FREQUENT, p) for p in RARE_PROBABILITIES]}
        else:
            sweep = {"importance": [classes(1, importance) for importance in RARE_IMPORTANCES]}
            data["feature_probability"] = classes(P_FREQUENT, P_RARE)
        net = {"init_args": {"n_hidden": self.n_hidden}}
        return {"sweep": sweep, "data": {"init_args": data}, "model": {"init_args": {"net": net}}}

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        density = Classes.of(runs[DENSITY], "feature_probability")
        importance = Classes.of(runs[IMPORTANCE], "importance")
        claims = [
            _frequent_first(density),
            _rare_first(importance),
            _smaller_share(importance),
            _among_themselves(importance),
        ]
        balanced = importance.at(BALANCED)
        pictures = {
            "classes": Picture(overview(density, importance, BALANCED), CLASSES),
            "overlaps": Picture(overlaps(importance, (importance.at(1), balanced)), OVERLAPS),
        }
        tables = {"density": _table(density, "probability"), "importance": _table(importance, "importance")}
        return Answer(claims, pictures, tables)


CLASSES = (
    "Left: share of each class that is represented over the density of the rare class, at equal importance. Then over "
    "the importance of the rare class at p = 0.3 and 0.01; the line marks equal I · p. Right: the share of a "
    "dimension of a represented feature, and the part of the interference on it that its own class causes (1/2 if "
    "classes did not matter), where half of the models represent any of the class. Medians over seeds with 95 % "
    "intervals, and seeds."
)
OVERLAPS = "Squared overlaps of one model's features, longest first in each class; lines part the classes."


def _median(values: Tensor) -> Tensor:
    return values.nanquantile(0.5, dim=-1)


def _shuffled(found: Classes, of: Callable[[Classes], Tensor]) -> float:
    """The median over seeds of an effect, mean over shuffles of the labels."""
    return float(torch.stack([_median(of(found.shuffled(number))) for number in range(N_SHUFFLES)]).nanmean())


def _frequent_first(density: Classes) -> Claim:
    point = density.at(P_RARE)

    def lead(found: Classes, at: int = point) -> Tensor:
        share = found.represented[at]
        return share[:, FREQUENT] - share[:, RARE]

    effect, low, high = bootstrap_interval(_median, lead(density))
    same = float(_median(lead(density, density.at(P_FREQUENT))))
    frequent, rare = density.represented[point].quantile(0.5, dim=0).tolist()
    return Claim(
        "at equal importance frequent features are represented first", effect, (low, high), (LEAST_LEAD, math.inf),
        f"{frequent:.0%} of the frequent and {rare:.0%} of the rare ones are; labels shuffled: "
        f"{_shuffled(density, lead):+.3f}; both classes at p = {P_FREQUENT:g}: {same:+.3f}",
        f"represented share of the frequent class less that of the rare one, p = {P_FREQUENT:g} and {P_RARE:g}",
    )  # fmt: skip


def _rare_first(importance: Classes) -> Claim:
    point = importance.at(BALANCED)

    def lead(found: Classes) -> Tensor:
        share = found.represented[point]
        return share[:, RARE] - share[:, FREQUENT]

    effect, low, high = bootstrap_interval(_median, lead(importance))
    frequent, rare = importance.represented[point].quantile(0.5, dim=0).tolist()
    return Claim(
        "at equal I · p rare features are represented first", effect, (low, high), (LEAST_BALANCED_LEAD, math.inf),
        f"{rare:.0%} of the rare and {frequent:.0%} of the frequent ones are; labels shuffled: "
        f"{_shuffled(importance, lead):+.3f}",
        "represented share of the rare class less that of the frequent one",
    )  # fmt: skip


def _smaller_share(importance: Classes) -> Claim:
    point = importance.at(BALANCED)

    def difference(found: Classes) -> Tensor:
        D = found.dimensionality[point]
        return D[:, FREQUENT] - D[:, RARE]

    effect, low, high = bootstrap_interval(_median, difference(importance))
    frequent, rare = importance.dimensionality[point].nanquantile(0.5, dim=0).tolist()
    return Claim(
        "at equal I · p a rare feature has less of a dimension", effect, (low, high), (LEAST_BALANCED_LEAD, math.inf),
        f"{rare:.2f} against {frequent:.2f}; labels shuffled: {_shuffled(importance, difference):+.3f}",
        "median D_i of the represented frequent features less that of the rare ones",
    )  # fmt: skip


def _among_themselves(importance: Classes) -> Claim:
    point = importance.at(BALANCED)

    def share(found: Classes) -> Tensor:
        return found.own_share[point][:, RARE]

    effect, low, high = bootstrap_interval(_median, share(importance))
    frequent = float(_median(importance.own_share[point][:, FREQUENT]))
    return Claim(
        "at equal I · p rare features interfere with rare ones", effect, (low, high), (LEAST_SHARE, math.inf),
        f"labels shuffled: {_shuffled(importance, share):.3f}; frequent ones among themselves: {frequent:.3f}",
        "share of the interference on represented rare features that rare ones cause",
    )  # fmt: skip


def _table(found: Classes, name: str) -> pd.DataFrame:
    columns: dict[str, Any] = {f"rare_{name}": found.x}
    for quantity in ("represented", "dimensionality", "own_share"):
        values = getattr(found, quantity)
        for number, kind in ((FREQUENT, "frequent"), (RARE, "rare")):
            columns[f"{quantity}_{kind}"] = _median(values[..., number]).tolist()
    caused = found.interference
    for row, on in ((FREQUENT, "frequent"), (RARE, "rare")):
        for column, source in ((FREQUENT, "frequent"), (RARE, "rare")):
            columns[f"interference_on_{on}_from_{source}"] = _median(caused[..., row, column]).tolist()
    return pd.DataFrame(columns)
