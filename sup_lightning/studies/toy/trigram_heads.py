"""What the heads of trained models do to skip trigrams: exact, by enumeration of all contexts."""

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from sup_lightning.data import SkipTrigramContexts, SkipTrigrams, SyntheticFeatures
from sup_lightning.data.skip_trigrams import trigram_rows
from sup_lightning.experiment import Run
from sup_lightning.functional.heads import ablation_effects, effective_number, squared_writes
from sup_lightning.nn import AttentionModel

LEAST_EFFECT = 0.01
"""How far the output has to move, over all heads, for a trigram to be done by some: 1 is a label lost."""


@dataclass(frozen=True)
class Measured:
    """What the heads of a run do.

    Attributes:
        p: Probability of a source at each point.
        n_heads: Heads of each model.
        loss: Expected loss, exact, `[n_points, n_seeds]`.
        fvu: Fraction of the targets' variance that it is, the same shape.
        bound: Loss of the best that does each trigram by one head, or not at all, `[n_points]`.
        given_sources: Loss given that k sources are present, `[n_points, n_seeds, n_sources + 1]`.
        effects: How far the output moves without a head, `[n_points, n_seeds, n_heads, n_tokens, n_destinations]`;
            first the sources, then the random tokens.
        negative: Share of the squared writes to wrong labels that are below 0, `[n_points, n_seeds]`.
        wrong: All of these over the squared writes to right labels.
        strengths: Attention to a source that is alone, `[n_points, n_seeds, n_sources, n_destinations, n_heads]`.
        n_sources: Sources among the tokens.
    """

    p: list[float]
    n_heads: int
    loss: Tensor
    fvu: Tensor
    bound: Tensor
    given_sources: Tensor
    effects: Tensor
    negative: Tensor
    wrong: Tensor
    strengths: Tensor
    n_sources: int

    def nearest(self, p: float) -> int:
        """The point with the probability nearest to p."""
        return min(range(len(self.p)), key=lambda k: abs(math.log(self.p[k] / p)))

    @property
    def ratio(self) -> Tensor:
        """Loss over the bound, `[n_points, n_seeds]`."""
        return self.loss / self.bound.unsqueeze(1)

    @property
    def trigram_effects(self) -> Tensor:
        """Of the trigrams alone, `[n_points, n_seeds, n_heads, n_trigrams]`."""
        return self.effects[:, :, :, : self.n_sources].flatten(3)

    @property
    def heads_of_a_trigram(self) -> Tensor:
        """Effective number, mean over the trigrams that are done at all, `[n_points, n_seeds]`."""
        done = self.trigram_effects.sum(dim=2) > LEAST_EFFECT
        return effective_number(self.trigram_effects, dim=2).where(done, math.nan).nanmean(dim=-1)

    @property
    def trigrams_of_a_head(self) -> Tensor:
        """Effective number, mean over heads, `[n_points, n_seeds]`."""
        return effective_number(self.trigram_effects, dim=3).nanmean(dim=-1)

    @property
    def random_share(self) -> Tensor:
        """Mean effect of a head on random tokens over that on sources, `[n_points, n_seeds]`; NaN without any."""
        sources, random = self.effects.tensor_split([self.n_sources], dim=3)
        return random.mean(dim=(2, 3, 4)) / sources.mean(dim=(2, 3, 4))


def assignment_bound(p: Tensor, n_heads: int, n_destinations: int) -> Tensor:
    """Loss if a head does one trigram of each source without error and the others are predicted by their mean, `[...]`.

    A source's trigrams without a head, n_destinations - n_heads of them, each cost p (1 - p) / n_destinations.

    Args:
        p: Probability of each source, `[..., n_sources]`.
        n_heads: Heads, each of which does one trigram of each source.
        n_destinations: Trigrams of a source.

    >>> assignment_bound(torch.tensor([0.5, 0.5]), n_heads=3, n_destinations=6)
    tensor(0.2500)
    """
    return (p * (1 - p)).sum(dim=-1) * max(0.0, 1 - n_heads / n_destinations)


def measure(run: Run, net: AttentionModel | None = None) -> Measured:
    """What the heads of a run do, or those of another network in its place: exact, by enumeration of all contexts."""
    data, sweep = cast(SyntheticFeatures, run.data), run.toy.sweep
    net = cast(AttentionModel, run.toy.net) if net is None else net
    law, task = cast(SkipTrigramContexts, data.features), cast(SkipTrigrams, data.task)
    shape = (sweep.n_points, sweep.n_seeds)
    p = data.feature_probability[:: sweep.n_seeds]
    x, probability = law.contexts(data.n_features, p.double())
    target = task(x.mT).mT
    inputs = x.expand(net.n_instances, -1, -1)
    heads, attention = net.head_outputs(inputs), net.attention(inputs)
    total = heads.sum(dim=2)
    error = (net.readout(total) - target).square().sum(dim=-1).double().unflatten(0, shape)
    weight = probability.unsqueeze(1)
    loss = (error * weight).sum(dim=-1)
    y = target.double()
    variance = (probability @ y.square() - (probability @ y).square()).sum(dim=-1, keepdim=True)
    n_present = (x[:, : law.n_sources] > 0).sum(dim=1)
    chances = [weight * (n_present == k) for k in range(law.n_sources + 1)]
    given = torch.stack([(error * each).sum(dim=-1) / each.sum(dim=-1) for each in chances], dim=-1)

    effects, strengths, written = [], [], []
    for token in range(law.n_occasional):
        rows, without = trigram_rows(x, law.n_occasional, token)
        moved = ablation_effects(heads[:, rows], heads[:, without], net.readout)  # [n_instances, destination, head]
        effects.append(moved.mT.unflatten(0, shape))
        if token < law.n_sources:
            strengths.append(attention[:, rows, :, token].unflatten(0, shape))
            written.append(torch.stack(squared_writes(total[:, rows] - total[:, without], target[rows])))
    right, positive, negative = torch.stack(written).sum(dim=(0, 3)).unflatten(1, shape)
    return Measured(
        p=[round(float(each), 6) for each in p[:, 0]],
        n_heads=net.n_heads,
        loss=loss,
        fvu=loss / variance,
        bound=assignment_bound(p[:, : law.n_sources].double(), net.n_heads, task.n_destinations),
        given_sources=given,
        effects=torch.stack(effects, dim=3),
        negative=negative / (positive + negative),
        wrong=(positive + negative) / right,
        strengths=torch.stack(strengths, dim=2),
        n_sources=law.n_sources,
    )


def untrained(run: Run) -> AttentionModel:
    """The network of a run at its initial weights."""
    net = cast(AttentionModel, run.toy.net)
    sizes = (net.n_heads, net.d_head, net.n_destinations, net.n_outputs)
    return AttentionModel(net.n_features, net.seeds, *sizes, activation=net.activation)
