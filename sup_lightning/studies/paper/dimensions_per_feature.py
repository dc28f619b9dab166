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

DENSE, PAIRS = (1.04, 1.2), (2.0, 3.0)
"""Ranges of 1/p in which D* is to stick to 1 and to 1/2."""
TOLERANCE = 0.02
"""Distance of the median D_i from 1/2, and of a feature's D_i from 1."""
DENSE_TOLERANCE, PAIRS_TOLERANCE = 0.03, 0.07
"""Distance of D* from its plateau: norms are not exactly 1. Near 1, D* could fall evenly and be off by .06 only."""
MOST = 0.8
"""Share of the dimensions that belong to one feature alone; share of the represented features in pairs."""
DENSE_STARTS = 12
"""Starts from which the exact optimum near p = 1 is looked for."""


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
        """Median D_i of the represented features, `[n_points, n_seeds]`; NaN where none is represented."""
        return torch.where(self.represented, self.dimensionality, torch.nan).nanquantile(0.5, dim=-1)

    @property
    def owned(self) -> Tensor:
        """Share of the hidden dimensions that belong to one feature alone, `[n_points, n_seeds]`."""
        return (self.dimensionality > 1 - TOLERANCE).sum(-1) / self.W.shape[-1]

    def near(self, inverse_p: float) -> int:
        """The point nearest to a density."""
        return int((self.inverse_p - inverse_p).abs().argmin())

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
        "It sticks. For 1/p from 1.04 to 1.2 D* is within .03 of 1, and at least 80 % of the dimensions belong to one "
        "feature alone (D_i above .98). For 1/p from 2 to 3 D* is within .07 of 1/2, the median D_i of represented "
        "features within .02 of it, and at least 80 % of them are in antipodal pairs by name. The D_i of a model add "
        "up to its hidden dimensions within 1 %."
    )
    revised = (
        "The claim about D_i near p = 1 was first about the median of represented features, but there almost none is "
        "represented, so it is about dimensions that belong to one feature; it failed in both forms. The first "
        "plateau was first looked for up to 1/p = 1.12, where a straight line to the second would have passed too, and "
        "within .07, which an even fall of D* would have met up to 1/p = 1.2."
    )
    caveat = (
        "All features are equally important, equally rare and independent, which is what makes the fractions so clean; "
        "with unequal features the plateaus blur. Near p = 1 all models that keep as much variance are almost equally "
        "good, whatever their directions. Plateaus that vanish with longer training would change the verdict."
    )
    experiments = ("m04_geometry_400-30",)
    minutes = (3, 36)

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        (run,) = runs.values()
        measured = Measured(run)
        claims = [
            _plateau(measured, 1.0, DENSE, DENSE_TOLERANCE),
            _owned(measured),
            _plateau(measured, 0.5, PAIRS, PAIRS_TOLERANCE),
            _halves(measured),
            _named(measured),
            _sum(measured),
        ]
        return Answer(claims, {"stickiness": _picture(measured)}, {"points": _table(measured)}, _comparisons(measured))


def _worst(values: Tensor, level: float) -> tuple[float, float, float]:
    """Largest distance, over points, of the median over seeds from a level; with its interval over seeds."""
    return bootstrap_interval(lambda v: (v.quantile(0.5, dim=-1) - level).abs().max(), values)


def _plateau(measured: Measured, level: float, ends: tuple[float, float], tolerance: float) -> Claim:
    """Whether D* stays at a level; a D* that falls evenly with log 1/p from 1 to its end would not."""
    where = measured.on(ends)
    effect, low, high = _worst(measured.dimensions[where].double(), level)
    last, x = float(measured.dimensions[measured.near(10)].median()), measured.inverse_p[where].log10()
    smooth = float((1 + (last - 1) * x - level).abs().max())
    return Claim(
        f"dimensions per feature stick to {level:g} (1/p from {ends[0]:g} to {ends[1]:g})", effect, (low, high),
        (-math.inf, tolerance),
        f"an even fall from 1 to the {last:.2f} at 1/p = 10 would be off by {smooth:.2f}",
        f"largest distance of D* from {level:g}",
    )  # fmt: skip


def _owned(measured: Measured) -> Claim:
    where = measured.on(DENSE)
    effect, low, high = bootstrap_interval(lambda v: v.quantile(0.5, dim=-1).min(), measured.owned[where].double())
    W, optimum, aligned = dense_optimum()
    return Claim(
        f"dimensions belong to one feature each (1/p from {DENSE[0]:g} to {DENSE[1]:g})", effect, (low, high),
        (MOST, math.inf),
        f"exact optimum of four features in two dimensions at p = 0.9: D_i {_values(W)}, loss {optimum:.5f}; with a "
        f"dimension each for two of them {aligned:.5f}",
        "least share of the dimensions with a feature of D_i above .98",
    )  # fmt: skip


def _halves(measured: Measured) -> Claim:
    where = measured.on(PAIRS)
    effect, low, high = _worst(measured.median[where].double(), 0.5)
    random = float(random_directions_median(measured.W)[where].nanmedian())
    return Claim(
        f"features stick to 1/2 of a dimension (1/p from {PAIRS[0]:g} to {PAIRS[1]:g})", effect, (low, high),
        (-math.inf, TOLERANCE), f"the same lengths in random directions: median D_i {random:.2f}",
        "largest distance of the median D_i of represented features from 1/2",
    )  # fmt: skip


def _named(measured: Measured) -> Claim:
    shares = measured.share("digon")[measured.on(PAIRS)]
    effect, low, high = bootstrap_interval(lambda v: v.quantile(0.5, dim=-1).min(), shares)
    rarer = float(measured.share("digon")[measured.near(10)].median())
    return Claim(
        "the plateau at 1/2 is made of antipodal pairs", effect, (low, high), (MOST, math.inf),
        f"at 1/p = 10: {rarer:.2f}", "least share of represented features in digons",
    )  # fmt: skip


def _sum(measured: Measured) -> Claim:
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
    source = "Elhage et al. 2022, geometry of superposition"
    rows = []
    for level, ends in ((1.0, DENSE), (0.5, PAIRS)):
        star = measured.dimensions[measured.on(ends)].median(dim=-1).values
        span = f"{float(star.min()):.3f} to {float(star.max()):.3f}"
        text = f"D* for 1/p from {ends[0]:g} to {ends[1]:g}"
        rows.append(Comparison(text, f"sticks to {level:g}", "", span, source))
    median = float(measured.median[measured.on(PAIRS)].nanmedian())
    rows.append(Comparison("D_i of represented features there", "1/2", "1/2 in exact pairs", f"{median:.4f}", source))
    return rows


def _values(W: Tensor) -> str:
    return ", ".join(f"{D:.2f}" for D in feature_dimensionality(W).sort(descending=True).values.tolist())
