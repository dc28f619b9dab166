"""T02: computation in superposition under equal importance and among correlated features, and which motifs it uses."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import pandas as pd
import torch
from torch import Tensor

from sup_lightning.data import SyntheticFeatures
from sup_lightning.errors import require_positive
from sup_lightning.experiment import Run
from sup_lightning.functional.intervals import bootstrap_interval, seed_interval
from sup_lightning.functional.motifs import NeuronCensus, neuron_census
from sup_lightning.functional.naive import absolute_value_variance, greedy_loss, naive_loss
from sup_lightning.functional.signatures import (
    COLUMNS,
    KINDS,
    NeuronClusters,
    cluster_neurons,
    neuron_kinds,
    neuron_signatures,
)
from sup_lightning.nn import ComputationModel
from sup_lightning.studies.active_rows import expected_loss
from sup_lightning.studies.study import Answer, Picture, Study
from sup_lightning.studies.toy.absolute_figures import CLUSTERS, COUNTS, LOSSES, clusters_figure, counts, losses
from sup_lightning.studies.verdict import Claim

Init = Literal["he", "transpose"]
LAWS = ("independent", "correlated", "anticorrelated")
IMPORTANCES = ("equal", "unequal")
RUNS = {(law, init): f"t02_absolute_{law}_{init}" for law in LAWS for init in ("he", "transpose")}
LARGE = "t02_absolute_100-40_correlated"
DECAY = 0.8
"""Unequal importance of feature i: 0.8^i, as in the paper."""
BEATS = 0.9
"""Loss over that of the naive network that counts as computing more than it."""
RECURS = 0.05
"""Share of the neurons that a new motif has to have, beyond its share before training."""


@dataclass(frozen=True)
class Variant:
    """What one run led to; leading axes are `[n_points, n_seeds]`, a point being a p and an importance.

    Attributes:
        p: Feature probability of each point.
        importance: The word for it.
        ratio: Loss over that of the naive network.
        ratio_mean: Loss over that of a naive network that predicts the mean of what it does not compute.
        ratio_start: `ratio` before training.
        census: What neurons do.
        kind: Of each neuron, as places in `KINDS`.
        kind_start: Before training.
        weights: W_in and W_out `[n_points, n_seeds, n_features, n_neurons]`.
        weights_start: Before training.
    """

    p: list[float]
    importance: list[str]
    ratio: Tensor
    ratio_mean: Tensor
    ratio_start: Tensor
    census: NeuronCensus
    kind: Tensor
    kind_start: Tensor
    weights: tuple[Tensor, Tensor]
    weights_start: tuple[Tensor, Tensor]

    def rarest(self, importance: str) -> int:
        """The point with the least p."""
        points = [point for point, word in enumerate(self.importance) if word == importance]
        return min(points, key=lambda point: self.p[point])


class AbsoluteVariants(Study):
    """Absolute values of 20 features by 10 neurons: equal or unequal importance, three laws of who fires.

    Args:
        n_features: Number of features; even, as sets of two are correlated.
        n_hidden: Number of neurons.
    """

    id = "T02"
    title = "Absolute values: importance and correlation"
    question = (
        "Do neurons compute absolute values in superposition when features are equally important, correlated or "
        "anticorrelated, and do they use motifs that are not known yet?"
    )
    hypothesis = (
        "Where features are rarest, the loss is below 0.9 of that of the naive network (half as many functions as "
        "neurons computed exactly, the others predicted linearly from these) for independent features of equal and of "
        "unequal importance, for correlated and for anticorrelated pairs. Among the neurons that no known motif "
        "explains (one feature, asymmetric superposition, inhibition, idle) one kind recurs: at least 0.05 of all "
        "neurons belong to it, beyond its share before training."
    )
    revised = (
        "Hypothesis and thresholds stand as they were before any number; training was made shorter, for time, before "
        "the first run."
    )
    caveat = (
        "Twenty features, ten neurons and pairs of correlated features; one run of a hundred and forty. Squared error "
        "rewards vague guesses, so the loss is held against a naive network that may guess as well. Kinds of neurons "
        "are found by clustering neurons that fixed rules leave over; other rules or another number of clusters would "
        "draw the borders elsewhere, and a kind is a new motif only as far as its figure shows something that can be "
        "named. Longer training, or more features for the same neurons, may lower the ratios."
    )
    experiments = (*RUNS.values(), LARGE)
    minutes = (1, 2)

    def __init__(self, n_features: int = 20, n_hidden: int = 10) -> None:
        require_positive(n_features=n_features, n_hidden=n_hidden)
        self.n_features, self.n_hidden = n_features, n_hidden

    def overrides(self, experiment: str) -> dict[str, Any]:
        if experiment == LARGE or (self.n_features, self.n_hidden) == (20, 10):
            return {}
        importance = [1.0, [round(DECAY**i, 6) for i in range(self.n_features)]]
        return {
            "data": {"n_features": self.n_features},
            "model": {"net": {"n_hidden": self.n_hidden}},
            "sweep": {"importance": importance},
        }

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        variants = {key: measured(runs[name], cast(Init, key[1])) for key, name in RUNS.items()}
        large = measured(runs[LARGE], "transpose")
        found = _clusters(variants)
        table = pd.concat([_table(variant, *key, self.n_features) for key, variant in variants.items()])
        table = pd.concat([table, _table(large, "correlated", "transpose", 100)])
        pictures = {
            "loss": Picture(losses(table[table["n_features"] == self.n_features]), LOSSES),
            "kinds": Picture(counts(_kinds(variants)), COUNTS),
        }
        if found is not None:
            pictures["unexplained"] = Picture(clusters_figure(found.clusters, found.table), CLUSTERS)
        return Answer(
            claims=[*_loss_claims(variants, large), _motif_claim(variants, found)],
            pictures=pictures,
            tables={"absolute_variants": table} | ({} if found is None else {"unexplained": found.table}),
        )


def measured(run: Run, init: Init) -> Variant:
    """Losses and kinds of neurons of all models of a run, and of the same before training."""
    model, data = run.toy, cast(SyntheticFeatures, run.data)
    net, shape = cast(ComputationModel, model.net), (model.sweep.n_points, model.sweep.n_seeds)
    p, importance = data.feature_probability[:: shape[1]], model.importance[:: shape[1]]
    covariance = torch.stack([absolute_covariance(data, float(each[0])) for each in p])
    root = importance.sqrt()
    scaled = covariance * root.unsqueeze(1) * root.unsqueeze(2)
    n_exact = net.n_hidden // 2
    naive = greedy_loss(scaled.double(), torch.arange(net.n_features), n_exact).float()
    variance = covariance.diagonal(dim1=1, dim2=2)
    start = ComputationModel(net.n_features, net.seeds, net.n_hidden, init=init)
    final, first = ([each.unflatten(0, shape) for each in (of.W_in, of.W_out, of.b)] for of in (net, start))
    loss, loss_start = (
        torch.stack([_expected_loss([w[k] for w in of], importance[k], p[k], data) for k in range(shape[0])])
        for of in (final, first)
    )
    census, census_start = neuron_census(*final[:2]), neuron_census(*first[:2])
    return Variant(
        p=[round(float(value), 6) for value in p[:, 0]],
        importance=["equal" if float(each.std()) == 0 else "unequal" for each in importance],
        ratio=loss / naive.unsqueeze(1),
        ratio_mean=loss / naive_loss(variance, importance, n_exact).unsqueeze(1),
        ratio_start=loss_start / naive.unsqueeze(1),
        census=census,
        kind=neuron_kinds(final[0], final[1], census),
        kind_start=neuron_kinds(first[0], first[1], census_start),
        weights=(final[0].detach(), final[1].detach()),
        weights_start=(first[0].detach(), first[1].detach()),
    )


def absolute_covariance(data: SyntheticFeatures, p: float) -> Tensor:
    """Covariance of |x| for pairs of features that fire as the data say, uniform on [-1, 1], `[n, n]`."""
    supports, probability = data.features.supports(2, torch.tensor([p, p]))
    both = float((probability * supports.all(dim=1)).sum())
    marginal = float((probability * supports[:, 0]).sum())
    own = absolute_value_variance(torch.tensor(marginal))
    n = data.n_features
    paired = torch.eye(n // 2).repeat_interleave(2, dim=0).repeat_interleave(2, dim=1)
    return paired * (both - marginal**2) / 4 + torch.eye(n) * (own - (both - marginal**2) / 4)


def _expected_loss(weights: list[Tensor], importance: Tensor, p: Tensor, data: SyntheticFeatures) -> Tensor:
    """Loss of the seeds of one point, `[n_seeds]`."""
    W_in, W_out, b = weights

    def squared_error(x: Tensor) -> Tensor:
        output = torch.baddbmm(b.unsqueeze(2), W_out, (W_in.mT @ x).relu()).relu()
        return ((output - x.abs()).square().sum(dim=2) * importance).sum(dim=1)

    return expected_loss(squared_error, p, data, "absolute variants")


@dataclass(frozen=True)
class Unexplained:
    """Clusters of the neurons of no known kind.

    Attributes:
        clusters: What they look like.
        share: Of all neurons, for each cluster and law, `{law: [n_clusters, n_seeds]}`.
        start: Share of each cluster before training, `[n_clusters]`.
        table: One row for each cluster.
    """

    clusters: NeuronClusters
    share: dict[str, Tensor]
    start: Tensor
    table: pd.DataFrame


def _clusters(variants: dict[tuple[str, str], Variant], least: int = 40) -> Unexplained | None:
    """Cluster the neurons of no known kind of all runs; nothing if there are hardly any."""
    other = KINDS.index("other")
    vectors, partners, owners = [], [], []
    for number, variant in enumerate(variants.values()):
        signatures = neuron_signatures(*variant.weights)
        where = (variant.kind == other).nonzero()  # point, seed, neuron
        vectors.append(signatures.vector[variant.kind == other])
        feature = signatures.feature[variant.kind == other]
        partners.append(
            (feature[:, 0] // 2 == feature[:, 1] // 2) & (signatures.read[variant.kind == other][:, 1] > 0.1)
        )
        owners.append(torch.cat([torch.full((len(where), 1), number), where], dim=1))
    vector, partner, owner = torch.cat(vectors), torch.cat(partners), torch.cat(owners)
    if len(vector) < least:
        return None
    clusters = cluster_neurons(vector)
    first = next(iter(variants.values()))
    n_points, n_seeds, n_neurons = first.kind.shape
    count = torch.zeros(clusters.n_clusters, len(variants), n_seeds)
    count.index_put_((clusters.label, owner[:, 0], owner[:, 2]), torch.ones(len(vector)), accumulate=True)
    count /= n_points * n_neurons
    share = {law: count[:, [k for k, key in enumerate(variants) if key[0] == law]].mean(dim=1) for law in LAWS}
    start = torch.zeros(clusters.n_clusters)
    for variant in variants.values():
        start_vector = neuron_signatures(*variant.weights_start).vector[variant.kind_start == other]
        start += clusters.assign(start_vector).float() / (variant.kind.numel() * len(variants))
    rows = pd.DataFrame({"cluster": range(clusters.n_clusters), "before_training": start.numpy()})
    for law in LAWS:
        rows[law] = share[law].mean(dim=1).numpy()
    rows["reads_a_set"] = [float(partner[clusters.label == k].float().mean()) for k in range(clusters.n_clusters)]
    for place, name in enumerate(COLUMNS):
        rows[name] = clusters.centre[:, place].numpy()
    return Unexplained(clusters, share, start, rows)


def _loss_claims(variants: dict[tuple[str, str], Variant], large: Variant) -> list[Claim]:
    claims = []
    for law, importance in [(law, "equal") for law in LAWS] + [("independent", "unequal")]:
        variant, he = variants[law, "transpose"], variants[law, "he"]
        point = variant.rarest(importance)
        ratio, low, high = (float(value) for value in seed_interval(variant.ratio[point]))
        of_large = f"; 100 features in 40 neurons: {float(large.ratio.median()):.2f}" if law == "correlated" else ""
        claims.append(
            Claim(
                f"{law} features of {importance} importance: more is computed than the naive network can",
                ratio,
                (low, high),
                (-math.inf, BEATS),
                f"naive network: 1; best of the seeds: {float(variant.ratio[point].min()):.2f}; from the usual (He) "
                f"start: {float(he.ratio[point].median()):.2f}, best {float(he.ratio[point].min()):.2f}; before "
                f"training: {float(variant.ratio_start[point].median()):.0f}; against a naive network that predicts "
                f"means: {float(variant.ratio_mean[point].median()):.2f}{of_large}",
                f"loss over naive loss at p = {variant.p[point]:g}, W_out started at |W_in|",
            )
        )
    return claims


def _motif_claim(variants: dict[tuple[str, str], Variant], found: Unexplained | None) -> Claim:
    other = KINDS.index("other")
    left = torch.stack([(variant.kind == other).float().mean() for variant in variants.values()]).mean()
    left_start = torch.stack([(variant.kind_start == other).float().mean() for variant in variants.values()]).mean()
    if found is None:
        effect, low, high, control = 0.0, 0.0, 0.0, "hardly any neuron is unexplained"
    else:
        excess = torch.stack(list(found.share.values())) - found.start.view(1, -1, 1)  # [n_laws, n_clusters, n_seeds]
        law, cluster = divmod(int(excess.mean(dim=-1).argmax()), excess.shape[1])
        effect, low, high = bootstrap_interval(lambda values: float(values.mean()), excess[law, cluster])
        shares = ", ".join(f"{float(of[cluster].mean()):.2f} {name}" for name, of in found.share.items())
        control = f"the same kind before training: {float(found.start[cluster]):.2f}; trained, by law: {shares}"
    return Claim(
        "a motif that is not known recurs",
        effect,
        (low, high),
        (RECURS, math.inf),
        f"{control}; neurons of no known kind: {float(left):.2f}, before training {float(left_start):.2f}",
        "share of all neurons that are of the commonest new kind, less the share before training; mean over models",
    )


def _kinds(variants: dict[tuple[str, str], Variant]) -> dict[str, Tensor]:
    """Share of each kind of neuron, by law and importance, of both starts: `[n_kinds]` each."""
    shares = {}
    for law in LAWS:
        for importance in IMPORTANCES:
            kinds = [
                of.kind[[word == importance for word in of.importance]] for key, of in variants.items() if key[0] == law
            ]
            shares[f"{law},\n{importance}"] = torch.cat(kinds).flatten().bincount(minlength=len(KINDS)).double()
    start = torch.cat([of.kind_start for of in variants.values()])
    shares["before\ntraining"] = start.flatten().bincount(minlength=len(KINDS)).double()
    return {name: count / count.sum() for name, count in shares.items()}


def _table(variant: Variant, law: str, init: str, n_features: int) -> pd.DataFrame:
    ratio, low, high = seed_interval(variant.ratio)
    columns: dict[str, Any] = {
        "n_features": n_features,
        "features": law,
        "init": init,
        "importance": variant.importance,
        "feature_probability": variant.p,
        "loss_over_naive": ratio,
        "loss_over_naive_low": low,
        "loss_over_naive_high": high,
        "loss_over_naive_best": variant.ratio.amin(dim=1),
        "loss_over_naive_of_means": variant.ratio_mean.median(dim=1).values,
        "before_training": variant.ratio_start.median(dim=1).values,
        "features_with_both_signs": variant.census.both_signs.float().sum(dim=-1).mean(dim=1),
        "inhibited_asymmetric_pairs": variant.census.inhibited.float().sum(dim=-1).mean(dim=1),
    }
    for place, name in enumerate(KINDS):
        columns[name.replace(", ", "_").replace(" ", "_")] = (variant.kind == place).float().sum(dim=-1).mean(dim=1)
    return pd.DataFrame(columns)
