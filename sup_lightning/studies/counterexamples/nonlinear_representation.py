"""X01: a code that holds features which are not directions of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from sup_lightning.data import SyntheticFeatures
from sup_lightning.errors import reject, require_positive
from sup_lightning.experiment import Run
from sup_lightning.functional.code_paths import code_paths, path_nonlinearity, path_turning
from sup_lightning.functional.intervals import bootstrap_interval, seed_interval
from sup_lightning.functional.probing import probe_r2
from sup_lightning.nn.autoencoder import NarrowAutoencoder
from sup_lightning.nn.mlp import InstanceMLP
from sup_lightning.plotting.codes import paths_figure, probes_figure
from sup_lightning.studies.study import Answer, Picture, Study
from sup_lightning.studies.verdict import Claim

LINEAR, DEEP, ONE = "x01_m1_l1", "x01_m1_l3", "x01_one-feature"
SHALLOW, WIDE = "x01_m1_l2", "x01_m2_l3"
AT = 0.1
"""Feature probability at which probes are trained."""
LEAST_GAP = 0.3
"""Share of the features' variance that an MLP reads and a linear probe does not."""
LEAST_BEND = 0.05
"""Share of a feature's path that is not straight and even; a line that jumps at its start has up to 1/4."""
GAIN = 0.7
"""Variance left unexplained by three encoder layers, over that by one with the same decoder, at most."""
SOLVED, MOST_LINEAR = 0.8, 0.9
"""R² of the head's answer at least; and of a linear probe for any feature, in any layer from the code on, at most."""
MOST_MADE_LINEAR = 0.25
"""Share of features that may be linear somewhere for "most are not": one of the four."""
ROWS = 4_096


@dataclass(frozen=True)
class Measured:
    """One run; `[n_points, n_seeds]` if not said.

    Attributes:
        p: Feature probability of each point.
        fvu: Variance of the features that the decoder leaves unexplained.
        solved: R² of the head's answer.
        linear: R² of a linear probe on the code, mean over features.
        bend: Share of the features' paths that is not straight and even, mean over features.
        turning: By how much the paths turn, radians, mean over features.
        layers: R² of a linear probe in each layer from the code on, `[n_layers, n_points, n_seeds, n_features]`.
        paths: The paths `[n_points, n_seeds, n_features, n_steps, n_hidden]`.
        mlp: R² of an MLP probe on the code at `AT`, mean over features, `[n_seeds]`.
        mlp_permuted: The same with the features' rows permuted.
        mlp_random, linear_random: Of both probes on the code of the untrained encoder.
        bend_random: Share of bent paths of the untrained encoder, `[n_seeds]`.
    """

    p: list[float]
    fvu: Tensor
    solved: Tensor
    linear: Tensor
    bend: Tensor
    turning: Tensor
    layers: Tensor
    paths: Tensor
    mlp: Tensor
    mlp_permuted: Tensor
    mlp_random: Tensor
    linear_random: Tensor
    bend_random: Tensor

    @property
    def at(self) -> int:
        """The point at which probes were trained."""
        return self.p.index(AT) if AT in self.p else 0


class NonlinearRepresentation(Study):
    """Autoencoders with one or two dimensions for several features, and a narrow head that computes from their code.

    Args:
        width: Neurons in each hidden layer of encoder and decoder.
        head_width: Neurons in each hidden layer of the head; less than the four features, so that they cannot all be
            directions there.
    """

    id = "X01"
    title = "A non-linear representation"
    question = (
        "Can a network learn a code in which features are represented but not as directions, and compute from it "
        "without ever making them linear?"
    )
    hypothesis = (
        "Four features of p = 0.1 are coded in one dimension by three layers. A multi-layer perceptron reads at least "
        f"{LEAST_GAP:g} more of the features' variance from that code than a linear probe; at least {LEAST_BEND:g} of "
        "the code's path, as one feature grows, is not straight and even; and at every p the decoder leaves at most "
        f"{GAIN:g} times the variance unexplained that it leaves of a linear code. A head of three neurons a layer "
        f"computes the largest feature from it (R² of {SOLVED:g} or more), while from the code on no layer holds any "
        f"feature linearly with an R² above {MOST_LINEAR:g}, or at least not more than one feature of the four."
    )
    revised = (
        "Trials on a few seeds came before the full run: with ReLU neurons and outputs that could start dead, many "
        "codes held one feature or two, so neurons are GELU and outputs start alive. The same trials showed one "
        "feature of four that the head did make linear; the criterion that none is was kept, and that of one in four "
        "at most was added beside it."
    )
    caveat = (
        "A gap between probes alone proves nothing: features in superposition show it too, as the linear code here "
        "does. What would set a code apart is that its paths are bent and that it holds what no linear code of its "
        "width can. A narrow head that solves its task without linear features is no proof either: two dimensions that "
        "hold six features along nearly straight paths allow it too. A dimension is scarce here by construction; a "
        "real model has many, and pays for the layers that such a code takes to write and to read. Probes find what is "
        "there, not what is used: the head is evidence of use, for one task. Training is short, 2,000 steps; the "
        "verdict would change if more of it bent the paths further, or let every head solve its task."
    )
    experiments = (LINEAR, DEEP, SHALLOW, WIDE, ONE)
    minutes = (1, 2)

    def __init__(self, width: int = 32, head_width: int = 3) -> None:
        require_positive(width=width, head_width=head_width)
        if head_width > 3:
            reject("head_width", head_width, "less than the four features")
        self.width, self.head_width = width, head_width

    def overrides(self, experiment: str) -> dict[str, Any]:
        defaults = {"width": 32, "head_width": 3}
        changed = {name: getattr(self, name) for name, value in defaults.items() if getattr(self, name) != value}
        return {"model": {"net": changed}} if changed else {}

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        found = {name: measured(run) for name, run in runs.items()}
        return Answer(
            claims=_claims(found),
            pictures={"paths": Picture(_paths(found), PATHS), "probes": Picture(_probes(found), PROBES)},
            tables={"codes": _table(found)},
        )


def measured(run: Run) -> Measured:
    """What probes and paths say of the codes of a run."""
    data, net, sweep = cast(SyntheticFeatures, run.data), cast(NarrowAutoencoder, run.toy.net), run.toy.sweep
    shape, n = (sweep.n_points, sweep.n_seeds), net.n_features
    batch = data.batch("non-linear code", 0, range(ROWS), ROWS)
    x, y = batch.features, batch.targets
    output = net(x)
    error = (output - y).square().mean(dim=1)
    variance = y.var(dim=1, correction=0)
    code = net.encoder(x)
    layers = [code, *(net.head.layers(code)[:-1] if net.head is not None else [])]
    reads = [torch.stack([probe_r2(*pair) for pair in zip(layer, x, strict=True)]) for layer in layers]
    paths = code_paths(lambda rows: net.encoder(rows.expand(net.n_instances, -1, -1)), n)
    untrained = InstanceMLP("encoder", net.seeds, net.encoder.sizes)
    random_paths = code_paths(lambda rows: untrained(rows.expand(net.n_instances, -1, -1)), n)
    p = [round(float(value), 6) for value in data.feature_probability[:: sweep.n_seeds, 0]]
    start = (p.index(AT) if AT in p else 0) * sweep.n_seeds
    some = slice(start, start + sweep.n_seeds)
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(0))

    def mlp(codes: Tensor, targets: Tensor) -> Tensor:
        """Mean over features, of the seeds at `AT`."""
        return torch.stack([probe_r2(*pair, "mlp").nanmean() for pair in zip(codes[some], targets[some], strict=True)])

    random_code = untrained(x)
    return Measured(
        p=p,
        fvu=(error[:, :n].sum(dim=1) / variance[:, :n].sum(dim=1)).view(shape),
        solved=(1 - error[:, -1] / variance[:, -1]).view(shape),
        linear=reads[0].nanmean(dim=1).view(shape),
        bend=path_nonlinearity(paths).nanmean(dim=1).view(shape),
        turning=path_turning(paths).mean(dim=1).view(shape),
        layers=torch.stack([each.nan_to_num(nan=0.0).unflatten(0, shape) for each in reads]),
        paths=paths.unflatten(0, shape),
        mlp=mlp(code, x),
        mlp_permuted=mlp(code, x[:, order]),
        mlp_random=mlp(random_code, x),
        linear_random=torch.stack([probe_r2(*pair).nanmean() for pair in zip(random_code[some], x[some], strict=True)]),
        bend_random=path_nonlinearity(random_paths).nanmean(dim=1)[some],
    )


def greatest_median(values: Tensor) -> float:
    """Over points, of the median over seeds of `[n_points, n_seeds]`."""
    return float(values.median(dim=-1).values.max())


def _claims(found: dict[str, Measured]) -> list[Claim]:
    deep, linear, one, wide = found[DEEP], found[LINEAR], found[ONE], found[WIDE]
    at = deep.at

    def median(values: Tensor) -> float:
        return float(seed_interval(values)[0])

    gap, *ends = (float(each) for each in seed_interval(deep.mlp - deep.linear[at]))
    claims = [
        Claim(
            "the features are in the code, and not linearly",
            gap,
            (ends[0], ends[1]),
            (LEAST_GAP, math.inf),
            f"MLP {median(deep.mlp):.2f}, linear {median(deep.linear[at]):.2f}. Untrained encoder: MLP "
            f"{median(deep.mlp_random):.2f}, linear {median(deep.linear_random):.2f}; features permuted: MLP "
            f"{median(deep.mlp_permuted):.2f}; linear encoder: MLP {median(linear.mlp):.2f}, linear "
            f"{median(linear.linear[linear.at]):.2f}; one feature alone: linear {median(one.linear[0]):.2f}",
            f"R² of an MLP probe less that of a linear one, mean over features, at p = {deep.p[at]:g}",
        )
    ]
    bend, *ends = (float(each) for each in seed_interval(deep.bend[at]))
    claims.append(
        Claim(
            "a feature is not a direction of the code",
            bend,
            (ends[0], ends[1]),
            (LEAST_BEND, math.inf),
            f"linear encoder: {median(linear.bend[linear.at]):.2g}; untrained encoder: {median(deep.bend_random):.2g}; "
            f"one feature alone: {median(one.bend[0]):.2g}",
            "share of the code's path that is not straight and even as one feature grows, mean over features",
        )
    )
    gain, *ends = bootstrap_interval(greatest_median, deep.fvu / linear.fvu)
    claims.append(
        Claim(
            "the code holds more than a linear one could",
            gain,
            (ends[0], ends[1]),
            (-math.inf, GAIN),
            f"a linear code with the same decoder: 1, {median(linear.fvu[linear.at]):.2f} of the variance unexplained "
            f"at p = {deep.p[at]:g}; three layers {median(deep.fvu[at]):.2f}",
            "variance unexplained over that of the linear code, median over seeds, greatest over p",
        )
    )
    solved, *ends = (float(each) for each in seed_interval(deep.solved[at]))
    claims.append(
        Claim(
            "a narrow head computes from the code",
            solved,
            (ends[0], ends[1]),
            (SOLVED, math.inf),
            f"the same head on the linear code: {median(linear.solved[linear.at]):.2f}; on two dimensions for six "
            f"features {median(wide.solved[wide.at]):.2f}",
            "R² of the largest feature",
        )
    )
    greatest = deep.layers[:, at].amax(dim=0)  # [n_seeds, n_features], over layers
    share, *ends = bootstrap_interval(lambda linear: float(linear.mean()), (greatest > MOST_LINEAR).float().mean(dim=1))
    alone = float((one.layers[:, 0].amax(dim=0) > MOST_LINEAR).float().mean())
    claims.append(
        Claim(
            "most features are never made linear on the way",
            share,
            (ends[0], ends[1]),
            (-math.inf, MOST_MADE_LINEAR),
            f"one feature alone: {alone:.2f}. A layer of three neurons could hold three of the four",
            f"share of features that a linear probe reads with an R² above {MOST_LINEAR:g} in some layer from the code "
            "on, mean over seeds",
        )
    )
    effect, *ends = (float(each) for each in seed_interval(greatest.amax(dim=1)))
    claims.append(
        Claim(
            "no feature is ever made linear",
            effect,
            (ends[0], ends[1]),
            (-math.inf, MOST_LINEAR),
            f"one feature alone: {median(one.layers[:, 0].amax(dim=0).amax(dim=1)):.2f}; in the code itself "
            f"{median(deep.layers[0, at].amax(dim=1)):.2f}; two dimensions for six features, whose paths are nearly "
            f"straight (bent by {median(wide.bend[wide.at]):.2f}): "
            f"{median(wide.layers[:, wide.at].amax(dim=0).amax(dim=1)):.2f}",
            "greatest R² of a linear probe over features and layers, from the code on",
        )
    )
    return claims


def _table(found: dict[str, Measured]) -> pd.DataFrame:
    """One row for each run and point."""
    rows = []
    for experiment, m in found.items():
        for point, p in enumerate(m.p):
            row: dict[str, Any] = {"experiment": experiment, "feature_probability": p}
            for name in ("fvu", "solved", "linear", "bend", "turning"):
                median, low, high = (float(each) for each in seed_interval(getattr(m, name)[point]))
                row |= {name: median, f"{name}_low": low, f"{name}_high": high}
            row["most_linear_in_head"] = float(m.layers[:, point].amax(dim=0).amax(dim=1).median())
            if point == m.at:
                for name in ("mlp", "mlp_permuted", "mlp_random", "linear_random", "bend_random"):
                    row[name] = float(getattr(m, name).median())
            rows.append(row)
    return pd.DataFrame(rows)


PATHS = (
    "The code as one feature grows from 0 to 1, the others at rest, in the model with the least loss at p = 0.1. Left: "
    "a linear encoder can only give each feature a slope, and an MLP decoder tells steep from flat. Middle: three "
    "layers can bend the paths, so that a feature jumps to a stretch of the line. Right: the same with two dimensions "
    "for six features; the dots are the ends at 1."
)
PROBES = (
    "Left: which share of the features' variance a linear probe and a multi-layer perceptron read from the code, on "
    "rows that neither was trained on; bars are medians over seeds. Right: R² of a linear probe for the feature that "
    "it reads best, in the code and in each layer of the head, beside the R² of the head's answer; the dashed line is "
    "where a feature would count as linear."
)


def _paths(found: dict[str, Measured]) -> Figure:
    panels = []
    named = ((LINEAR, "linear encoder"), (DEEP, "three layers"), (WIDE, "three layers, two dimensions"))
    for name, title in named:
        m = found[name]
        best = int(m.fvu[m.at].argmin())
        panels.append((f"{title}\n{float(m.fvu[m.at, best]):.2f} of the variance lost", m.paths[m.at, best]))
    return paths_figure(panels)


def _probes(found: dict[str, Measured]) -> Figure:
    deep, linear, one = found[DEEP], found[LINEAR], found[ONE]
    probes = {
        "three layers": (deep.linear[deep.at], deep.mlp),
        "linear\nencoder": (linear.linear[linear.at], linear.mlp),
        "untrained\nencoder": (deep.linear_random, deep.mlp_random),
        "features\npermuted": (torch.zeros_like(deep.mlp), deep.mlp_permuted),
        "one feature\nalone": (one.linear[0], one.mlp),
    }
    head = deep.layers[:, deep.at].amax(dim=-1)
    layers = ["code", *(f"layer {k}" for k in range(1, len(head)))]
    return probes_figure(probes, layers, head, deep.solved[deep.at], MOST_LINEAR)
