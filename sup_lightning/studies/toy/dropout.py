"""T01: dropout on the hidden layer of the ReLU output model, and the basis that it privileges."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from sup_lightning.errors import reject
from sup_lightning.experiment import Run
from sup_lightning.functional.geometry import describe, find_polytopes
from sup_lightning.functional.intervals import bootstrap_interval
from sup_lightning.studies.study import Answer, Comparison, Picture, Study
from sup_lightning.studies.toy.dropout_figures import basis, geometries
from sup_lightning.studies.toy.dropout_measures import (
    REFERENCE,
    TOLERANCE,
    ExactOptimum,
    Trained,
    exact_optimum,
    spread,
)
from sup_lightning.studies.verdict import Claim

MASK = {n: f"t01_mask_{n}-2" for n in (1, 2, 4, 5)}
GAUSSIAN = {n: f"t01_gaussian_{n}-2" for n in (2, 4, 5)}
SGD = {n: f"t01_sgd_{n}-2" for n in (2, 4, 5)}
LARGE_MASK, LARGE_GAUSSIAN = "t01_mask_10-5", "t01_gaussian_10-5"
LEAST_SPREAD = 0.001
"""Of the loss over rotations: a tenth of a percent more somewhere."""
MOST_RANK = 0.25
"""Share of better orientations; by chance it is 1/2."""
LEAST_ALIGNMENT = 0.02
"""Above random directions, whose .90 in two dimensions leaves room for .10."""
LEAST_DIAGONAL = 0.1
"""Below random directions; on the diagonal it is .19."""
SURVIVES = (-math.inf, 0.02)
"""Change of the median D_i if a shape survives."""
LEAST_FALL = 0.3
"""Change of the median D_i if two features come to share a line; all the way it is 1/2."""
N_SEED_STARTS = 2
"""Best seeds from which the exact optimum is looked for as well."""


class Dropout(Study):
    """Rotation sweep of the exact loss under dropout, and where trained models end in it."""

    id = "T01"
    title = "Dropout on the hidden layer"
    question = (
        "Does dropout on the hidden layer of the ReLU output model give its neurons a meaning, and do the geometries "
        "of superposition survive it?"
    )
    hypothesis = (
        "At a dropout rate of 0.2, features with p = 0.05: turning the hidden space of the exact optimum of 2, 4 and "
        "5 features in two dimensions changes the loss by 0.1 % or more. Trained models turn to where the loss wants "
        "them: in the median over seeds at most a quarter of all orientations is better, with Adam and with SGD, and "
        "also for 10 features in 5 dimensions. Which way depends on the load: 4 features are aligned with the neurons "
        "by 0.02 or more above random directions, while 2 features spread over both neurons (0.1 or more below "
        "random) and share a line (the median D_i falls by 0.3 or more). The median D_i of 4 and of 5 features "
        "changes by 0.02 at most."
    )
    caveat = (
        "Two hidden dimensions, up to five features of equal importance at one density: the exact part enumerates "
        "masks, so it needs few neurons. In the plane a random direction already has a cosine of 0.90 with the nearer "
        "axis. In a transformer dropout acts on the residual stream at many places and with thousands of dimensions, "
        "where one mask removes little of a direction that is spread widely; this toy says that masks tell "
        "orientations apart, not how strongly they do there. Trained models that sit anywhere in the turn would "
        "change the verdict."
    )
    experiments = (*MASK.values(), *GAUSSIAN.values(), *SGD.values(), LARGE_MASK, LARGE_GAUSSIAN)
    minutes = (1.5, 5)

    def __init__(self, feature_probability: float = 0.05) -> None:
        if not 0 < feature_probability <= 1:
            reject("feature_probability", feature_probability, "a number in (0, 1]")
        self.feature_probability = feature_probability

    def overrides(self, experiment: str) -> dict[str, Any]:
        return {"data": {"init_args": {"feature_probability": self.feature_probability}}}

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        found = {name: Trained.of(run) for name, run in runs.items()}
        mask, gaussian, sgd = ({n: found[name] for n, name in kind.items()} for kind in (MASK, GAUSSIAN, SGD))
        large = found[LARGE_MASK], found[LARGE_GAUSSIAN]
        exact = {n: _exact(n, mask[n], self.feature_probability) for n in GAUSSIAN}
        claims = [
            *(_depends(n, optimum) for n, optimum in exact.items()),
            _turns("Adam turns the models to the preferred orientation", mask, gaussian, mask),
            _turns("so does SGD", sgd, gaussian, mask),
            _turns_in_five(*large),
            _aligned("4 features are aligned with neurons", mask[4], gaussian[4], (LEAST_ALIGNMENT, math.inf)),
            _aligned("2 features spread over both neurons", mask[2], gaussian[2], (-math.inf, -LEAST_DIAGONAL)),
            _changes("2 features give up a dimension each", {2: mask[2]}, gaussian, (LEAST_FALL, math.inf)),
            _changes("the shapes of 4 and 5 features survive", {n: mask[n] for n in (4, 5)}, gaussian, SURVIVES),
        ]
        pictures = {
            "basis": Picture(basis(exact, _rank_table(mask, gaussian, sgd, large), mask, gaussian), BASIS),
            "geometries": Picture(geometries(mask), GEOMETRIES),
        }
        tables = {
            "exact": pd.concat([_exact_table(n, optimum) for n, optimum in exact.items()]),
            "trained": pd.concat([_trained_table(name, each) for name, each in found.items()]),
        }
        return Answer(claims, pictures, tables, _comparisons(exact))


BASIS = (
    "Above: expected loss under dropout (all masks, exact) of the optimum turned through a quarter turn, which "
    "permutes the neurons. Below: what share of the turns is better than where trained models end (1/2 by chance; "
    "bars are medians over seeds), alignment with the neurons above that of random directions, and the share of a "
    "dimension of a represented feature; medians over seeds with 95 % intervals."
)
GEOMETRIES = (
    "The trained model of lowest loss at each dropout rate; the axes of the plane are the neurons. Polytopes as the "
    "detector names them."
)


def _exact(n_features: int, trained: Trained, p: float) -> ExactOptimum:
    """The exact optimum at each rate above 0, from random starts and from the best seeds."""
    points = [point for point, q in enumerate(trained.q) if q > 0]
    order = trained.turned.amin(dim=0).argsort(dim=-1)[:, :N_SEED_STARTS]
    starts = torch.stack([trained.W[point, order[point]] for point in points])
    return exact_optimum(n_features, p, [trained.q[point] for point in points], starts)


def _depends(n_features: int, optimum: ExactOptimum) -> Claim:
    at = int((optimum.q - REFERENCE).abs().argmin())
    losses = optimum.turned[:, at]
    effect = float(spread(losses))
    error = effect - float(spread(losses[::2])) + 4 * TOLERANCE / float(losses.min())  # of the grid, of the losses
    return Claim(
        f"{n_features} features in 2 dimensions: the loss depends on the basis",
        effect, (effect - error, effect + error), (LEAST_SPREAD, math.inf),
        "no dropout, or Gaussian noise of equal variance: 0, as every rotation has one loss",
        f"spread of the exact loss over rotations, (max - min) / min, q = {REFERENCE:g}",
    )  # fmt: skip


def _ranks_at_reference(found: Mapping[int, Trained]) -> Tensor:
    """Of the models with 2, 4 and 5 features in two dimensions, `[3, n_seeds]`."""
    return torch.stack([found[n].rank[found[n].at(REFERENCE)] for n in GAUSSIAN])


def _medians(ranks: Tensor) -> str:
    return ", ".join(f"{float(median):.2f}" for median in ranks.quantile(0.5, dim=-1))


def _turns(
    text: str, found: Mapping[int, Trained], gaussian: Mapping[int, Trained], mask: Mapping[int, Trained]
) -> Claim:
    ranks = _ranks_at_reference(found)
    without = torch.stack([mask[n].rank[mask[n].at(0.0)] for n in GAUSSIAN])
    effect, low, high = bootstrap_interval(lambda values: values.quantile(0.5, dim=-1).max(), ranks)
    return Claim(
        text, effect, (low, high), (-math.inf, MOST_RANK),
        f"{_medians(ranks)} for 2, 4, 5 features; Gaussian noise: {_medians(_ranks_at_reference(gaussian))}; no "
        f"dropout: {_medians(without)}",
        "largest median share of orientations with a lower loss (1/2 by chance)",
    )  # fmt: skip


def _turns_in_five(mask: Trained, gaussian: Trained) -> Claim:
    at = mask.at(REFERENCE)
    effect, low, high = bootstrap_interval(lambda values: values.quantile(0.5), mask.rank[at])
    n_features, n_hidden = mask.W.shape[-2:]
    return Claim(
        f"{n_features} features in {n_hidden} dimensions turn to it too", effect, (low, high), (-math.inf, MOST_RANK),
        f"Gaussian noise: {float(gaussian.rank[gaussian.at(REFERENCE)].quantile(0.5)):.2f}; no dropout: "
        f"{float(mask.rank[mask.at(0.0)].quantile(0.5)):.2f}; spread over {len(mask.turned) - 1} random rotations: "
        f"{float(mask.spread[at].quantile(0.5)):.3f} with dropout",
        "median share of orientations with a lower loss (1/2 by chance)",
    )  # fmt: skip


def _aligned(text: str, mask: Trained, gaussian: Trained, holds: tuple[float, float]) -> Claim:
    effect, low, high = bootstrap_interval(lambda v: v.nanquantile(0.5), mask.alignment[mask.at(REFERENCE)].double())
    control = float(gaussian.alignment[gaussian.at(REFERENCE)].nanquantile(0.5))
    at_most = float(mask.alignment[-1].nanquantile(0.5))
    return Claim(
        text, effect, (low, high), holds,
        f"Gaussian noise: {control:+.3f}; no dropout: {float(mask.alignment[mask.at(0.0)].nanquantile(0.5)):+.3f}; "
        f"q = {mask.q[-1]:g}: {at_most:+.3f}",
        f"largest |cosine| with a neuron, above random directions, median over seeds, q = {REFERENCE:g}",
    )  # fmt: skip


def _changes(
    text: str, mask: Mapping[int, Trained], gaussian: Mapping[int, Trained], holds: tuple[float, float]
) -> Claim:
    def change(values: Tensor) -> float:
        """Largest, of losses and median D_i `[2, n_kinds, n_rates, n_seeds]`, from rate 0 at first."""
        losses, D = values
        best = D.gather(-1, losses.argmin(-1, keepdim=True)).squeeze(-1)
        return float((best[:, 1:] - best[:, :1]).abs().max())

    def of(trained: Mapping[int, Trained]) -> Tensor:
        parts = []
        for n in mask:
            found = trained[n]
            upto = [point for point, q in enumerate(found.q) if q <= REFERENCE + 1e-9]
            parts.append(torch.stack([found.turned.amin(0)[upto], found.median_dimensionality[upto].double()]))
        return torch.stack(parts, dim=1)

    effect, low, high = bootstrap_interval(change, of(mask))
    worst = ", ".join(f"{describe(find_polytopes(found.best(found.W)[-1]))}" for found in mask.values())
    return Claim(
        text, effect, (low, high), holds,
        f"Gaussian noise: {change(of(gaussian)):.3f}; at q = {next(iter(mask.values())).q[-1]:g} the best models are: "
        f"{worst}",
        f"largest change of the median D_i of the best model, q up to {REFERENCE:g}",
    )  # fmt: skip


def _rank_table(
    mask: Mapping[int, Trained], gaussian: Mapping[int, Trained], sgd: Mapping[int, Trained],
    large: tuple[Trained, Trained],
) -> dict[str, dict[str, list[float]]]:  # fmt: skip
    """Size of the model, to kind of training, to the share of better orientations of each seed."""

    def of(found: Trained, rate: float) -> list[float]:
        return found.rank[found.at(rate)].tolist()

    table = {
        f"{n} in 2": {
            "no dropout": of(mask[n], 0.0),
            "Gaussian noise": of(gaussian[n], REFERENCE),
            "dropout": of(mask[n], REFERENCE),
            "dropout, SGD": of(sgd[n], REFERENCE),
        }
        for n in GAUSSIAN
    }
    n_features, n_hidden = large[0].W.shape[-2:]
    table[f"{n_features} in {n_hidden}"] = {
        "no dropout": of(large[0], 0.0),
        "Gaussian noise": of(large[1], REFERENCE),
        "dropout": of(large[0], REFERENCE),
    }
    return table


def _comparisons(exact: Mapping[int, ExactOptimum]) -> list[Comparison]:
    rows = []
    for n, optimum in exact.items():
        at = int((optimum.q - REFERENCE).abs().argmin())
        rows.append(
            Comparison(
                f"does dropout privilege a basis, {n} features in 2 dimensions",
                "yes",
                f"the loss changes by {float(optimum.spread[at]):.2%} over rotations at q = {REFERENCE:g}",
                "",
                "lsgos 2023, Dropout can create a privileged basis in the ReLU output model",
            )
        )
    return rows


def _exact_table(n_features: int, optimum: ExactOptimum) -> pd.DataFrame:
    columns = {
        "dropout": optimum.q.tolist(),
        "loss": optimum.loss.tolist(),
        "spread": optimum.spread.tolist(),
        "polytopes": [describe(find_polytopes(W)) for W in optimum.W],
        "converged": optimum.converged.tolist(),
    }
    table = pd.DataFrame(columns)
    table.insert(0, "n_features", n_features)
    return table


def _trained_table(name: str, found: Trained) -> pd.DataFrame:
    columns: dict[str, Any] = {"dropout": found.q}
    for quantity in ("rank", "spread", "alignment", "median_dimensionality", "norm"):
        columns[quantity] = getattr(found, quantity).double().nanquantile(0.5, dim=-1).tolist()
    columns["polytopes_best"] = [describe(find_polytopes(W)) for W in found.best(found.W)]
    table = pd.DataFrame(columns)
    table.insert(0, "experiment", name)
    return table
