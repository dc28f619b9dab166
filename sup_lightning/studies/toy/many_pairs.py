"""T13a: the maximum of every pair of features from fewer neurons than pairs, and sums of these maxima."""

import math
from collections.abc import Mapping
from math import comb
from typing import Any, cast

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from sup_lightning.data import PairTask, SyntheticFeatures
from sup_lightning.errors import reject
from sup_lightning.experiment import Run
from sup_lightning.functional.intervals import bootstrap_interval, seed_interval
from sup_lightning.functional.keyed_random import keyed_normal
from sup_lightning.functional.readout import explained_variance, fit_readout, kinked_features
from sup_lightning.nn import ComputationModel
from sup_lightning.nn.activations import ToyActivationName
from sup_lightning.studies.study import Answer, Picture, Study
from sup_lightning.studies.toy.many_functions import Measured, hidden_layer, measure, recovered, rows_of
from sup_lightning.studies.toy.many_functions_plots import functions_over_width, read_over_density
from sup_lightning.studies.verdict import Claim

WIDTHS = (8, 14, 20)
EXPERIMENTS = tuple(f"t13a_max_w{width}" for width in WIDTHS)
SUMS, MIDDLE = "t13a_sums_w14", 14
"""Few sums of the maxima as outputs, and the width with which they are compared."""
N_FEATURES, N_SUMS = 8, 3
BEATS, MORE, FASTER, READABLE = 0.9, 1.25, 1.2, 0.05
"""Loss over naive loss; functions over the naive network's; maxima per further neuron; R² beyond random neurons'."""
ALL_PAIRS = PairTask("max", pairs="all")


class ManyPairs(Study):
    """The maximum of every pair, over a sweep of widths and feature probabilities, and few sums of these maxima.

    Args:
        n_features: Number of features; there are n (n - 1) / 2 pairs.
        activation: Of the neurons.
    """

    id = "T13a"
    title = "Many more functions than neurons"
    question = (
        "How many of the maxima of all pairs of features do few neurons compute, how does that number grow with the "
        "neurons, and can the maxima be found in the neurons if only few sums of them are asked for?"
    )
    hypothesis = (
        "Eight features have 28 pairs. The naive network has neurons that each read one feature or one pair, such as "
        "x, relu(x - 1/2) and relu(y - x), and the best linear readout of them. At 14 neurons networks have less than "
        "0.9 of its loss at the best p of 1, 0.3 and 0.1, and at least a quarter more maxima than it computes there "
        "have R² above 0.9 where both features fire. From 14 to 20 neurons each further neuron adds 1.2 maxima or more "
        "at p = 1, where without sharing it adds one. If only three sums of the maxima are asked for, at least 0.05 "
        "more of the variance of a maximum, beyond what its features explain one by one, can be read from the neurons "
        "than from random ones."
    )
    revised = (
        "Growth was first the exponent a of maxima ~ neurons^a over all widths, 1.2 or more. It has no value where a "
        "width computes none, as networks of 8 neurons do, which carry the features themselves and no more. What a "
        "further neuron adds has one always; the threshold stayed, and 1 is what a neuron adds that is not shared."
    )
    caveat = (
        "Outputs are linear, as what a real layer writes is. Then no network, however it shares neurons, has a loss "
        "below the variance outside as many principal components as there are neurons, so sharing can gain only what "
        "lies between that and the naive network; outputs with a ReLU of their own could gain more, but most of these "
        "die in training. The naive network is the best of those that were built by hand, "
        "not proven to be the best without shared neurons. Eight features are few: whether growth goes on takes "
        "wider networks."
    )
    experiments = (*EXPERIMENTS, SUMS)
    minutes = (1, 2)

    def __init__(self, n_features: int = N_FEATURES, activation: ToyActivationName = "relu") -> None:
        if n_features < N_FEATURES:
            reject("n_features", n_features, f"8 or more, so that there are more pairs than {max(WIDTHS)} neurons")
        self.n_features, self.activation = n_features, activation

    def overrides(self, experiment: str) -> dict[str, Any]:
        changed: dict[str, Any] = {}
        if self.n_features != N_FEATURES:
            changed["data"] = {"n_features": self.n_features}
            if experiment != SUMS:
                changed["model"] = {"net": {"n_outputs": comb(self.n_features, 2)}}
        if self.activation != "relu":
            changed.setdefault("model", {}).setdefault("net", {})["activation"] = self.activation
        return changed

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        found = [measure(runs[name], naive_pairs, both_active) for name in EXPERIMENTS]
        of_pairs = intermediates_read(runs[EXPERIMENTS[WIDTHS.index(MIDDLE)]])
        of_sums = intermediates_read(runs[SUMS])
        naive = [[naive_count(runs[name], p) for p in found[0].p] for name in EXPERIMENTS]
        return Answer(
            claims=_claims(found, naive, of_sums),
            pictures={
                "functions": Picture(_functions(found, naive), FUNCTIONS),
                "intermediates": Picture(_read(found[0].p, of_pairs, of_sums), READ),
            },
            tables={"functions": _table(found, naive), "intermediates": _read_table(found[0].p, of_pairs, of_sums)},
        )


def both_active(features: Tensor, targets: Tensor) -> Tensor:
    """Rows in which both features of a pair fire, `[n_rows, n_pairs]`: elsewhere a maximum is the sum of the two."""
    return (features[:, ALL_PAIRS.members(features.shape[1])] != 0).all(dim=-1).float()


def built_neurons(features: Tensor, n_carried: int, n_bent: int, n_pairs: int) -> Tensor:
    """Neurons that each read one feature or one pair, `[n_rows, n_carried + n_bent + n_pairs]`.

    Features themselves, relu(x - 1/2) of the first of them, and relu(y - x) of neighbours, then of features further
    apart, so that no feature is in many more pairs than another.
    """
    n = features.shape[1]
    pairs = [(k, (k + apart) % n) for apart in range(1, n // 2 + 1) for k in range(n)]
    pairs = list({frozenset(pair): pair for pair in pairs}.values())[:n_pairs]
    first, second = torch.tensor(pairs).view(-1, 2).long().unbind(1)
    bent = (features[:, :n_bent] - 0.5).relu()
    return torch.cat([features[:, :n_carried], bent, (features[:, second] - features[:, first]).relu()], dim=1)


def best_built(features: Tensor, targets: Tensor, width: int) -> tuple[float, int]:
    """Loss of the best network of such neurons, each output reading all of them, and how many maxima it computes."""
    n, best = features.shape[1], (math.inf, 0)
    for n_carried in {min(width, n), n // 2, 3 * n // 4}:
        for n_bent in {0, n_carried // 2, n_carried}:
            n_pairs = width - n_carried - n_bent
            if 0 <= n_pairs <= comb(n, 2):
                hidden = built_neurons(features, n_carried, n_bent, n_pairs)
                weights, bias = fit_readout(hidden, targets)
                output = (hidden.double() @ weights + bias).float()
                explained = explained_variance(output, targets, both_active(features, targets))
                loss = float((output - targets).square().mean(dim=0).sum())
                best = min(best, (loss, int(recovered(explained))))
    return best


def naive_pairs(features: Tensor, targets: Tensor, width: int) -> Tensor:
    """Loss without shared neurons."""
    return torch.tensor(best_built(features, targets, width)[0])


def naive_count(run: Run, p: float) -> int:
    """Maxima that the best network of as many neurons as a run's computes without sharing them."""
    data = cast(SyntheticFeatures, run.data)
    rows = rows_of(data, torch.full((data.n_features,), p), "many functions")
    return best_built(*rows, cast(ComputationModel, run.toy.net).n_hidden)[1]


def interaction(features: Tensor, p: float) -> Tensor:
    """What the features of each pair do not explain of their maximum one by one, `[n_rows, n_pairs]`.

    For features that are uniform on [0, 1] with probability p and else 0, E[max(x, y) | x] is
    (1 - p) x + p (1 + x²) / 2; these parts are uncorrelated over pairs.
    """
    given_one = (1 - p) * features + p * (1 + features.square()) / 2
    members = ALL_PAIRS.members(features.shape[1])
    mean = p * (1 - p) + 2 * p * p / 3
    return ALL_PAIRS(features.mT).mT - given_one[:, members].sum(dim=-1) + mean


def intermediates_read(run: Run) -> tuple[Tensor, Tensor]:
    """Share of the interactions that is read linearly from the neurons, and from as many random ones.

    Returns:
        Means over pairs, `[n_points, n_seeds]` each, on rows that the readout was not fitted to.
    """
    model, data = run.toy, cast(SyntheticFeatures, run.data)
    net, n_seeds = cast(ComputationModel, model.net), model.sweep.n_seeds
    found: list[list[Tensor]] = [[], []]
    for start in range(0, model.sweep.n_instances, n_seeds):
        p = data.feature_probability[start]
        x, _ = rows_of(data, p, "intermediates")
        target, seeds = interaction(x, float(p[0])), slice(start, start + n_seeds)
        directions = keyed_normal("random neurons", net.seeds[seeds], 0, (net.n_features, net.n_hidden))
        fires = x[(x != 0).any(dim=1)]
        W, b = kinked_features(fires[: net.n_hidden], directions)
        for place, hidden in enumerate((hidden_layer(net, x, seeds), (x @ W + b.unsqueeze(1)).relu())):
            found[place].append(_mean_read(hidden, target))
    return torch.stack(found[0]), torch.stack(found[1])


def _mean_read(hidden: Tensor, target: Tensor) -> Tensor:
    half = len(target) // 2
    weights, bias = fit_readout(hidden[:, :half], target[:half])
    output = hidden[:, half:] @ weights.float() + bias.float().unsqueeze(1)
    return explained_variance(output, target[half:]).nanmean(dim=-1)


def added_by_a_neuron(counts: Tensor) -> float:
    """Functions that a further neuron adds between the two largest widths; counts `[n_widths, n_seeds]`, the mean."""
    few, many = counts[-2:].mean(dim=-1).tolist()
    return (many - few) / (WIDTHS[-1] - WIDTHS[-2])


def _smallest_median(values: Tensor) -> float:
    return float(values.median(dim=-1).values.min())


def _claims(found: list[Measured], naive: list[list[int]], of_sums: tuple[Tensor, Tensor]) -> list[Claim]:
    place = WIDTHS.index(MIDDLE)
    middle, p = found[place], found[0].p
    best, *best_ends = bootstrap_interval(_smallest_median, middle.ratio)
    at = int(middle.ratio.median(dim=1).values.argmin())
    dense = p.index(max(p))
    more, *more_ends = (float(value) for value in seed_interval(middle.count[at] / max(1, naive[place][at])))
    added, *added_ends = bootstrap_interval(added_by_a_neuron, torch.stack([m.count[dense] for m in found]))
    of_naive, of_random = (
        added_by_a_neuron(counts)
        for counts in (
            torch.tensor([counts[dense] for counts in naive])[:, None].float(),
            torch.stack([m.random_trained[dense] for m in found]),
        )
    )
    read, random = of_sums
    gain, *gain_ends = bootstrap_interval(lambda values: float(values.median(dim=-1).values.max()), read - random)
    floors = ", ".join(f"{float(f / n):.2f} (p = {q:g})" for f, n, q in zip(middle.floor, middle.naive, p, strict=True))

    def median(values: Tensor) -> str:
        return f"{float(values.median()):g}"

    return [
        Claim(
            f"{MIDDLE} neurons compute more than without shared neurons, at the best p",
            best,
            (best_ends[0], best_ends[1]),
            (-math.inf, BEATS),
            f"naive network: 1; no network with linear outputs can have less than {floors}; random neurons with a "
            f"trained readout: {float((middle.random_loss[at] / middle.naive[at]).median()):.2f}",
            f"loss over naive loss, median over seeds, smallest over p (p = {p[at]:g})",
        ),
        Claim(
            f"{MIDDLE} neurons compute more maxima than the naive network",
            more,
            (more_ends[0], more_ends[1]),
            (MORE, math.inf),
            f"maxima of {middle.explained.shape[-1]} at p = {p[at]:g}: naive {naive[place][at]}, trained "
            f"{median(middle.count[at])}, random neurons {median(middle.random_ridge[at])} (ridge) and "
            f"{median(middle.random_trained[at])} (trained readout), permuted targets {median(middle.permuted[at])}",
            "maxima with R² above 0.9 where both features fire, over the naive network's (at least 1)",
        ),
        Claim(
            "a further neuron adds more than one maximum",
            added,
            (added_ends[0], added_ends[1]),
            (FASTER, math.inf),
            f"without shared neurons: {of_naive:.2f}; random neurons with a trained readout: {of_random:.2f}",
            f"maxima for each neuron from {WIDTHS[-2]} to {WIDTHS[-1]} at p = {p[dense]:g}",
        ),
        Claim(
            "what few outputs need can be found in the neurons",
            gain,
            (gain_ends[0], gain_ends[1]),
            (READABLE, math.inf),
            f"random neurons: {float(random.median(dim=1).values.max()):.2f} at most; trained on the sums: "
            f"{float(read.median(dim=1).values.max()):.2f} at most",
            "R² of a maximum beyond its features' own, less that of random neurons, median over seeds, largest over p",
        ),
    ]


def _table(found: list[Measured], naive: list[list[int]]) -> pd.DataFrame:
    """One row for each width and p: medians over seeds."""
    parts = []
    for m, counts in zip(found, naive, strict=True):
        ratio, low, high = seed_interval(m.ratio)
        columns: dict[str, Any] = {"width": m.width, "feature_probability": m.p, "loss_over_naive": ratio}
        columns |= {"loss_over_naive_low": low, "loss_over_naive_high": high}
        columns |= {"linear_floor_over_naive": m.floor / m.naive, "maxima": seed_interval(m.count)[0]}
        columns |= {"maxima_naive": counts, "maxima_of_random_neurons": seed_interval(m.random_ridge)[0]}
        columns |= {"maxima_read_linearly": seed_interval(m.probed)[0], "permuted": seed_interval(m.permuted)[0]}
        parts.append(pd.DataFrame(columns | {"mean_explained": m.explained.nanmean(dim=(1, 2))}))
    return pd.concat(parts)


def _read_table(p: list[float], of_pairs: tuple[Tensor, Tensor], of_sums: tuple[Tensor, Tensor]) -> pd.DataFrame:
    columns: dict[str, Any] = {"feature_probability": p}
    for name, values in (("trained_on_pairs", of_pairs[0]), ("trained_on_sums", of_sums[0]), ("random", of_sums[1])):
        median, low, high = seed_interval(values)
        columns |= {name: median, f"{name}_low": low, f"{name}_high": high}
    return pd.DataFrame(columns)


FUNCTIONS = (
    "Left: how many of the 28 maxima are computed (R² above 0.9 where both features fire) by networks of few neurons; "
    "dots are single models, lines medians over seeds. Grey: a network that shares no neurons, at the rarest features. "
    "Crosses: as many random neurons with the best readout found. Right: the loss over that of the network that shares "
    "none; below 1 more is computed."
)
READ = (
    f"How much of a maximum, beyond what its two features explain one by one, a linear readout finds in {MIDDLE} "
    "neurons: trained on all maxima, trained on three sums of them, and random. The line is the most that so many "
    "neurons can hold if they hold all maxima alike."
)


def _functions(found: list[Measured], naive: list[list[int]]) -> Figure:
    rare = found[0].p.index(min(found[0].p))
    return functions_over_width(found, [counts[rare] for counts in naive])


def _read(p: list[float], of_pairs: tuple[Tensor, Tensor], of_sums: tuple[Tensor, Tensor]) -> Figure:
    curves = {"trained on all maxima": of_pairs[0], "trained on three sums": of_sums[0], "random neurons": of_sums[1]}
    return read_over_density(p, curves, MIDDLE / comb(N_FEATURES, 2))
