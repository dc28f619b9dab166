"""M02: a linear model against a ReLU output model over sparsity (Elhage et al. 2022, "Basic results")."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from sup_lightning.experiment import Run
from sup_lightning.functional.correlation import rank_correlation
from sup_lightning.functional.dimensionality import feature_dimensionality, represented_features
from sup_lightning.functional.geometry import RESIDUAL, find_polytopes
from sup_lightning.functional.interference import interference
from sup_lightning.functional.intervals import of_best_seed, seed_interval
from sup_lightning.plotting.geometry import gram_and_norms
from sup_lightning.plotting.sweeps import BLUE, RED, density_axis, seeds_over
from sup_lightning.studies.exact import toy_parts
from sup_lightning.studies.study import Answer, Comparison, Picture, Study
from sup_lightning.studies.verdict import Claim

SIZES = ("20-5", "80-20")
ORTHOGONAL = 0.05
"""Mean superposition of represented features that counts as none."""
SUPERPOSED = 0.5
"""A feature with more interference than this is in superposition; an antipodal pair has 1."""
LEAST_PER_DIMENSION = 2.0
MONOTONE = 0.9
LESS_IMPORTANT_FIRST = 0.9
MOSTLY = 0.5


@dataclass(frozen=True)
class Measured:
    """One experiment; quantities are `[n_points, n_seeds]`, points from dense to sparse.

    Attributes:
        p: Feature probability of each point.
        W: Feature directions `[n_points, n_seeds, n_features, n_hidden]`.
        superposition: Mean interference of the represented features.
        represented: Their number.
        superposed: Number of them in superposition.
        pairs: Share of those that are in antipodal pairs; NaN if there are none.
        loss: On the validation rows.
        fvu: Fraction of variance unexplained.
    """

    p: list[float]
    W: Tensor
    superposition: Tensor
    represented: Tensor
    superposed: Tensor
    pairs: Tensor
    loss: Tensor
    fvu: Tensor

    @classmethod
    def of(cls, run: Run) -> "Measured":
        """Measure a finished run."""
        module, _, net = toy_parts(run)
        shape = (module.sweep.n_points, module.sweep.n_seeds)
        W = net.W.detach().unflatten(0, shape)
        represented = represented_features(W)
        in_superposition = represented & (interference(W) > SUPERPOSED)
        loss, fvu = (torch.tensor(run.final[name].to_numpy()).view(shape) for name in ("loss", "fvu"))
        return cls(
            module.sweep.axes["feature_probability"],
            W,
            mean_superposition(W),
            represented.sum(-1).float(),
            in_superposition.sum(-1).float(),
            torch.tensor([[share_in_pairs(each) for each in seeds] for seeds in W]),
            loss,
            fvu,
        )

    @property
    def n_hidden(self) -> int:
        return self.W.shape[-1]


def mean_superposition(W: Tensor) -> Tensor:
    """Mean interference of the represented features, `[...]`; 0 if none is.

    >>> mean_superposition(torch.tensor([[1.0], [-1.0], [0.0]]))
    tensor(1.)
    """
    represented = represented_features(W)
    return (interference(W) * represented).sum(-1) / represented.sum(-1).clamp_min(1)


def share_in_pairs(W: Tensor) -> float:
    """Of one model's features in superposition, the share that form antipodal pairs; NaN if there are none.

    Any two features in opposite directions that overlap with no other are a pair; unequal importance makes their
    lengths, and so their dimensionality, differ.

    >>> share_in_pairs(torch.tensor([[1.1, 0.0], [-0.9, 0.0], [0.0, 1.0]]))
    1.0
    """
    shared = [factor for factor in find_polytopes(W) if factor.size > 1]
    n = sum(factor.size for factor in shared)
    pairs = [factor for factor in shared if factor.size == 2 and factor.residual < RESIDUAL]  # cosine near -1
    return 2 * len(pairs) / n if n else math.nan


def less_important_first(W: Tensor, importance: Tensor) -> float:
    """Probability that a represented feature in superposition is less important than one that is not.

    Args:
        W: `[n_models, n_features, n_hidden]`; pairs are within a model, models count equally.
        importance: `[n_features]`.

    Returns:
        The mean over models with features of both kinds; NaN if there are none.
    """
    shares = []
    represented, shared = represented_features(W), interference(W) > SUPERPOSED
    for known, is_shared in zip(represented, shared, strict=True):
        alone, crowded = importance[known & ~is_shared], importance[known & is_shared]
        if len(alone) and len(crowded):
            above = (alone.unsqueeze(1) > crowded).float() + 0.5 * (alone.unsqueeze(1) == crowded)
            shares.append(float(above.mean()))
    return sum(shares) / len(shares) if shares else math.nan


def rise_with_sparsity(p: list[float], quantity: Tensor) -> Tensor:
    """Rank correlation of each seed's `quantity [n_points, n_seeds]` with 1/p, `[n_seeds]`."""
    sparsity = 1 / torch.tensor(p, dtype=torch.float64)
    return torch.tensor([rank_correlation(sparsity, each) for each in quantity.T])


def linear_loss(W: Tensor, b: Tensor, p: Tensor, importance: Tensor) -> Tensor:
    """Exact expected loss of linear models, values uniform on [0, 1], `[...]`.

    Args:
        W: `[..., n_features, n_hidden]`.
        b: `[..., n_features]`.
        p: Feature probability, `[...]`.
        importance: `[n_features]`.
    """
    error = W @ W.mT - torch.eye(W.shape[-2], dtype=W.dtype)
    mean = error.sum(-1) * p.unsqueeze(-1) / 2 + b
    variance = (p / 3 - p.square() / 4).unsqueeze(-1)
    return (importance * (variance * error.square().sum(-1) + mean.square())).sum(-1)


class LinearAgainstReLU(Study):
    """The two models of the paper's basic results over the feature probability, at two sizes."""

    id = "M02"
    title = "A linear model against a ReLU"
    question = (
        "Does a ReLU at the output make a model hold more features than it has dimensions once they are rare, where "
        "a linear model never does?"
    )
    hypothesis = (
        "Both models keep as many features as dimensions at p = 1, without superposition (mean interference at most "
        "0.05); the linear one does at every p. At the smallest p the ReLU model represents at least 2 features for "
        "each dimension. With 20 features in 5 dimensions: their number rises with sparsity (rank correlation above "
        "0.9), less important features enter superposition first (a feature in superposition is less important than "
        "one that is not with probability above 0.9), and when superposition begins, most of them are in antipodal "
        "pairs."
    )
    caveat = (
        "Importance and sparsity are known and the same for all training rows, features are independent, and the "
        "linear twin has no other task than the identity, for which principal components are optimal. In a real model "
        "the nonlinearity sits in hidden layers and importance is whatever the loss makes of it. Longer training at "
        "the rarest features could only add to the number that is represented; a linear model that packed more "
        "features than dimensions would change the verdict."
    )
    revised = (
        "The claim about how superposition begins first counted digons by name, 0.625 [0.4, 1] and inconclusive; it "
        "now counts any antipodal pair, because unequal importance makes the two lengths differ. The learning rate of "
        "the quick size was raised."
    )
    experiments = tuple(f"m02_{size}_{kind}" for size in SIZES for kind in ("relu", "linear"))
    minutes = (3, 26)

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        found = {name.removeprefix("m02_"): Measured.of(run) for name, run in runs.items()}
        importance = toy_parts(runs["m02_20-5_relu"])[0].importance[0]
        claims = []
        for size in SIZES:
            claims += _claims_of_size(size, found[f"{size}_relu"], found[f"{size}_linear"])
        claims += _claims_of_order(found["20-5_relu"], found["20-5_linear"], importance)
        pictures = {
            f"geometry_{size}": Picture(
                _geometry(found[f"{size}_linear"], found[f"{size}_relu"]),
                f"{size.replace('-', ' features in ')} dimensions: overlaps of the feature directions above, their "
                "lengths below, most important features on top; colour is the share of a dimension that a feature has. "
                "Left the linear model, then the ReLU model from dense to sparse; the best seed of each.",
            )
            for size in SIZES
        }
        counts = Picture(
            _counts(found),
            "Represented features for each dimension, and mean superposition of the represented features; a line is "
            "the median of all seeds, with its 95 % interval.",
        )
        tables = {"points": pd.concat([_table(name, measured) for name, measured in found.items()])}
        return Answer(claims, {"represented": counts} | pictures, tables, _comparisons(runs, found))


def _claims_of_size(size: str, relu: Measured, linear: Measured) -> list[Claim]:
    where = size.replace("-", " features in ") + " dimensions"
    per_dimension, low, high = _median(relu.represented[-1] / relu.n_hidden)
    twin = float((linear.represented[-1] / linear.n_hidden).median())
    dense = _median(relu.superposition[0])
    sparse = float(relu.superposition[-1].median())
    ever = _median(linear.superposition.amax(dim=0))
    relu_ever = float(relu.superposition.amax(dim=0).median())
    return [
        Claim(
            f"{where}, ReLU, p = {relu.p[-1]:g}: more features than dimensions",
            per_dimension,
            (low, high),
            (LEAST_PER_DIMENSION, math.inf),
            f"linear twin: {twin:.2f}",
            "represented features for each dimension",
        ),
        Claim(
            f"{where}, ReLU, p = 1: no superposition",
            dense[0],
            dense[1:],
            (-math.inf, ORTHOGONAL),
            f"the same model at p = {relu.p[-1]:g}: {sparse:.2f}",
            "mean interference of represented features",
        ),
        Claim(
            f"{where}, linear: no superposition at any p",
            ever[0],
            ever[1:],
            (-math.inf, ORTHOGONAL),
            f"ReLU twin: {relu_ever:.2f}",
            "largest mean interference over all p",
        ),
    ]


def _claims_of_order(relu: Measured, linear: Measured, importance: Tensor) -> list[Claim]:
    rise = _median(rise_with_sparsity(relu.p, relu.represented))
    twin = float(rise_with_sparsity(linear.p, linear.represented).median())
    seeds = range(relu.W.shape[1])
    first = _median(torch.tensor([less_important_first(relu.W[:, seed], importance) for seed in seeds]))
    generator = torch.Generator().manual_seed(0)
    shuffled = [importance[torch.randperm(len(importance), generator=generator)] for _ in range(20)]
    chance = torch.tensor([less_important_first(relu.W.flatten(0, 1), each) for each in shuffled]).mean()
    begin = onset(relu.superposed)
    begins = (math.nan,) * 3 if begin is None else _median(relu.pairs[begin])
    last = float(relu.pairs[-1].nanmedian())
    at = "never" if begin is None else f"p = {relu.p[begin]:g}"
    return [
        Claim(
            "20 features in 5 dimensions, ReLU: the rarer the features, the more are represented",
            rise[0],
            rise[1:],
            (MONOTONE, math.inf),
            f"linear twin: {twin:.2f}",
            "rank correlation of their number with 1/p",
        ),
        Claim(
            "20 features in 5 dimensions, ReLU: less important features are in superposition first",
            first[0],
            first[1:],
            (LESS_IMPORTANT_FIRST, math.inf),
            f"shuffled importance: {chance:.2f}",
            "probability that a feature in superposition is the less important",
        ),
        Claim(
            f"20 features in 5 dimensions, ReLU: superposition begins ({at}) with antipodal pairs",
            begins[0],
            begins[1:],
            (MOSTLY, math.inf),
            f"at p = {relu.p[-1]:g}: {last:.2f}",
            "share of the features in superposition that are in pairs",
        ),
    ]


def onset(superposed: Tensor) -> int | None:
    """The first point, from dense to sparse, at which the median seed has at least two features in superposition."""
    begun = (superposed.median(dim=1).values >= 2).nonzero().flatten().tolist()
    return begun[0] if begun else None


def _median(values: Tensor) -> tuple[float, float, float]:
    median, low, high = (float(part) for part in seed_interval(values))
    return median, low, high


def _comparisons(runs: Mapping[str, Run], found: Mapping[str, Measured]) -> list[Comparison]:
    """The linear model's loss against its minimum: the variance of what is left out, times its importance."""
    comparisons = []
    for size in SIZES:
        measured = found[f"{size}_linear"]
        module, _, net = toy_parts(runs[f"m02_{size}_linear"])
        importance, p = module.importance[0].double(), torch.tensor(measured.p).double()
        minimum = (p / 3 - p.square() / 4) * importance[measured.n_hidden :].sum()
        b = net.b.detach().double().unflatten(0, measured.loss.shape)
        losses = linear_loss(measured.W.double(), b, p.unsqueeze(1), importance)
        ratio = losses.amin(dim=1) / minimum
        most = measured.represented.amax()
        comparisons.append(
            Comparison(
                f"{size.replace('-', ' features in ')} dimensions, linear model: features kept, at every p",
                f"the {measured.n_hidden} most important (principal components)",
                f"{measured.n_hidden}; loss (p/3 - p²/4) Σ I over the others",
                f"at most {most:.0f}; best seed's exact loss {ratio.min():.3f} to {ratio.max():.3f} times that",
                "Elhage et al. 2022, basic results",
            )
        )
    return comparisons


def _geometry(linear: Measured, relu: Measured) -> Figure:
    middle = len(linear.p) // 2
    best = of_best_seed(relu.loss, relu.W)
    W = [of_best_seed(linear.loss[middle], linear.W[middle]), *best]
    titles = [f"linear\np = {linear.p[middle]:g}", *(f"ReLU\np = {p:g}" for p in relu.p)]
    titles = [
        f"{title}, {int(represented_features(each).sum())} features" for title, each in zip(titles, W, strict=True)
    ]
    return gram_and_norms(torch.stack(W), titles)


def _counts(found: Mapping[str, Measured]) -> Figure:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    styles = {
        "20-5_relu": (RED, "o"),
        "80-20_relu": (RED, "s"),
        "20-5_linear": (BLUE, "o"),
        "80-20_linear": (BLUE, "s"),
    }
    for name, (colour, marker) in styles.items():
        measured, (size, kind) = found[name], name.split("_")
        label = f"{'ReLU' if kind == 'relu' else kind}, {size.replace('-', ' in ')}"
        seeds_over(left, measured.p, measured.represented / measured.n_hidden, colour, label, marker)
        seeds_over(right, measured.p, measured.superposition, colour, label, marker)
    left.set_ylabel("represented features for each dimension", fontsize=8)
    right.set_ylabel("mean superposition $\\sum_{j≠i} (Ŵ_i·W_j)^2$", fontsize=8)
    for ax in (left, right):
        density_axis(ax, (1, 0.1, 0.01, 0.001))
        ax.set_ylim(bottom=0)
    left.legend(fontsize=8, frameon=False)
    return figure


def _table(name: str, found: Measured) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "experiment": name,
            "feature_probability": found.p,
            "represented (median)": found.represented.median(dim=1).values,
            "represented (best seed)": of_best_seed(found.loss, found.represented),
            "in superposition (median)": found.superposed.median(dim=1).values,
            "of these in pairs (median)": found.pairs.nanmedian(dim=1).values,
            "mean superposition (median)": found.superposition.median(dim=1).values,
            "total dimensionality (median)": feature_dimensionality(found.W).sum(-1).median(dim=1).values,
            "fvu (median)": found.fvu.median(dim=1).values,
            "loss (best seed)": found.loss.amin(dim=1),
        }
    )
