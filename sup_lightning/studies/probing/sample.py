"""Held-out text that probes are fitted to and judged on, parted by document, and what a model's neurons hold there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import cast

import torch
from torch import Tensor

from sup_lightning.errors import reject
from sup_lightning.functional.class_statistics import Sums
from sup_lightning.functional.nulls import shuffled_within
from sup_lightning.functional.splits import dealt
from sup_lightning.metrics.class_sums import ClassSums
from sup_lightning.metrics.selectivity import NeuronMoments
from sup_lightning.nn.transformer import MLP, Transformer
from sup_lightning.studies.subjects import Subject, Windows, stream

SKIPPED = 10
"""First tokens of a window, which have little context."""
N_FOLDS = 6
"""Parts of the documents that probes are fitted to."""
JUDGED, LEFT_OUT = -1, -2
KEPT_TOKENS = 16_384
"""Most training tokens whose activations are kept, for what cannot be had from sums."""
MOST_NEURONS = 4096
"""Beyond, covariances and rotations of the neurons take too long."""


@dataclass(frozen=True)
class Sample:
    """Tokens of held-out text and which of them serve for what.

    Attributes:
        windows: The text.
        part: `[N, T]` int64: the fold of a training token, `JUDGED`, or `LEFT_OUT`. A document is in one part.
    """

    windows: Windows
    part: Tensor

    @classmethod
    def of(cls, subject: Subject, n_windows: int) -> "Sample":
        """A third of the documents of each genre is judged; the others are training documents, in folds."""
        windows = subject.windows(n_windows)
        genres = torch.from_numpy(subject.data.val.genre_of_document)
        nine = dealt(genres, 9)
        fold = torch.where(nine % 3 == 0, JUDGED, nine - nine // 3 - 1)
        part = fold[windows.documents]
        part[:, :SKIPPED] = LEFT_OUT
        part[windows.tokens == subject.data.end_of_text] = LEFT_OUT
        return cls(windows, part)

    @cached_property
    def judged(self) -> Tensor:
        """`[N, T]` bool."""
        return self.part == JUDGED

    @cached_property
    def training(self) -> Tensor:
        """`[N, T]` bool."""
        return self.part >= 0

    @cached_property
    def kept(self) -> Tensor:
        """`[N, T]` bool: training tokens whose activations are kept, spread evenly."""
        places = self.training.flatten().nonzero().flatten()
        n = min(KEPT_TOKENS, len(places))
        kept = torch.zeros(self.training.numel(), dtype=torch.bool)
        kept[places[torch.arange(n) * len(places) // max(n, 1)]] = True
        return kept.view_as(self.training)

    def shuffled(self, labels: Tensor, seed: int) -> Tensor:
        """Labels dealt out anew among the known ones of each document; among documents if they are all of one label.

        Args:
            labels: `[N, T]`, -1 if unknown.
            seed: Picks the order.
        """
        flat, documents = labels.flatten(), self.windows.documents.flatten()
        known = flat >= 0
        groups = documents.where(known, -1)
        if _constant(flat[known], documents[known]):
            of_document = torch.full((int(documents.max()) + 1,), -1)
            of_document[documents[known]] = flat[known]
            there = of_document >= 0
            of_document[there] = shuffled_within(of_document[there], torch.zeros(int(there.sum())), seed)
            return of_document[documents].where(known, -1).view_as(labels)
        return shuffled_within(flat, groups, seed).view_as(labels)


def _constant(labels: Tensor, documents: Tensor) -> bool:
    """Whether every document has one label only."""
    ones = torch.bincount(documents, weights=labels.double())
    n = torch.bincount(documents)
    return bool(((ones == 0) | (ones == n)).all())


@dataclass(frozen=True)
class Reading:
    """What the neurons of a model's last layer hold on a sample, each in units of its standard deviation.

    In these units no neuron counts for more because it is large, whatever is measured of directions.

    Attributes:
        net: The model.
        unit: `[d_mlp]`, standard deviation on the training tokens; 1 for a neuron that is constant.
        folds: Sums over the labels of each feature in each fold of the training documents.
        shuffled: The same over all training documents with shuffled labels, several draws of each feature.
        judged: `[n_judged, d_mlp]`.
        kept: `[n_kept, d_mlp]`.
        residual_judged: `[n_judged, d_model]`, what the MLP is added to.
        residual_kept: `[n_kept, d_model]`.
    """

    net: Transformer
    unit: Tensor
    folds: dict[str, list[Sums]]
    shuffled: dict[str, list[Sums]]
    judged: Tensor
    kept: Tensor
    residual_judged: Tensor
    residual_kept: Tensor

    def sums(self, feature: str) -> Sums:
        """Over the labels of a feature in all folds."""
        return reduce(Sums.plus, self.folds[feature])

    def logprobs(self, residual: Tensor, post: Tensor) -> Tensor:
        """Log-probabilities of the next token with the neurons holding `post` (in units), `[n, d_vocab]`."""
        written = cast(MLP, self.net.get_submodule(f"layers.{self.net.n_layers - 1}.mlp")).fc_out(post * self.unit)
        return self.net.head(self.net.ln_out(residual + written)).log_softmax(dim=-1)


def read(
    net: Transformer, sample: Sample, labels: Mapping[str, Tensor], shuffled: Mapping[str, Sequence[Tensor]] = {}
) -> Reading:
    """Run a model over a sample.

    Args:
        net: The model.
        sample: The text.
        labels: Of each feature, `[N, T]`, -1 where a token is left out.
        shuffled: Draws of the labels of some features.

    Raises:
        UserError: If the model has no MLPs, or too wide ones.
    """
    if net.attn_only:
        reject("model", "attention alone", "a model with MLPs")
    d_mlp, last = net.d_mlps[-1], f"blocks.{net.n_layers - 1}"
    if d_mlp > MOST_NEURONS:
        reject("model", f"{d_mlp} neurons", f"a model of at most {MOST_NEURONS} neurons in its last layer")
    post_name, residual_name = f"{last}.mlp.hook_post", f"{last}.hook_resid_mid"
    moments = NeuronMoments(d_mlp)
    folds = [_FoldSums(labels, d_mlp) for _ in range(N_FOLDS)]
    dealt_anew = {name: [ClassSums(2, d_mlp) for _ in draws] for name, draws in shuffled.items()}
    kept: dict[str, list[Tensor]] = {name: [] for name in ("judged", "kept", "residual_judged", "residual_kept")}
    row = 0
    for batch, found in stream(net, sample.windows, [post_name, residual_name]):
        rows = slice(row, row + len(batch.tokens))
        row = rows.stop
        post, residual, part = found[post_name], found[residual_name], sample.part[rows]
        for fold in part[part >= 0].unique().tolist():
            inside = part == fold
            activations = post[inside]
            moments.update(activations)
            folds[fold].update(activations, {name: label[rows][inside] for name, label in labels.items()})
        inside = sample.training[rows]
        for name, draws in dealt_anew.items():
            for drawn, sums_of_draw in zip(shuffled[name], draws, strict=True):
                sums_of_draw.update(post[inside], drawn[rows][inside])
        for name, chosen in (("judged", sample.judged[rows]), ("kept", sample.kept[rows])):
            kept[name].append(post[chosen])
            kept[f"residual_{name}"].append(residual[chosen])
    variance = moments.compute().variance
    unit = variance.where(variance > 1e-12, 1.0).sqrt()
    of_folds = {name: [each.sums(name).scaled(1 / unit) for each in folds] for name in labels}
    of_draws = {}
    for name, draws in dealt_anew.items():
        second = reduce(Sums.plus, of_folds[name]).second
        of_draws[name] = [Sums(each.n, each.first / unit, second) for each in (draw.compute() for draw in draws)]
    arrays = {name: torch.cat(parts) for name, parts in kept.items()}
    for name in ("judged", "kept"):
        arrays[name] /= unit.float()
    return Reading(net, unit.float(), of_folds, of_draws, **arrays)


class _FoldSums:
    """Sums over the labels of many features; the products of neurons are summed once for all that know as many tokens.

    Args:
        labels: Of each feature, -1 where a token is left out.
        d_mlp: Number of neurons.
    """

    def __init__(self, labels: Mapping[str, Tensor], d_mlp: int) -> None:
        known: list[Tensor] = []
        self.group: dict[str, int] = {}
        for name, label in labels.items():
            mask = label >= 0
            same = [number for number, each in enumerate(known) if torch.equal(mask, each)]
            self.group[name] = same[0] if same else len(known)
            known += [] if same else [mask]
        self.first = {name: ClassSums(2, d_mlp) for name in labels}
        self.products = [ClassSums(1, d_mlp, products=True) for _ in known]

    def update(self, activations: Tensor, labels: Mapping[str, Tensor]) -> None:
        """Add tokens: activations `[n, d_mlp]`, labels `[n]` of each feature."""
        for number, products in enumerate(self.products):
            label = labels[next(name for name, group in self.group.items() if group == number)]
            products.update(activations, label.clamp(max=0))
        for name, first in self.first.items():
            first.update(activations, labels[name])

    def sums(self, name: str) -> Sums:
        """Over the labels of one feature."""
        return self.first[name].compute()._replace(second=self.products[self.group[name]].compute().second)
