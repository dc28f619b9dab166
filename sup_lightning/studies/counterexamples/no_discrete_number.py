"""X02: a network that has no discrete number of features, as what it represents is a place on a ring."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from sup_lightning.data import SyntheticFeatures
from sup_lightning.errors import reject, require_positive
from sup_lightning.experiment import Run
from sup_lightning.functional.counting import covering_angles, covering_number, effective_count, growth_exponent
from sup_lightning.functional.dimensionality import feature_dimensionality
from sup_lightning.functional.intervals import bootstrap_interval, seed_interval
from sup_lightning.functional.reconstruction import fraction_of_variance_unexplained
from sup_lightning.plotting.continuum import counts_figure, directions_figure
from sup_lightning.studies.study import Answer, Picture, Study
from sup_lightning.studies.verdict import Claim

RESOLUTIONS = (16, 32, 64, 128, 256)
RING, INDEPENDENT = "x02_ring", "x02_independent"
WIDTH = 0.125
BUMP_PROBABILITY = (1.0, 0.5, 0.25)
REPRESENTED = 0.5
"""An input counts as represented if less than this share of its variance is left unexplained: a rule that does not
depend on how long directions are, which shrink as N grows."""
GROWS, LEVELS_OFF = 0.8, 0.2
"""Exponents of growth with N: 1 is growth in proportion, 0 a plateau."""
COARSEST = 0.5
"""Largest angle (radians) at which directions are told apart; the smallest is twice the mean step round the ring."""
N_ANGLES = 24
ROWS, CHUNK = 16_384, 1_024


@dataclass(frozen=True)
class Measured:
    """Runs of one kind of data, by resolution. Quantities are `[n_points, n_seeds, n_resolutions]` if not said.

    Attributes:
        p: Probability of each point, as set.
        represented: Number of inputs that are represented.
        effective: Entropy-effective number of features, from their dimensionalities.
        squared_norm: |W|_F², the paper's estimate of the number of features.
        fvu: Fraction of variance unexplained, median over inputs.
        W: Directions at the finest resolution, `[n_points, n_seeds, n_features, n_hidden]`.
        kept: Which of these are represented.
        covering: How many directions cover them, `[n_points, n_seeds, n_angles]`.
        loss: Mean squared error of these, weighted by importance, `[n_points, n_seeds]`.
    """

    p: list[float]
    represented: Tensor
    effective: Tensor
    squared_norm: Tensor
    fvu: Tensor
    W: Tensor
    kept: Tensor
    covering: Tensor
    loss: Tensor

    @property
    def growth(self) -> dict[str, Tensor]:
        """Exponents of growth with N, `[n_points, n_seeds]`."""
        N = torch.tensor(RESOLUTIONS, dtype=torch.float64)
        return {name: growth_exponent(N, getattr(self, name)) for name in ("represented", "effective")}

    @property
    def dimension(self) -> Tensor:
        """Box-counting dimension of the directions, `[n_points, n_seeds]`."""
        return growth_exponent(1 / angles(), self.covering)


def angles() -> Tensor:
    """The angles at which directions are told apart, falling."""
    finest = 2 * 2 * math.pi / RESOLUTIONS[-1]
    return torch.logspace(math.log10(COARSEST), math.log10(finest), N_ANGLES, dtype=torch.float64)


class NoDiscreteNumber(Study):
    """Inputs that sample a ring ever more finely, beside as many independent inputs of the same law.

    Args:
        n_hidden: Dimensions of the bottleneck.
        width: Of a bump, as a share of the way round the ring.
    """

    id = "X02"
    title = "No discrete number of features"
    question = (
        "Is there a network that has no discrete number of features? A model of fixed width is trained on a bump "
        "somewhere on a ring, seen by N inputs: does the number of features that it represents settle as N grows?"
    )
    hypothesis = (
        "It does not settle. From 16 to 256 inputs the number of represented inputs and the entropy-effective number "
        f"of features grow at least as N^{GROWS:g}, and the directions fill a curve: the number of those further apart "
        f"than an angle grows at least as its inverse to the power {GROWS:g}. Of independent inputs, each of the law "
        "and the importance of one on the ring, the number that is represented grows as "
        f"N^{LEVELS_OFF:g} at most."
    )
    revised = (
        "After a first quick run, for the sake of time: bumps are present with p = 1, 0.5 and 0.25 instead of 1, 0.3 "
        "and 0.1, and batches are half as large. Thresholds and measurements are as they were."
    )
    caveat = (
        "What grows is a count of inputs and of directions; the place on the ring is one variable, and whoever calls "
        "that the feature counts one, represented as a curve and not as a direction. The paper's estimate |W|², which "
        "weighs directions by their length, levels off on the ring as well. Nothing sets a finest scale here: noise "
        "in the hidden layer, few examples, or finitely many places of the bump would, and the count would settle at "
        "the number of places that can be told apart. A real model's inputs are tokens, finite in number, so only a "
        "continuum behind them (a date, a colour, a position) could do the same. The verdict would change if the "
        "directions of neighbouring inputs fell into clusters, as a number of features is then found however fine the "
        "inputs."
    )
    experiments = tuple(f"{kind}_{n}" for kind in (RING, INDEPENDENT) for n in RESOLUTIONS)
    minutes = (1, 4)

    def __init__(self, n_hidden: int = 2, width: float = WIDTH) -> None:
        require_positive(n_hidden=n_hidden)
        if n_hidden < 2:
            reject("n_hidden", n_hidden, "at least 2: a ring does not fit on a line")
        if not 0 < width <= 0.5:
            reject("width", width, "a number in (0, 0.5], as a share of the way round the ring")
        self.n_hidden, self.width = n_hidden, width

    def overrides(self, experiment: str) -> dict[str, Any]:
        changed: dict[str, Any] = {} if self.n_hidden == 2 else {"model": {"net": {"n_hidden": self.n_hidden}}}
        if self.width == WIDTH:
            return changed
        if experiment.startswith(RING):
            bumps = {"class_path": "RingBumps", "init_args": {"width": self.width}}
            return changed | {"data": {"features": bumps}, "sweep": {"feature_probability": list(BUMP_PROBABILITY)}}
        p = [round(2 * self.width * each, 6) for each in BUMP_PROBABILITY]
        return changed | {"sweep": {"feature_probability": p}}

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        ring, independent = (measured([runs[f"{kind}_{n}"] for n in RESOLUTIONS]) for kind in (RING, INDEPENDENT))
        return Answer(
            claims=_claims(ring, independent),
            pictures={
                "directions": Picture(_directions(ring, independent), DIRECTIONS),
                "counts": Picture(_counts(ring, independent), COUNTS),
            },
            tables={"counts": pd.concat([_table(ring, "ring"), _table(independent, "independent")])},
        )


def measured(runs: Sequence[Run]) -> Measured:
    """The counts of runs of one kind, from coarse to fine."""
    columns: dict[str, list[Tensor]] = {name: [] for name in ("represented", "effective", "squared_norm", "fvu")}
    for run in runs:
        module, data = run.toy, cast(SyntheticFeatures, run.data)
        shape = (module.sweep.n_points, module.sweep.n_seeds)
        squared_error, fvu = _errors(run)
        W = module.feature_directions().detach().unflatten(0, shape)
        kept = fvu.unflatten(0, shape) < REPRESENTED
        columns["represented"].append(kept.sum(dim=-1).float())
        columns["effective"].append(effective_count(feature_dimensionality(W)))
        columns["squared_norm"].append(W.square().sum(dim=(-2, -1)))
        columns["fvu"].append(fvu.unflatten(0, shape).median(dim=-1).values)
    return Measured(
        p=[round(float(value), 6) for value in data.feature_probability[:: shape[1], 0]],
        **{name: torch.stack(values, dim=-1) for name, values in columns.items()},
        W=W,
        kept=kept,
        covering=covering_number(covering_angles(W, kept), angles()),
        loss=(squared_error * module.importance).sum(dim=-1).unflatten(0, shape),
    )


def _errors(run: Run) -> tuple[Tensor, Tensor]:
    """Mean squared error and share of variance unexplained of each input, `[n_instances, n_features]`."""
    module, data = run.toy, cast(SyntheticFeatures, run.data)
    sums: list[Tensor] = []
    for step in range(ROWS // CHUNK):
        batch = data.batch("number of features", step, range(CHUNK), CHUNK)
        parts = (module.net(batch.features) - batch.targets).square(), batch.targets, batch.targets.square()
        sums.append(torch.stack([part.mean(dim=1) for part in parts]))
    squared_error, mean, square = torch.stack(sums).mean(dim=0)
    fvu = fraction_of_variance_unexplained(*(each.unsqueeze(-1) for each in (squared_error, mean, square)))
    return squared_error, fvu


def least_median(values: Tensor) -> float:
    """Over points, of the median over seeds of `[n_points, n_seeds]`."""
    return round(float(values.median(dim=-1).values.min()), 6) + 0.0


def greatest_median(values: Tensor) -> float:
    """Over points, of the median over seeds of `[n_points, n_seeds]`."""
    return round(float(values.median(dim=-1).values.max()), 6) + 0.0


def _claims(ring: Measured, independent: Measured) -> list[Claim]:
    first, last = RESOLUTIONS[0], RESOLUTIONS[-1]

    def ends(m: Measured, name: str) -> str:
        """From and to how many, in the median over everything."""
        return " to ".join(f"{float(getattr(m, name)[..., k].median()):.3g}" for k in (0, -1))

    claims = []
    for name, text in (
        ("represented", "the number of inputs that are represented grows with N"),
        ("effective", "the entropy-effective number of features grows with N"),
    ):
        effect, *interval = bootstrap_interval(least_median, ring.growth[name])
        other = greatest_median(independent.growth[name])
        claims.append(
            Claim(
                text,
                effect,
                (interval[0], interval[1]),
                (GROWS, math.inf),
                f"independent inputs of the same law: {other:.2f} at most, from {ends(independent, name)}; on the ring "
                f"from {ends(ring, name)}, with |W|² from {ends(ring, 'squared_norm')}",
                f"exponent of growth from N = {first} to {last}, median over seeds, least over p",
            )
        )
    effect, *interval = bootstrap_interval(least_median, ring.dimension)
    claims.append(
        Claim(
            "the directions fill a curve, however finely they are told apart",
            effect,
            (interval[0], interval[1]),
            (GROWS, math.inf),
            f"independent inputs: {greatest_median(independent.dimension):.2f} at most",
            f"box-counting dimension of the directions at N = {last} (0 for a finite number of them), median over "
            "seeds, least over p",
        )
    )
    effect, *interval = bootstrap_interval(greatest_median, independent.growth["represented"])
    claims.append(
        Claim(
            "independent inputs: the number that is represented levels off",
            effect,
            (interval[0], interval[1]),
            (-math.inf, LEVELS_OFF),
            f"on the ring: {least_median(ring.growth['represented']):.2f} at least",
            f"exponent of growth from N = {first} to {last}, median over seeds, greatest over p",
        )
    )
    return claims


def _table(m: Measured, kind: str) -> pd.DataFrame:
    """One row for each point and resolution."""
    rows = []
    for k, p in enumerate(m.p):
        for at, N in enumerate(RESOLUTIONS):
            row: dict[str, Any] = {"kind": kind, "feature_probability": p, "n_features": N}
            for name in ("represented", "effective", "squared_norm", "fvu"):
                median, low, high = (float(each) for each in seed_interval(getattr(m, name)[k, :, at]))
                row |= {name: median, f"{name}_low": low, f"{name}_high": high}
            rows.append(row)
    return pd.DataFrame(rows)


DIRECTIONS = (
    f"The direction of each of {RESOLUTIONS[-1]} inputs in the hidden layer, of the model with the least loss, in "
    "units of the longest; coloured by place on the ring (left) or number (right). Filled dots are represented (less "
    "than half of the input's variance unexplained), rings are not. Beyond two hidden dimensions the two with most "
    "weight."
)
COUNTS = (
    "Left: inputs that are represented against the number of inputs N; dots are seeds, bands 95 % intervals. The "
    "dotted line is all of them. Middle: the entropy-effective number of features. Right: how many directions it takes "
    f"for every represented input to lie within an angle of one of them, at N = {RESOLUTIONS[-1]}: for a finite "
    "number of features the count levels off towards small angles, for a curve it never does."
)
NAMES = {"ring": "bump on a ring", "independent": "independent inputs"}


def _middle(m: Measured) -> int:
    return len(m.p) // 2


def _directions(ring: Measured, independent: Measured) -> Figure:
    panels = []
    for name, m in ((NAMES["ring"], ring), (NAMES["independent"], independent)):
        point = _middle(m)
        best = int(m.loss[point].argmin())
        n_kept = int(m.kept[point, best].sum())
        title = f"{name}, p = {m.p[point]:g}\n{n_kept} of {RESOLUTIONS[-1]} represented"
        panels.append((title, m.W[point, best], m.kept[point, best]))
    return directions_figure(panels)


def _counts(ring: Measured, independent: Measured) -> Figure:
    point = _middle(ring)
    columns = []
    for title, name in (("represented inputs", "represented"), ("effective number of features", "effective")):
        curves = {NAMES[kind]: getattr(m, name)[point].T for kind, m in (("ring", ring), ("independent", independent))}
        columns.append((title, curves))
    covering = {NAMES[kind]: m.covering[point].T for kind, m in (("ring", ring), ("independent", independent))}
    return counts_figure(RESOLUTIONS, columns, angles(), covering)
