"""M05: one feature that is rarer than the others (Elhage et al. 2022, "Non-Uniform Superposition")."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from sup_lightning.experiment import Run
from sup_lightning.functional.dimensionality import represented_features
from sup_lightning.functional.geometry import describe, find_polytopes
from sup_lightning.functional.intervals import bootstrap_interval, of_best_seed
from sup_lightning.functional.reconstruction import weighted_squared_error
from sup_lightning.plotting.geometry import features_2d
from sup_lightning.plotting.sweeps import BLUE, RED
from sup_lightning.studies import places
from sup_lightning.studies.crossover import trained_crossover
from sup_lightning.studies.exact import exact_losses, network, toy_parts
from sup_lightning.studies.places import BRANCH_TOLERANCE, Branches, Crossover, Place, pairs, polygon, without_first
from sup_lightning.studies.study import Answer, Comparison, Picture, Study
from sup_lightning.studies.verdict import Claim

EXPERIMENT = "m05_density-ratio"
PUBLISHED = 2.5
AT = 0.05
"""The density of the published experiment."""
LEAST_RATIO = 3.0
DENSITIES = (0.02, 0.05, 0.1, 0.15)
LEAST_CHANGE = 2.0
"""By which factor the crossover moves from the densest to the sparsest of these."""
LEAST_JUMP = 0.5
"""Of the rare feature's norm at the crossover."""
AGREEMENT = 1.5
"""Factor within which trained crossovers are to agree with the exact ones."""
N_ROWS = 2**21
"""Rows of the Monte Carlo check of the exact loss."""


PLACE = Place(1.1 * polygon(5), without_first(pairs(2)), bias=-0.2)
"""A vertex of the pentagon, or nothing beside two pairs."""


def branches(p: float, ratios: Tensor) -> Branches:
    """Follow the pentagon and the two pairs to their local optimum. The rare feature is the first of five."""
    return places.branches(PLACE, p, ratios)


@lru_cache
def crossover(p: float) -> Crossover:
    """The exact crossover at density p, between 1 and 12 times rarer."""
    return places.crossover(PLACE, p)


def sampled_advantage(found: Branches, p: float, n_rows: int) -> tuple[float, float]:
    """By how much the pentagon's loss is lower at the first ratio, on samples, and the standard error of that.

    Independent of the exact loss: features are drawn, and passed through both networks.
    """
    generator = torch.Generator().manual_seed(0)
    density = torch.full((5,), p)
    density[0] = p * float(found.ratios[0])
    differences = []
    net = network(found.W[:, 0].float(), found.b[:, 0].float())
    for _ in range(max(1, n_rows // 2**17)):
        draws = torch.rand(2, 2**17, 5, generator=generator)
        x = draws[0] * (draws[1] < density)
        output = net(x.expand(2, -1, -1)).detach()
        pentagon, pairs = (weighted_squared_error(each.unsqueeze(1), x.unsqueeze(1), torch.ones(5)) for each in output)
        differences.append(pairs - pentagon)
    difference = torch.cat(differences)
    return float(difference.mean()), float(difference.std() / len(difference) ** 0.5)


@dataclass(frozen=True)
class Trained:
    """The trained models at one density.

    Attributes:
        p: Density of the other features.
        ratios: That of the rare one over p, falling, `[n_ratios]`.
        losses: Expected losses `[n_ratios, n_seeds]`.
        W: `[n_ratios, n_seeds, 5, 2]`.
    """

    p: float
    ratios: list[float]
    losses: Tensor
    W: Tensor

    @property
    def kept(self) -> Tensor:
        """Whether the rare feature is represented, `[n_ratios, n_seeds]`."""
        return represented_features(self.W)[..., 0]

    def crossover_of(self, seeds: Tensor) -> float:
        """That of the best of some seeds at each ratio."""
        return trained_crossover(self.ratios, of_best_seed(self.losses[:, seeds], self.kept[:, seeds]))


def by_density(run: Run) -> list[Trained]:
    """The points of a run, by the density of the other features."""
    module, _, net = toy_parts(run)
    settings = module.sweep.axes["feature_probability"]
    losses = exact_losses(run)
    W = net.W.detach().unflatten(0, losses.shape)
    found = []
    for p in sorted({each[1] for each in settings}):
        here = [k for k, each in enumerate(settings) if each[1] == p]
        here.sort(key=lambda k: -settings[k][0])
        found.append(Trained(p, [settings[k][0] / p for k in here], losses[here], W[here]))
    return found


class DensityCrossover(Study):
    """One feature's density varied, the exact crossover between pentagon and pairs beside the trained one."""

    id = "M05"
    title = "One feature rarer than the others"
    question = (
        "Five features share two dimensions as a pentagon; one of them becomes rarer. When does it lose its place, and "
        "is that a sudden change?"
    )
    hypothesis = (
        "The exact losses of the pentagon and of two antipodal pairs without the rare feature cross where it is more "
        "than 3 times rarer at p = 0.05 (published: about 2.5 times). The crossing depends on the density: it is at "
        "least 2 times further at p = 0.02 than at 0.15. It is sudden: the rare feature's norm falls by more than 0.5. "
        "The best trained seeds cross within a factor of 1.5 of the exact ratio at each p."
    )
    caveat = (
        "Both shapes are followed to a local optimum of the exact loss; a third shape that is better near the crossing "
        "would hide it, and the best trained seeds are there to show one. Importance is uniform and only one density "
        "differs; a real model has a continuum of densities. Far from the crossing both shapes stay local optima, "
        "so which one a single run finds is also a matter of its start. A crossing at 2.5 times, or a norm that fades "
        "gradually, would change the verdict."
    )
    revised = (
        "The interval of the trained crossings was widened by half a grid step. The exact crossings and the fall of "
        "the norm were first interpolated on a grid with an assumed error; they now have a bracket, at whose ends one "
        "shape is better for certain."
    )
    experiments = (EXPERIMENT,)
    minutes = (1.5, 8)

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        (run,) = runs.values()
        exact = {p: crossover(p) for p in DENSITIES}
        trained = by_density(run)
        curves = {each.p: branches(each.p, _fine(each.ratios)) for each in trained}
        published = branches(AT, torch.tensor([1 / PUBLISHED], dtype=torch.float64))
        advantage = float(published.losses[1] - published.losses[0])
        sampled, error = sampled_advantage(published, AT, N_ROWS)
        at = exact[AT]
        measured = {each.p: each.crossover_of(torch.arange(each.losses.shape[1])) for each in trained}
        nearest = min(measured, key=lambda p: abs(p - AT))
        certain = bool(published.converged.all())  # a pair that could fall further may be the better one
        contradicted = (
            certain and advantage > 2 * BRANCH_TOLERANCE and sampled > 4 * error and at.ratio - at.error > PUBLISHED
        )
        comparison = Comparison(
            "how many times rarer a feature is when the pentagon gives way to two pairs, p = 0.05",
            f"about {PUBLISHED}",
            f"{at.ratio:.2f} ± {at.error:.2f} ({exact[0.1].ratio:.2f} at p = 0.1); at {PUBLISHED} the pentagon is "
            f"better by {advantage:.2e}",
            f"best seeds: {measured[nearest]:.2f} at p = {nearest:g}; on samples the pentagon is better by "
            f"{sampled:.2e} ± {error:.0e} at {PUBLISHED}",
            "Elhage et al. 2022, non-uniform superposition",
            contradicted,
        )
        claims = [*_exact_claims(exact, advantage), _agreement(trained, exact)]
        pictures = {
            "losses": Picture(
                _losses(trained, curves, exact),
                "Expected loss of both shapes at their local optimum (lines) and of every trained seed (dots: filled "
                "if the rare feature is represented), relative to the better shape. The shapes swap places at the "
                "vertical line; the dashed one is the published ratio.",
            ),
            "geometry": Picture(
                _geometry(min(trained, key=lambda each: abs(each.p - AT))),
                "The best seed at each ratio. Feature 0 is the rare one.",
            ),
        }
        tables = {"crossovers": _crossovers(exact, measured), "points": pd.concat(map(_points, trained))}
        return Answer(claims, pictures, tables, [comparison])


def _exact_claims(exact: Mapping[float, Crossover], advantage: float) -> list[Claim]:
    at, sparse, dense = exact[AT], exact[min(DENSITIES)], exact[max(DENSITIES)]
    change = sparse.ratio / dense.ratio
    change_error = change * (sparse.error / sparse.ratio + dense.error / dense.ratio)
    return [
        Claim(
            "p = 0.05: the pentagon is best until the feature is more than 3 times rarer",
            at.ratio,
            (at.ratio - at.error, at.ratio + at.error),
            (LEAST_RATIO, math.inf),
            f"at the published {PUBLISHED} times, the pairs' loss less the pentagon's: {advantage:.1e}",
            "times rarer at the exact crossover",
        ),
        Claim(
            "the crossover moves with the density",
            change,
            (change - change_error, change + change_error),
            (LEAST_CHANGE, math.inf),
            f"one ratio for all densities would give 1; {dense.ratio:.2f} times at p = {max(DENSITIES):g}",
            f"ratio at p = {min(DENSITIES):g} over that at {max(DENSITIES):g}",
        ),
        Claim(
            "the rare feature is dropped at once",
            at.jump,
            at.jumps,
            (LEAST_JUMP, math.inf),
            f"the other features' norms: {at.others:.2f}",
            "fall of its norm at the exact crossover, p = 0.05; the interval is that of the crossover's bracket",
        ),
    ]


def _agreement(trained: Sequence[Trained], exact: Mapping[float, Crossover]) -> Claim:
    def worst(seeds: Tensor) -> float:
        factors = torch.tensor([each.crossover_of(seeds) / exact[each.p].ratio for each in trained])
        return float(factors.log().abs().max().exp())  # NaN if there is no one crossover at one of the densities

    n_seeds = trained[0].losses.shape[1]
    effect, low, high = bootstrap_interval(worst, torch.arange(n_seeds))
    half = max(math.sqrt(dense / rare) for each in trained for dense, rare in pairwise(each.ratios))  # of a grid step
    half *= max(1 + exact[each.p].error / exact[each.p].ratio for each in trained)
    median = [trained_crossover(each.ratios, each.kept.float().mean(dim=1) > 0.5) for each in trained]
    return Claim(
        "the best trained seeds cross where the exact optimum does",
        effect,
        (low if math.isnan(low) else max(1.0, low / half), high * half),
        (-math.inf, AGREEMENT),
        "most seeds drop it at " + ", ".join(f"{m:.2f} (p = {t.p:g})" for m, t in zip(median, trained, strict=True)),
        "largest factor between trained and exact crossover; half a grid step is in the interval",
    )


def _fine(ratios: Sequence[float]) -> Tensor:
    """Ratios between the greatest and the least of some, dense enough for a smooth line; falling."""
    return torch.logspace(math.log10(max(ratios)), math.log10(min(ratios)), 25, dtype=torch.float64)


def _losses(trained: Sequence[Trained], curves: Mapping[float, Branches], exact: Mapping[float, Crossover]) -> Figure:
    figure = Figure(figsize=(3.1 * len(trained) + 0.6, 3.4), layout="constrained")
    axes = figure.subplots(1, len(trained), squeeze=False, sharey=True)[0]
    for ax, each in zip(axes, trained, strict=True):
        times = 1 / np.array(each.ratios)
        curve = curves[each.p]
        fine, lowest = 1 / curve.ratios, curve.losses.amin(dim=0)
        for losses, known, colour, name in zip(
            curve.losses, curve.keeps_its_shape, (BLUE, RED), ("pentagon", "two pairs"), strict=True
        ):
            ax.plot(fine[known], (losses / lowest)[known], color=colour, lw=1.4, label=name)
        aside = np.exp(np.linspace(-0.02, 0.02, each.losses.shape[1]))
        best = torch.tensor(np.interp(np.log(times), np.log(fine.numpy()), lowest.log().numpy())).exp()
        excess, kept = (each.losses / best.unsqueeze(1)).numpy(), each.kept.numpy()
        at = times[:, None] * aside
        ax.plot(at[kept], excess[kept], ".", color=BLUE, alpha=0.6, ms=7, mew=0, label="trained, kept")
        ax.plot(at[~kept], excess[~kept], "o", mfc="none", mec=RED, alpha=0.7, ms=5, mew=0.8, label="trained, dropped")
        ax.axvline(exact[each.p].ratio, color="0.3", lw=0.9)
        ax.axvline(PUBLISHED, color="0.6", lw=0.9, ls="--")
        ax.set_title(f"p = {each.p:g}: crossing at {exact[each.p].ratio:.2f}", fontsize=9)
        ax.set(xscale="log", ylim=(0.95, 1.6))
        ticks = [tick for tick in (1, 1.5, 2, 3, 4, 6, 9) if tick <= 1.02 * times.max()]
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
        ax.tick_params(labelsize=7)
        ax.set_xlabel("times rarer", fontsize=8)
    axes[0].set_ylabel("loss relative to the better shape", fontsize=8)
    axes[-1].legend(fontsize=7, frameon=False, loc="upper right")
    return figure


def _geometry(found: Trained) -> Figure:
    W = of_best_seed(found.losses, found.W)
    titles = [
        f"{1 / ratio:.2f} times rarer\n{describe(find_polytopes(each))}"
        for ratio, each in zip(found.ratios, W, strict=True)
    ]
    return features_2d(W, titles, f"one of five features rarer than the others, p = {found.p:g}")


def _crossovers(exact: Mapping[float, Crossover], measured: Mapping[float, float]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "feature_probability": list(exact),
            "times rarer (exact)": [each.ratio for each in exact.values()],
            "error": [each.error for each in exact.values()],
            "times rarer (best seeds)": [measured.get(p, math.nan) for p in exact],
            "fall of the norm": [each.jump for each in exact.values()],
        }
    )


def _points(found: Trained) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "feature_probability": found.p,
            "times rarer": [1 / ratio for ratio in found.ratios],
            "best loss": found.losses.amin(dim=1).numpy(),
            "median loss": found.losses.median(dim=1).values.numpy(),
            "seeds that keep the feature": found.kept.float().mean(dim=1).numpy(),
        }
    )
