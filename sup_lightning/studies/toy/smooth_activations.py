"""T10: GELU and other smooth activations in the place of ReLU, in both toy models."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import pandas as pd
import torch
from torch import Tensor

from sup_lightning.data import SyntheticFeatures
from sup_lightning.errors import reject, require_positive
from sup_lightning.experiment import Run
from sup_lightning.functional.dimensionality import represented_features
from sup_lightning.functional.geometry import describe, find_polytopes
from sup_lightning.functional.intervals import bootstrap_interval, of_best_seed, seed_interval
from sup_lightning.functional.naive import absolute_value_variance, naive_loss, naive_n_exact, sparse_variance
from sup_lightning.nn.activations import ToyActivationName
from sup_lightning.studies.study import Answer, Picture, Study
from sup_lightning.studies.toy import smooth_activations_figures as figures
from sup_lightning.studies.toy.activation_optima import Pentagon, pentagon, superposition_start
from sup_lightning.studies.toy.output_losses import output_losses
from sup_lightning.studies.verdict import Claim

RELU, SMOOTH, SILU, SOFTPLUS = (f"t10_bottleneck_{name}" for name in ("relu", "smooth", "silu", "softplus"))
SHARP = {4.0: "t10_bottleneck_sharp-4", 16.0: "t10_bottleneck_sharp-16"}
"""The smooth activation f as f(β z) / β, by β."""
ABSOLUTE_RELU, ABSOLUTE, ABSOLUTE_SHARP = (f"t10_absolute_{name}" for name in ("relu", "smooth", "sharp-16"))
AT = 0.05
"""Feature probability of the claims on features and errors."""
LATER = 0.9
"""Ratio of feature probabilities at which superposition begins that counts as later."""
FEWER = -0.5
"""Difference of represented features, mean over p, that counts as fewer."""
COSTLIER = 1.5
"""Ratio of the fractions of variance unexplained that counts as costing more."""
SAME = 0.1
"""Greatest relative difference of these that counts as the same."""
NO_WORSE = 1.1
"""Ratio of the losses of networks of neurons up to which the smooth ones are no worse."""


@dataclass(frozen=True)
class Kind:
    """An output activation.

    Attributes:
        experiment: That trains it.
        label: In figures and tables.
        activation: Its name.
        scale: Its sharpness β.
    """

    experiment: str
    label: str
    activation: ToyActivationName
    scale: float = 1.0

    @cached_property
    def start(self) -> tuple[float, float]:
        """Feature probability at which two features in one dimension begin to pay, and its error; exact."""
        return superposition_start(self.activation, self.scale)

    @cached_property
    def pentagon(self) -> Pentagon:
        """Five features in two dimensions at `AT`; exact."""
        return pentagon(self.activation, self.scale, AT)


@dataclass(frozen=True)
class Measured:
    """A trained bottleneck; leading axes are `[n_points, n_seeds]`.

    Attributes:
        p: Feature probability of each point.
        fvu: Fraction of variance unexplained.
        features: Represented features.
        W: Directions.
    """

    p: list[float]
    fvu: Tensor
    features: Tensor
    W: Tensor

    @property
    def best(self) -> Tensor:
        """Directions of the seed with the lowest error at each point, `[n_points, n_features, n_hidden]`."""
        return of_best_seed(self.fvu, self.W)

    @property
    def shapes(self) -> list[str]:
        """The polytopes of these."""
        return [describe(find_polytopes(W)) or "none" for W in self.best]


def measured(run: Run) -> Measured:
    """Errors and geometry of a bottleneck."""
    data, sweep = cast(SyntheticFeatures, run.data), run.toy.sweep
    p = data.feature_probability[:: sweep.n_seeds].double()
    fvu = output_losses(run).sum(dim=-1) / sparse_variance(p).sum(dim=1, keepdim=True)
    W = run.toy.feature_directions().detach().unflatten(0, fvu.shape)
    features = represented_features(W).sum(dim=-1).double()
    return Measured([round(float(value), 6) for value in p[:, 0]], fvu, features, W)


def over_naive(run: Run) -> Tensor:
    """Losses of a network of neurons over those of the naive network, `[n_points, n_seeds]`."""
    data, sweep, net = cast(SyntheticFeatures, run.data), run.toy.sweep, run.toy.net
    p = data.feature_probability[:: sweep.n_seeds].double()
    naive = naive_loss(absolute_value_variance(p), torch.ones_like(p), naive_n_exact(net.n_hidden, 2))
    return output_losses(run).sum(dim=-1) / naive.unsqueeze(1)


class SmoothActivations(Study):
    """ReLU, GELU, SiLU, softplus and sharpened GELUs on the outputs of a bottleneck; GELU neurons for absolute values.

    Args:
        activation: What is put in the place of ReLU, at three sharpnesses.
        n_features: Of the bottleneck.
        n_hidden: Dimensions of the bottleneck.
    """

    id = "T10"
    title = "GELU for ReLU"
    question = "Do GELU activations in the place of ReLU change superposition, or is all just smoother?"
    hypothesis = (
        "On the outputs of a bottleneck GELU gives superposition of the same kind, later and weaker: sharing a "
        "dimension begins to pay at a feature probability at most 0.9 times that of ReLU; fewer features are "
        "represented, by half a feature or more on average over the feature probabilities; at p = 0.05 at least 1.5 "
        "times as much variance is unexplained. The bend alone makes the difference: sharpened sixteen times, GELU is "
        "ReLU again, with an error within 10 %. In the hidden layer, where the weights choose the sharpness, GELU "
        "neurons compute absolute values no worse than ReLU: at most 1.1 times the loss."
    )
    revised = (
        "Where superposition begins was first taken from the kind of the exact optimum, which gave 0.77 for ReLU and "
        "0.97 for GELU. That says nothing: at high feature probabilities a nearly linear network may as well pass the "
        "difference of two features as one of them. It is now where the optimum leaves a tenth less than a linear "
        "network. The trainings were made shorter before any was run, to save time."
    )
    caveat = (
        "Eight features in two dimensions and ten neurons for twenty functions: small enough for polygons to be named, "
        "and too small to say how numbers grow. The bottleneck's output cannot choose its sharpness, as outputs have "
        "to be as large as the features; in a transformer's MLP weights can, and real inputs are not of a fixed size. "
        "An untied or rescaled output would let GELU be sharper, and would bring it nearer to ReLU. Trainings are "
        "short: softplus at p = 0.05 ends far above the optimum, and GELU neurons, which with large weights are ReLU "
        "neurons, may catch up where they are trained for longer; what counts against them is what this training finds."
    )
    experiments = (RELU, SMOOTH, *SHARP.values(), SILU, SOFTPLUS, ABSOLUTE_RELU, ABSOLUTE, ABSOLUTE_SHARP)
    minutes = (2, 3)

    def __init__(self, activation: ToyActivationName = "gelu", n_features: int = 8, n_hidden: int = 2) -> None:
        if activation not in figures.NAMES:
            reject("activation", activation, ", ".join(figures.NAMES))
        require_positive(n_features=n_features, n_hidden=n_hidden)
        self.activation: ToyActivationName = activation
        self.n_features, self.n_hidden = n_features, n_hidden

    def overrides(self, experiment: str) -> dict[str, Any]:
        is_smooth = experiment in (SMOOTH, *SHARP.values(), ABSOLUTE, ABSOLUTE_SHARP)
        net: dict[str, Any] = {"activation": self.activation} if is_smooth else {}
        if experiment in (ABSOLUTE_RELU, ABSOLUTE, ABSOLUTE_SHARP):
            return {"model": {"net": net}} if net else {}
        return {"model": {"net": net | {"n_hidden": self.n_hidden}}, "data": {"n_features": self.n_features}}

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        kinds = {kind.experiment: kind for kind in self._kinds()}
        found = {name: measured(runs[name]) for name in kinds}
        neurons = {name: over_naive(runs[name]) for name in (ABSOLUTE_RELU, ABSOLUTE, ABSOLUTE_SHARP)}
        p_neurons = [float(each) for each in runs[ABSOLUTE].toy.sweep.axes["feature_probability"]]
        pictures = {
            "sweep": Picture(figures.sweep(found, kinds), figures.SWEEP),
            "neurons": Picture(figures.neurons(p_neurons, neurons, kinds[SMOOTH].label), figures.NEURONS),
        }
        if self.n_hidden == 2:
            pictures["shapes"] = Picture(figures.shapes(found, kinds), figures.SHAPES)
        return Answer(
            claims=_claims(found, kinds, neurons),
            pictures=pictures,
            tables={
                "bottleneck": pd.concat([_table(kinds[name], m) for name, m in found.items()]),
                "exact": _exact_table(kinds.values()),
                "neurons": pd.concat([_neuron_table(name, p_neurons, each) for name, each in neurons.items()]),
            },
        )

    def _kinds(self) -> list[Kind]:
        name = figures.NAMES[self.activation]
        sharp = [Kind(each, f"{name}, β = {scale:g}", self.activation, scale) for scale, each in SHARP.items()]
        return [
            Kind(RELU, "ReLU", "relu"),
            Kind(SMOOTH, name, self.activation),
            *sharp,
            Kind(SILU, "SiLU", "silu"),
            Kind(SOFTPLUS, "softplus", "softplus"),
        ]


def _median_ratio(pair: Tensor) -> Tensor:
    """Medians over seeds of the first over those of the second, `[n_points]`, from `[2, n_points, n_seeds]`."""
    first, second = pair.quantile(0.5, dim=-1)
    return first / second


def _claims(found: Mapping[str, Measured], kinds: Mapping[str, Kind], neurons: Mapping[str, Tensor]) -> list[Claim]:
    relu, smooth, sharpest = found[RELU], found[SMOOTH], found[SHARP[max(SHARP)]]
    name = kinds[SMOOTH].label
    starts = "; ".join(f"{kind.label} {kind.start[0]:.3f}" for kind in kinds.values())
    (p_relu, e_relu), (p_smooth, e_smooth) = kinds[RELU].start, kinds[SMOOTH].start
    fewer, *fewer_ends = bootstrap_interval(
        lambda pair: float((pair[1].mean(dim=-1) - pair[0].mean(dim=-1)).mean()),
        torch.stack([relu.features, smooth.features]),
    )
    at = smooth.p.index(AT)
    cost, *cost_ends = bootstrap_interval(
        lambda pair: float(_median_ratio(pair)[at]), torch.stack([smooth.fvu, relu.fvu])
    )

    def greatest_difference(pair: Tensor) -> float:
        return float((_median_ratio(pair) - 1).abs().max())

    same, *same_ends = bootstrap_interval(greatest_difference, torch.stack([sharpest.fvu, relu.fvu]))
    worse, *worse_ends = bootstrap_interval(
        lambda pair: float(_median_ratio(pair).max()), torch.stack([neurons[ABSOLUTE], neurons[ABSOLUTE_RELU]])
    )
    exact = "; ".join(f"{kinds[e].label} {kinds[e].pentagon.fvu:.3f}" for e in found)
    return [
        Claim(
            f"with {name} superposition begins later",
            p_smooth / p_relu,
            ((p_smooth - e_smooth) / (p_relu + e_relu), (p_smooth + e_smooth) / (p_relu - e_relu)),
            (-math.inf, LATER),
            f"p* = {starts}",
            "feature probability below which two features in one dimension are a tenth better explained than linearly, "
            "over that of ReLU; exact optima",
        ),
        Claim(
            f"with {name} fewer features are represented",
            fewer,
            (fewer_ends[0], fewer_ends[1]),
            (-math.inf, FEWER),
            f"sharpened {max(SHARP):g} times: {float((sharpest.features - relu.features).mean()):+.2f}",
            "more features than with ReLU, mean over seeds and p",
        ),
        Claim(
            f"with {name} more variance is unexplained",
            cost,
            (cost_ends[0], cost_ends[1]),
            (COSTLIER, math.inf),
            f"exact optimum of five features in two dimensions, a pentagon each time: {exact}",
            f"fraction of variance unexplained at p = {AT:g} over that of ReLU, medians over seeds",
        ),
        Claim(
            f"sharp enough, {name} is ReLU",
            same,
            (same_ends[0], same_ends[1]),
            (-math.inf, SAME),
            f"unsharpened: {greatest_difference(torch.stack([smooth.fvu, relu.fvu])):.2f}; sharpened "
            f"{min(SHARP):g} times: {greatest_difference(torch.stack([found[SHARP[min(SHARP)]].fvu, relu.fvu])):.2f}",
            f"relative difference of the unexplained variance from ReLU at β = {max(SHARP):g}, medians over seeds, "
            "greatest over p",
        ),
        Claim(
            f"{name} neurons compute absolute values no worse than ReLU neurons",
            worse,
            (worse_ends[0], worse_ends[1]),
            (-math.inf, NO_WORSE),
            f"sharpened {max(SHARP):g} times: "
            f"{float(_median_ratio(torch.stack([neurons[ABSOLUTE_SHARP], neurons[ABSOLUTE_RELU]])).max()):.2f}; losses "
            f"over naive at the rarest features: {float(neurons[ABSOLUTE][-1].quantile(0.5)):.2f} and (ReLU) "
            f"{float(neurons[ABSOLUTE_RELU][-1].quantile(0.5)):.2f}",
            "loss over that of ReLU neurons, medians over seeds, greatest over p",
        ),
    ]


def _table(kind: Kind, m: Measured) -> pd.DataFrame:
    fvu, low, high = seed_interval(m.fvu)
    columns = {
        "activation": kind.label,
        "feature_probability": m.p,
        "fvu": fvu,
        "low": low,
        "high": high,
        "fvu_of_best_seed": m.fvu.amin(dim=1),
        "represented_features": m.features.mean(dim=1),
        "shape_of_best_seed": m.shapes,
    }
    return pd.DataFrame(columns)


def _exact_table(kinds: Iterable[Kind]) -> pd.DataFrame:
    """Without training: where superposition begins, and the optimum of five features in two dimensions."""
    rows = [
        {"activation": kind.label, "superposition_below_p": kind.start[0], **kind.pentagon._asdict()} for kind in kinds
    ]
    return pd.DataFrame(rows)


def _neuron_table(name: str, p: list[float], ratio: Tensor) -> pd.DataFrame:
    median, low, high = seed_interval(ratio)
    columns = {"feature_probability": p, "loss_over_naive": median, "low": low, "high": high}
    return pd.DataFrame({"experiment": name, **columns})
