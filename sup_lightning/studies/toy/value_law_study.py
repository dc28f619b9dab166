"""What the questions about value laws share: phase point, represented features, loss given k; beside uniform ones."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import pandas as pd
import torch
from torch import Tensor

from sup_lightning.errors import reject, require_positive
from sup_lightning.experiment import Run
from sup_lightning.functional.geometry import describe, find_polytopes
from sup_lightning.functional.intervals import bootstrap_interval, of_best_seed
from sup_lightning.studies.study import Answer, Comparison, Picture, Study
from sup_lightning.studies.toy.phase_point import PhaseCurve
from sup_lightning.studies.toy.value_law_figures import directions, overview
from sup_lightning.studies.toy.value_law_geometry import N_ACTIVE, SPARSE, Geometry
from sup_lightning.studies.verdict import Claim

UNIFORM_PHASE, UNIFORM_GEOMETRY = "t07_phase_uniform", "t07_geometry_uniform"
AGREEMENT = 1.1
"""Most factor between the trained and the exact phase point."""
LOWER = 0.9
"""The phase point is lower than that of uniform values if it is below this share of it."""
SAME_COUNT, SAME_SHARE = 1, 0.05
"""Most difference in represented features, and in the median D_i."""
SAME_FVU = 1.25
"""Most factor between the unexplained variances."""


class ValueLawStudy(Study):
    """Base of the questions about value laws.

    Class attributes:
        values: The law, in words.
        phase: Experiment with two features in one dimension, of the second moment of uniform values.
        matched: Experiment with many features in few dimensions, of that second moment.
        natural: The same with the values as they are named.
    """

    values: ClassVar[str]
    phase: ClassVar[str]
    matched: ClassVar[str]
    natural: ClassVar[str]

    def __init__(self, n_features: int = 8, n_hidden: int = 2) -> None:
        require_positive(n_features=n_features, n_hidden=n_hidden)
        if n_features <= n_hidden:
            reject("n_features", n_features, f"more than n_hidden, which is {n_hidden}")
        self.n_features, self.n_hidden = n_features, n_hidden

    def overrides(self, experiment: str) -> dict[str, Any]:
        if "geometry" not in experiment:
            return {}
        net = {"init_args": {"n_hidden": self.n_hidden}}
        return {"data": {"init_args": {"n_features": self.n_features}}, "model": {"init_args": {"net": net}}}

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        law, uniform = PhaseCurve.of(runs[self.phase]), PhaseCurve.of(runs[UNIFORM_PHASE])
        matched, natural, control = (Geometry.of(runs[name]) for name in (self.matched, self.natural, UNIFORM_GEOMETRY))
        claims = [
            _agreement(law, uniform),
            _lower(law, uniform),
            _same_count(matched, control, natural),
            _same_dimensionality(matched, control, natural),
            _same_fvu(matched, control, natural),
        ]
        curves = {self.values: law, "uniform on [0, 1]": uniform}
        geometries = {self.values: matched, "uniform on [0, 1]": control}
        pictures = {
            "overview": Picture(overview(curves, geometries, natural), OVERVIEW.format(self.values)),
            "directions": Picture(directions(geometries), DIRECTIONS),
        }
        tables = {
            "phase": pd.concat([_phase_table(name, curve) for name, curve in curves.items()]),
            "geometry": pd.concat(
                [_geometry_table(name, each) for name, each in (geometries | {"not rescaled": natural}).items()]
            ),
        }
        return Answer(claims, pictures, tables, _comparisons(law, uniform), gate(control))


OVERVIEW = (
    "Left: how much of the loss two features in one dimension save against one that has it alone, {} in red and "
    "uniform values in blue: best antipodal pair (lines), best other weights (dotted), the pair W = (1, -1) without a "
    "bias (dashed, down to the closed form's p*), every trained seed (dots; filled if it is a pair). The phase point "
    "is where lines and dotted ones cross. Middle: represented features, median over seeds with its 95 % interval. "
    "Right: loss of the best model given 1, 2 and 3 active features. All values are scaled to the second moment of "
    "uniform ones; crosses: values as they are named, loss scaled after training."
)
DIRECTIONS = "The model of lowest loss at several feature probabilities, with the polytopes that the detector names."


def gate(control: Geometry) -> str:
    """Uniform values have to show superposition, or there is nothing to compare with."""
    most = float(control.best(control.count).max())
    n_hidden = control.W.shape[-1]
    return "" if most > n_hidden else f"uniform values: only {most:.0f} features in {n_hidden} dimensions"


def _factor(first: float, second: float) -> float:
    return max(first / second, second / first)


def _agreement(law: PhaseCurve, uniform: PhaseCurve) -> Claim:
    effect, low, high = bootstrap_interval(lambda seeds: _factor(law.trained_point(seeds), law.point), law.trained)
    own = _factor(uniform.trained_point(uniform.trained), uniform.point)
    other = _factor(law.trained_point(law.trained), uniform.point)
    return Claim(
        "two features are an antipodal pair up to the exact phase point", effect, (low, high), (-math.inf, AGREEMENT),
        f"uniform values: {own:.3f}; the same trained models against the exact point of uniform values: {other:.2f}",
        "factor between the p up to which a pair is the best of the trained models, and the exact one",
    )  # fmt: skip


def _lower(law: PhaseCurve, uniform: PhaseCurve) -> Claim:
    def ratio(seeds: Tensor) -> float:
        return law.trained_point(law.trained[..., seeds]) / uniform.trained_point(uniform.trained[..., seeds])

    n_seeds = min(law.savings.shape[1], uniform.savings.shape[1])
    effect, low, high = bootstrap_interval(ratio, torch.arange(n_seeds))
    return Claim(
        "they have to be rarer than uniform ones to be a pair", effect, (low, high), (-math.inf, LOWER),
        f"exact: {law.point / uniform.point:.3f}; of the closed forms: {law.named_point / uniform.named_point:.3f}; "
        "the same law against itself: 1",
        "phase point of the trained models over that of uniform values",
    )  # fmt: skip


def _difference(law: Geometry, uniform: Geometry, of: str) -> tuple[float, float, float]:
    """Largest difference over sparse points of a quantity of the best seeds, with its interval."""
    losses, values = (torch.stack([each, other]) for each, other in (
        (law.loss, uniform.loss), (getattr(law, of), getattr(uniform, of))
    ))  # fmt: skip

    def largest(both: Tensor) -> float:
        best = of_best_seed(both[0], both[1])
        return float((best[0] - best[1])[law.sparse].abs().max())

    return bootstrap_interval(largest, torch.stack([losses, values]))


def _spread(geometry: Geometry, of: str) -> str:
    best = geometry.best(getattr(geometry, of))[geometry.sparse].tolist()
    return ", ".join(f"{value:.3g}" for value in best)


def _same_count(law: Geometry, uniform: Geometry, natural: Geometry) -> Claim:
    effect, low, high = _difference(law, uniform, "count")
    points = ", ".join(f"{p:g}" for p, sparse in zip(law.p, law.sparse.tolist(), strict=True) if sparse)
    return Claim(
        "as many features are represented as of uniform values", effect, (low, high), (-math.inf, SAME_COUNT),
        f"at p = {points}: {_spread(law, 'count')}; uniform: {_spread(uniform, 'count')}; not rescaled: "
        f"{_spread(natural, 'count')}",
        f"largest difference in represented features between best seeds, p up to {SPARSE:g}",
    )  # fmt: skip


def _same_dimensionality(law: Geometry, uniform: Geometry, natural: Geometry) -> Claim:
    effect, low, high = _difference(law, uniform, "median_dimensionality")
    return Claim(
        "a represented feature has the same share of a dimension", effect, (low, high), (-math.inf, SAME_SHARE),
        f"median D_i {_spread(law, 'median_dimensionality')}; uniform: {_spread(uniform, 'median_dimensionality')}; "
        f"not rescaled: {_spread(natural, 'median_dimensionality')}",
        f"largest difference in the median D_i between best seeds, p up to {SPARSE:g}",
    )  # fmt: skip


def _same_fvu(law: Geometry, uniform: Geometry, natural: Geometry) -> Claim:
    def ratio(values: Tensor) -> float:
        best = of_best_seed(values[0], values[1])
        return float(best[0] / best[1])

    def at(first: Geometry) -> Tensor:
        both = (first, uniform)
        return torch.stack([torch.stack([g.loss[g.at] for g in both]), torch.stack([g.fvu[g.at] for g in both])])

    effect, low, high = bootstrap_interval(ratio, at(law))
    return Claim(
        f"no more than {SAME_FVU - 1:.0%} more of the variance is lost", effect, (low, high), (-math.inf, SAME_FVU),
        f"uniform: {float(uniform.best(uniform.fvu)[uniform.at]):.3f} of the variance is lost; not rescaled: "
        f"{ratio(at(natural)):.3f}",
        f"unexplained variance over that of uniform values, best seeds, p = {law.p[law.at]:g}",
    )  # fmt: skip


def _comparisons(law: PhaseCurve, uniform: PhaseCurve) -> list[Comparison]:
    rows = []
    for name, curve in (("these values", law), ("uniform values", uniform)):
        rows.append(
            Comparison(
                f"p up to which two features in one dimension are an antipodal pair, {name}",
                f"{curve.named_point:.3f} (pair W = (1, -1) without a bias)",
                f"{curve.point:.3f} with the best norms and biases of the pair and of other weights",
                f"{curve.trained_point(curve.trained):.3f} (best of {curve.savings.shape[1]} seeds)",
                "closed form, superposition as a phase change",
            )
        )
    return rows


def _phase_table(name: str, curve: PhaseCurve) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "values": name,
            "feature_probability": curve.p,
            "saving_exact_pair": curve.exact_pair.tolist(),
            "saving_exact_other": curve.exact_other.tolist(),
            "saving_best": curve.savings.amax(-1).tolist(),
            "saving_median": curve.savings.quantile(0.5, dim=-1).tolist(),
            "antipodal": curve.antipodal.double().mean(-1).tolist(),
        }
    )


def _geometry_table(name: str, found: Geometry) -> pd.DataFrame:
    best = found.best(found.W)
    given = found.best(found.given_active) / (3 * found.mean_square)  # as if the second moment were that of uniform
    columns = {
        "represented_best": found.best(found.count),
        "represented_median": found.count.quantile(0.5, dim=-1),
        "median_dimensionality_best": found.best(found.median_dimensionality),
        "fvu_best": found.best(found.fvu),
        **{f"loss_given_{k}": given[:, k] for k in range(N_ACTIVE + 1)},
    }
    table = pd.DataFrame({name: values.tolist() for name, values in columns.items()})
    table.insert(0, "feature_probability", found.p)
    table.insert(0, "values", name)
    table["polytopes_best"] = [describe(find_polytopes(each)) for each in best]
    return table
