"""M04: how many dimensions a feature gets as features become rarer, and the polytopes behind the plateaus."""

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sup_lightning.experiment import Run
from sup_lightning.functional.dimensionality import (
    dimensions_per_feature,
    feature_dimensionality,
    feature_norms,
    represented_features,
)
from sup_lightning.functional.geometry import find_polytopes
from sup_lightning.functional.intervals import bootstrap_interval, seed_interval
from sup_lightning.functional.keyed_random import keyed_normal
from sup_lightning.functional.phase import ignored_loss
from sup_lightning.nn import BottleneckModel, ExactLoss, find_optimum
from sup_lightning.plotting.stickiness import stickiness
from sup_lightning.studies.study import Answer, Comparison, Picture, Study
from sup_lightning.studies.verdict import Claim

PLATEAUS = {"own dimensions": (1.0, (1.04, 1.12), "single"), "antipodal pairs": (0.5, (2.0, 3.0), "digon")}
"""Name to D_i on the plateau, the range of 1/p where it is expected, and its polytope."""
TOLERANCE = 0.02
"""Distance of the median D_i from its plateau."""
DIMENSIONS_TOLERANCE = 0.07
"""Distance of D* from its plateau: norms are not exactly 1."""
DENSE_STARTS = 12
EXACT_LEAD = 1e-4
"""Lead of the exact optimum over features with a dimension each that its error and sampling cannot explain."""
NAMED = 0.8
"""Share of the represented features that is to belong to the plateau's polytope."""


class Measured:
    """What a run says of its features; shapes `[n_points, n_seeds]` and `[..., n_features]`."""

    def __init__(self, run: Run) -> None:
        sweep = run.toy.sweep
        W = run.toy.feature_directions()
        self.shape = (sweep.n_points, sweep.n_seeds)
        self.inverse_p = 1 / torch.tensor(sweep.axes["feature_probability"]).double()
        self.W = W.unflatten(0, self.shape)
        self.represented = represented_features(self.W)
        self.dimensionality = feature_dimensionality(self.W)
        self.dimensions = dimensions_per_feature(self.W)
        self.polytopes = [[Counter[str]() for _ in range(sweep.n_seeds)] for _ in range(sweep.n_points)]
        self.names = np.full(self.dimensionality.shape, "", dtype=object)
        for point, seed in np.ndindex(self.shape):
            for polytope in find_polytopes(self.W[point, seed]):
                self.polytopes[point][seed][polytope.name if polytope.is_named else "unnamed"] += polytope.size
                self.names[point, seed, list(polytope.features)] = polytope.name

    @property
    def median(self) -> Tensor:
        """Median D_i of the represented features, 0 where none is represented, `[n_points, n_seeds]`."""
        of_represented = torch.where(self.represented, self.dimensionality, torch.nan)
        return of_represented.nanquantile(0.5, dim=-1).nan_to_num(0.0)

    def share(self, name: str) -> Tensor:
        """Share of the represented features that belong to a polytope, `[n_points, n_seeds]`."""
        counts = torch.tensor([[seed[name] for seed in point] for point in self.polytopes]).double()
        return counts / self.represented.sum(-1).clamp_min(1)

    def on(self, ends: tuple[float, float]) -> Tensor:
        """Points of the sweep whose 1/p lies in a range, bool."""
        return (self.inverse_p >= ends[0] - 1e-3) & (self.inverse_p <= ends[1] + 1e-3)


def dense_optimum(p: float = 0.9) -> tuple[Tensor, float, float]:
    """The exact optimum of four features in two dimensions near p = 1.

    Returns:
        W of the optimum `[4, 2]`, its loss, and the loss of two features with a dimension each and two at their mean.
    """
    net = BottleneckModel(4, range(DENSE_STARTS), n_hidden=2)
    net.b.data.fill_(0.3)  # near p = 1 what is left out is given its mean
    objective = ExactLoss.independent(torch.full((4,), p), tolerance=1e-6)
    with torch.enable_grad():
        losses = find_optimum(net, objective, max_evaluations=150, gradient_tolerance=1e-6).losses
    best = int(losses.argmin())
    return net.W[best].detach(), float(losses[best]), 2 * float(ignored_loss(torch.tensor(p).double()))


def random_directions_median(W: Tensor) -> Tensor:
    """Median D_i of represented features if each kept its length in a random direction, `[n_points, n_seeds]`."""
    n_seeds = W.shape[1]
    random = keyed_normal("random directions", range(n_seeds), 0, W.shape[2:])
    random = random / feature_norms(random).unsqueeze(-1) * feature_norms(W).unsqueeze(-1)
    return torch.where(represented_features(W), feature_dimensionality(random), torch.nan).nanquantile(0.5, dim=-1)


class DimensionsPerFeature(Study):
    """Dimensions per feature over p, per-feature dimensionality, and the polytopes by name."""

    id = "M04"
    title = "Dimensions per feature"
    question = (
        "As features of equal importance become rarer, does the share of a dimension that each gets move smoothly, or "
        "does it stick to the fractions of regular polytopes?"
    )
    hypothesis = (
        "It sticks. For 1/p from 1.04 to 1.12 the median D_i of represented features is within .02 of 1 and D* within "
        ".07 of it; for 1/p from 2 to 3 both are as near to 1/2, and at least 80 % of the represented features belong "
        "to antipodal pairs by name. The D_i of a model add up to its hidden dimensions within 1 %."
    )
    caveat = (
        "All features are equally important, equally rare and independent, which is what makes the fractions so clean; "
        "with unequal features the plateaus blur. Plateaus that vanish with longer training would change the verdict."
    )
    experiments = ("m04_geometry_400-30",)
    minutes = (2.5, 40)

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        (run,) = runs.values()
        measured = Measured(run)
        claims = [claim for name in PLATEAUS for claim in _plateau_claims(measured, name)]
        claims += [_named_claim(measured), _sum_claim(measured)]
        return Answer(claims, {"stickiness": _picture(measured)}, {"points": _table(measured)}, _comparisons(measured))


def _worst(values: Tensor, level: float) -> tuple[float, float, float]:
    """Largest distance, over points, of the median over seeds from a level; with its interval over seeds."""
    return bootstrap_interval(lambda v: (v.quantile(0.5, dim=-1) - level).abs().max(), values)


def _plateau_claims(measured: Measured, name: str) -> list[Claim]:
    level, ends, _ = PLATEAUS[name]
    where = measured.on(ends)
    random = float(random_directions_median(measured.W)[where].median())
    control = f"the same lengths in random directions: median D_i {random:.2f}"
    median, low, high = _worst(measured.median[where].double(), level)
    star, star_low, star_high = _worst(measured.dimensions[where].double(), level)
    place = f"1/p from {ends[0]:g} to {ends[1]:g}"
    return [
        Claim(
            f"features stick to {level:g} of a dimension ({name}, {place})", median, (low, high),
            (-math.inf, TOLERANCE), control, f"largest distance of the median D_i from {level:g}",
        ),
        Claim(
            f"dimensions per feature stick to {level:g} ({place})", star, (star_low, star_high),
            (-math.inf, DIMENSIONS_TOLERANCE), control, f"largest distance of D* from {level:g}",
        ),
    ]  # fmt: skip


def _named_claim(measured: Measured) -> Claim:
    _, ends, polytope = PLATEAUS["antipodal pairs"]
    shares = measured.share(polytope)[measured.on(ends)]
    effect, low, high = bootstrap_interval(lambda v: v.quantile(0.5, dim=-1).min(), shares)
    dense = float(measured.share(polytope)[measured.on(PLATEAUS["own dimensions"][1])].median())
    control = f"on the plateau of own dimensions: {dense:.2f}"
    return Claim(
        "the plateau at 1/2 is made of antipodal pairs", effect, (low, high), (NAMED, math.inf), control,
        "least share of represented features in digons",
    )  # fmt: skip


def _sum_claim(measured: Measured) -> Claim:
    n_hidden = measured.W.shape[-1]
    total = measured.dimensionality.sum(-1).double() / n_hidden
    effect, low, high = bootstrap_interval(lambda v: (v.quantile(0.5, dim=-1) - 1).abs().max(), total)
    n_features = measured.W.shape[2]
    random = feature_dimensionality(keyed_normal("random directions", [0], 0, measured.W.shape[2:])).sum() / n_hidden
    return Claim(
        f"the D_i add up to the {n_hidden} hidden dimensions", effect, (low, high), (-math.inf, 0.01),
        f"{n_features} random directions add up to {float(random):.3f} of them", "largest relative difference",
    )  # fmt: skip


def _picture(measured: Measured) -> Picture:
    dimensions = [part.numpy() for part in seed_interval(measured.dimensions)]
    shown = 0  # the first seed stands for the others, which the interval shows
    figure = stickiness(
        measured.inverse_p.numpy(), dimensions, measured.dimensionality[:, shown].numpy(), measured.names[:, shown],
        f"{measured.W.shape[2]} features of equal importance in {measured.W.shape[3]} dimensions",
    )  # fmt: skip
    caption = (
        "Above, dimensions per feature D* over 1/p: median over seeds with its 95 % interval. Below, D_i of each "
        "represented feature of one seed, coloured by the polytope that the detector names."
    )
    return Picture(figure, caption)


def _table(measured: Measured) -> pd.DataFrame:
    names = sorted({name for point in measured.polytopes for seed in point for name in seed})
    columns = {
        "inverse_p": measured.inverse_p,
        "dimensions_per_feature": measured.dimensions.quantile(0.5, dim=-1),
        "median_dimensionality": measured.median.quantile(0.5, dim=-1),
        "represented_features": measured.represented.sum(-1).double().quantile(0.5, dim=-1),
        **{f"share {name}": measured.share(name).mean(-1) for name in names},
    }
    return pd.DataFrame({name: values.numpy() for name, values in columns.items()})


def _comparisons(measured: Measured) -> list[Comparison]:
    W, optimum, aligned = dense_optimum()
    exact = {
        "own dimensions": f"four features in two dimensions at p = 0.9: D_i {_values(W)}, loss {optimum:.5f}; with a "
        f"dimension each for two of them {aligned:.5f}. Only D* is 1",
        "antipodal pairs": "D_i = 0.5 in exact pairs",
    }
    rows = []
    for name, (level, ends, _) in PLATEAUS.items():
        where = measured.on(ends)
        D, star = float(measured.median[where].median()), float(measured.dimensions[where].median())
        rows.append(
            Comparison(
                f"plateau of {name}",
                f"D_i and D* are {level:g}",
                exact[name],
                f"D_i {D:.3f}, D* {star:.3f}",
                "Elhage et al. 2022, geometry of superposition",
                contradicted=name == "own dimensions" and optimum < aligned - EXACT_LEAD,
            )
        )
    return rows


def _values(W: Tensor) -> str:
    return ", ".join(f"{D:.2f}" for D in feature_dimensionality(W).sort(descending=True).values.tolist())
