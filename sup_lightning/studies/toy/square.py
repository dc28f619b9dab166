"""T03: several neurons for one function, x² in the place of |x|."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from sup_lightning.data import SyntheticFeatures
from sup_lightning.errors import reject, require_positive
from sup_lightning.experiment import Run
from sup_lightning.functional.intervals import bootstrap_interval, seed_interval
from sup_lightning.functional.quadratic import homogeneous_floor
from sup_lightning.nn.activations import TOY_ACTIVATIONS, ToyActivationName
from sup_lightning.nn.square_floor import relu_square_floor, shared_square_floor
from sup_lightning.studies.study import Answer, Picture, Study
from sup_lightning.studies.toy import square_figures as figures
from sup_lightning.studies.toy.output_losses import instances_of, output_losses
from sup_lightning.studies.verdict import Claim

SQUARE, SQUARE_NO_BIAS = "t03_square_bias", "t03_square_no-bias"
ABSOLUTE, ABSOLUTE_NO_BIAS = "t03_absolute_bias", "t03_absolute_no-bias"
FIRES = 1e-4
"""Features that fire less often than this are there to be left out: fewer functions for the same neurons."""
BETTER = 0.5
"""Error over the floor of fewer neurons that counts as better than these can be."""
EXACT = 1e-4
"""Squared error of |x|, over rows in which x is active, that counts as exact; its variance is 1/12."""
NOTHING_GAINED = 0.9
"""Error with many neurons over that with few, from which on the many have brought nothing."""
SEVERAL = 4.0
"""Neurons for each function that are more than an absolute value takes."""


@dataclass(frozen=True)
class Measured:
    """One experiment; leading axes are `[n_densities, n_shares]`, the shares by rising neurons for each function.

    Attributes:
        p: Feature probability of each row.
        n_functions: Of each column.
        n_neurons: Of the network.
        points: Where each is in the run's sweep.
        loss: Squared error of a function over rows in which its feature is active, mean over the network's functions,
            `[n_densities, n_shares, n_seeds]`.
    """

    p: list[float]
    n_functions: list[int]
    n_neurons: int
    points: Tensor
    loss: Tensor

    @property
    def share(self) -> list[float]:
        """Neurons for each function."""
        return [self.n_neurons / n for n in self.n_functions]

    def at(self, share: float) -> Tensor:
        """Losses of the networks with no fewer neurons for each function than this, `[n_densities, n_seeds]`."""
        return self.loss[:, next(k for k, each in enumerate(self.share) if each >= share)]

    @property
    def at_several(self) -> int:
        """The column of `several`."""
        return next(k for k, share in enumerate(self.share) if share >= SEVERAL)

    @property
    def several(self) -> Tensor:
        """Losses of the networks with `SEVERAL` neurons for each function, `[n_densities, n_seeds]`."""
        return self.loss[:, self.at_several]

    @property
    def most(self) -> Tensor:
        """Losses of the networks with one function, `[n_densities, n_seeds]`."""
        return self.loss[:, -1]


def measured(run: Run) -> Measured:
    """Losses of the functions whose features fire."""
    data, sweep = cast(SyntheticFeatures, run.data), run.toy.sweep
    p = data.feature_probability[:: sweep.n_seeds].double()
    fires = p > FIRES
    density, n_functions = p.amax(dim=1), fires.sum(dim=1)
    outputs = output_losses(run)
    loss = (outputs * fires.unsqueeze(1)).sum(dim=-1) / (density * n_functions).unsqueeze(1)
    # From the densest features to the rarest, and from the most functions to one.
    order = n_functions.argsort(descending=True, stable=True)
    order = order[density[order].argsort(descending=True, stable=True)]
    densities, counts = density.unique().flip(0), n_functions.unique().flip(0).tolist()
    points = order.view(len(densities), len(counts))
    return Measured([round(float(d), 6) for d in densities], counts, run.toy.net.n_hidden, points, loss[points])


class SquareNeurons(Study):
    """Squares and absolute values of one to twelve features by twelve neurons, with and without biases.

    Args:
        activation: Of the neurons.
        n_hidden: Number of neurons.
        init: Law of the initial weights. From `transpose`, which writes where it reads, neurons of one side stay
            together.
    """

    id = "T03"
    title = "Several neurons for one function"
    question = "What if the network is to compute x² instead of |x|: do several neurons share in each function?"
    hypothesis = (
        "Yes, if neurons have biases: with four neurons to a square the error is at most half of the least that two "
        "can have, and with twelve at most half of the least that four can have, at every feature probability. Without "
        "biases all knots are at 0, and twelve neurons bring less than a tenth over four. For |x| two neurons are "
        "exact, and with four at hand the error is below 0.0001."
    )
    revised = (
        "The training was made shorter, and feature probabilities and numbers of functions fewer, before any result "
        "was seen, to save time. A first full run started from output weights that are the input weights' sizes, with "
        "all biases 0. Its four neurons had 1.3 times the floor of two, its twelve 8.5 times that of four, and |x| was "
        "inconclusive: most neurons of one side had one knot. That is the start's doing: neurons in one place, whose "
        "weights are balanced, get equal pushes and stay together (it can be seen again with --init transpose). Now "
        "input and output weights are drawn independently. Thresholds are as they were."
    )
    caveat = (
        "A linear readout without a bias, so that all of the curve is made by hidden neurons, and a dozen of them; the "
        "twelve are shared by twelve functions down to one, and functions are equally important. How many neurons a "
        "function gets in a real network depends on how much its precision is worth beside other functions, which is "
        "not varied here. Where functions are many and dense, other features shift a neuron as a bias does, so that "
        "widths beyond those seen may help without biases as well. Trained networks stay far above the least "
        "errors of their widths: errors say what this training finds, not what as many neurons can do, and a start "
        "that spreads the knots, or a longer training, could turn both first claims."
    )
    experiments = (SQUARE, SQUARE_NO_BIAS, ABSOLUTE, ABSOLUTE_NO_BIAS)
    minutes = (1, 2)

    def __init__(
        self,
        activation: ToyActivationName = "relu",
        n_hidden: int = 12,
        init: Literal["he", "xavier", "transpose"] = "he",
    ) -> None:
        if activation not in TOY_ACTIVATIONS:
            reject("activation", activation, ", ".join(TOY_ACTIVATIONS))
        require_positive(n_hidden=n_hidden)
        if n_hidden < 2 * SEVERAL:
            reject("n_hidden", n_hidden, f"at least {2 * SEVERAL:g}")
        if init not in ("he", "xavier", "transpose"):
            reject("init", init, "he, xavier, transpose")
        self.activation: ToyActivationName = activation
        self.n_hidden = n_hidden
        self.init = init

    def overrides(self, experiment: str) -> dict[str, Any]:
        return {"model": {"net": {"activation": self.activation, "n_hidden": self.n_hidden, "init": self.init}}}

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        found = {name: measured(run) for name, run in runs.items()}
        floors = [shared_square_floor(n, self.n_hidden) / n for n in found[SQUARE].n_functions]
        return Answer(
            claims=_claims(found),
            pictures={
                "errors": Picture(figures.errors(found, floors), figures.ERRORS),
                "curves": Picture(self._curves(runs, found), figures.CURVES),
            },
            tables={"errors": pd.concat([_table(name, m, floors) for name, m in found.items()])},
        )

    def _curves(self, runs: Mapping[str, Run], found: Mapping[str, Measured]) -> Figure:
        """The best seeds at the middle density."""
        panels = []
        for name, biases in ((SQUARE, "biases"), (SQUARE_NO_BIAS, "no biases")):
            m = found[name]
            row, n_seeds = len(m.p) // 2, m.loss.shape[-1]
            for column in (1, m.at_several, -1):
                first = int(m.points[row, column]) * n_seeds + int(m.loss[row, column].argmin())
                net = instances_of(runs[name].toy.net, slice(first, first + 1))
                panels.append((f"{m.share[column]:.3g} neurons a function, {biases}", net))
        return figures.curves(panels)


def _worst(values: Tensor) -> float:
    """Over densities, of the median over seeds of `[n_densities, n_seeds]`."""
    return float(values.quantile(0.5, dim=-1).max())


def _least(values: Tensor) -> float:
    return -_worst(-values)


def _range(values: Tensor) -> str:
    """Medians over seeds, from the least to the greatest of all densities."""
    return f"{_least(values):.2g} to {_worst(values):.2g}"


def _claims(found: Mapping[str, Measured]) -> list[Claim]:
    square, bare, absolute = found[SQUARE], found[SQUARE_NO_BIAS], found[ABSOLUTE]
    several, most = f"{square.share[square.at_several]:g}", f"{square.share[-1]:g}"
    worst = "median over seeds, greatest over p"
    four, *four_ends = bootstrap_interval(_worst, square.several / relu_square_floor(2))
    twelve, *twelve_ends = bootstrap_interval(_worst, square.most / relu_square_floor(4))
    gain, *gain_ends = bootstrap_interval(_ratio, torch.stack([bare.most, bare.several]))
    exact, *exact_ends = bootstrap_interval(_worst, absolute.several)
    return [
        Claim(
            f"{several} neurons share in a square: better than any two",
            four,
            (four_ends[0], four_ends[1]),
            (-math.inf, BETTER),
            f"without biases {_range(bare.several / relu_square_floor(2))}; two neurons a function, with biases: "
            f"{_range(square.at(2) / relu_square_floor(2))}",
            f"error with {several} neurons a function over the exact floor of two, {worst}",
        ),
        Claim(
            f"{most} neurons share in a square: better than any four",
            twelve,
            (twelve_ends[0], twelve_ends[1]),
            (-math.inf, BETTER),
            f"without biases {_range(bare.most / relu_square_floor(4))}",
            f"error with {most} neurons and one function over the exact floor of four, {worst}",
        ),
        Claim(
            f"without biases {most} neurons bring nothing over {several}",
            gain,
            (gain_ends[0], gain_ends[1]),
            (NOTHING_GAINED, math.inf),
            f"with biases {_ratio(torch.stack([square.most, square.several])):.2g}",
            f"error with {most} neurons a function over that with {several}, medians over seeds, least over p",
        ),
        Claim(
            "an absolute value takes no more than two",
            exact,
            (exact_ends[0], exact_ends[1]),
            (-math.inf, EXACT),
            f"x² in the same setting: {_range(square.several)}; |x| without biases "
            f"{_range(found[ABSOLUTE_NO_BIAS].several)}; |x| with two neurons a function, best seed "
            f"{float(absolute.at(2).amin(dim=1).max()):.2g}",
            f"squared error of |x| with {several} neurons a function, {worst}",
        ),
    ]


def _ratio(pair: Tensor) -> float:
    """Medians over seeds of the first over those of the second, least over densities; `[2, n_densities, n_seeds]`."""
    first, second = pair.quantile(0.5, dim=-1)
    return float((first / second).min())


def _table(name: str, m: Measured, floors: list[float]) -> pd.DataFrame:
    """One row for each density and share of neurons."""
    tables = []
    for p, loss in zip(m.p, m.loss, strict=True):
        median, low, high = seed_interval(loss)
        columns = {
            "experiment": name,
            "feature_probability": p,
            "functions": m.n_functions,
            "neurons_per_function": m.share,
            "error_when_active": median,
            "low": low,
            "high": high,
            "best_seed": loss.amin(dim=1),
        }
        if name in (SQUARE, SQUARE_NO_BIAS):
            bare = [float(homogeneous_floor(torch.tensor(p), n)) / p for n in m.n_functions]
            columns |= {
                "naive_floor": floors,
                "loss_over_naive": median / torch.tensor(floors),
                "floor_without_biases": bare,
            }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables)
