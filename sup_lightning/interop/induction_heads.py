"""Which heads of a model are induction heads: by what they attend to, what they are worth, and what they are built on.

A high score on repeated tokens is not enough. Blocks that repeat at one period are copied by attention to fixed places,
and a head may attend to the right tokens without any use of it. So a head has to pass on sequences of periods that
were never trained on, its removal has to cost loss, and an earlier head has to put into its keys what it looks for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sup_lightning.data.sequence_laws import RepeatedBlocks
from sup_lightning.errors import reject
from sup_lightning.functional.attention_patterns import Matches, back_profile, match_scores
from sup_lightning.functional.intervals import bootstrap_interval
from sup_lightning.functional.keyed_random import keyed_uniform
from sup_lightning.functional.low_rank import composition, random_composition
from sup_lightning.functional.repeats import repeated_pairs
from sup_lightning.interop.edits import edited
from sup_lightning.interop.evaluation import evaluating
from sup_lightning.interop.head_weights import head_weights
from sup_lightning.interop.hook_names import activations
from sup_lightning.nn.transformer import Transformer

OFFSETS = (0, 1, 2, 3, 4)
"""Offsets δ at which keys are looked for; 1 is the standard circuit, and 0, attention to copies, is no induction."""
LEAST_MATCH = 0.3
"""Attention above uniform to the keys of an offset, from which on a head is a candidate."""
LEAST_BACK = 0.3
"""Attention to the token δ places back, from which on an earlier head may be what the keys are built on."""
PATTERN_ENTRIES = 2**24
"""Most attention weights that are held at once."""


@dataclass(frozen=True)
class HeadEvidence:
    """What is known of one head.

    Attributes:
        layer: Its layer.
        head: Its number in the layer.
        back: Attention to the token k places back, `[5]`, k from 0 on.
        match: Attention above uniform to keys whose token δ places before is the query's, `[5]`, for each of `OFFSETS`.
        harm: What its ablation costs on targets that were shown before, nats per token; NaN below `LEAST_MATCH`.
        harm_interval: 95 % interval of that over sequences.
        source: Layer and head of the earlier head that attends δ back and composes with the keys most, if any attends.
        composition: Their K-composition; NaN without a source.
        null: The same of random heads, `[20]`.
    """

    layer: int
    head: int
    back: Tensor
    match: Tensor
    harm: float
    harm_interval: tuple[float, float]
    source: tuple[int, int] | None
    composition: float
    null: Tensor

    @property
    def name(self) -> str:
        """As in `L1H3`."""
        return f"L{self.layer}H{self.head}"

    @property
    def delta(self) -> int:
        """The offset, from 1 on, whose keys it attends to most."""
        return 1 + int(self.match[1:].argmax())

    @property
    def fails(self) -> str:
        """What it lacks of an induction head; empty if nothing."""
        if not float(self.match[self.delta]) > LEAST_MATCH:
            return "attends to no offset"
        if not self.harm_interval[0] > 0:
            return "ablation costs nothing"
        if self.source is None:
            return "no earlier head attends so far back"
        if not self.composition > float(self.null.max()):
            return "composes with no such head"
        return ""

    @property
    def label(self) -> str:
        """`induction(δ)`, or nothing."""
        return "" if self.fails else f"induction({self.delta})"


class _Patterns(NamedTuple):
    """Scores of all heads of a layer over all sequences: `[n_heads, 5]` each."""

    back: Tensor
    match: Tensor


def repeated_sequences(
    d_vocab: int, n_ctx: int, n_sequences: int = 64, periods: Sequence[int] | None = None, seed: int = 0
) -> Tensor:
    """Blocks of random tokens that repeat, at another period in each sequence, `[n_sequences, n_ctx + 1]` int64.

    Args:
        d_vocab: Size of the vocabulary.
        n_ctx: Tokens that a model reads; the last of a sequence is only a target.
        n_sequences: Number of sequences.
        periods: Lengths of the blocks, without those that the model was trained on; from a sixth to a half of `n_ctx`
            if left out.
        seed: Of the sequences.
    """
    if periods is None:
        periods = [period for period in range(max(2, n_ctx // 6), n_ctx // 2 + 1) if period <= d_vocab]
        if not periods:
            reject("n_ctx", n_ctx, "at least 4, so that two copies of a block fit")
    law = RepeatedBlocks(periods)
    law.check(d_vocab, n_ctx + 1)
    draws = keyed_uniform("repeated sequences", [seed], 0, (n_sequences, law.n_draws(d_vocab, n_ctx + 1)))[0]
    return law.sample(draws, d_vocab, n_ctx + 1)


def examine_heads(net: Transformer, sequences: Tensor) -> list[HeadEvidence]:
    """The evidence on every head, by layer and number.

    Args:
        net: The model.
        sequences: `[N, T + 1]` int64 in which tokens come again, such as `repeated_sequences`; at no period that the
            model was trained on.
    """
    tokens = sequences[:, :-1]
    patterns = [_patterns(net, tokens, layer) for layer in range(net.n_layers)]
    evidence = []
    for layer in range(net.n_layers):
        for head in range(net.n_heads):
            back, match = patterns[layer].back[head], patterns[layer].match[head]
            delta = 1 + int(match[1:].argmax())
            harm, interval = float("nan"), (float("nan"), float("nan"))
            if float(match[delta]) > LEAST_MATCH:
                harm, *ends = bootstrap_interval(lambda x: float(x.mean()), ablation_harm(net, sequences, layer, head))
                interval = (ends[0], ends[1])
            source, composed, null = _source(net, [each.back for each in patterns[:layer]], layer, head, delta)
            evidence.append(HeadEvidence(layer, head, back, match, harm, interval, source, composed, null))
    return evidence


def induction_heads(net: Transformer, sequences: Tensor) -> list[HeadEvidence]:
    """The heads that pass all tests; arguments as for `examine_heads`."""
    return [head for head in examine_heads(net, sequences) if head.label]


def ablation_harm(net: Transformer, sequences: Tensor, layer: int, head: int) -> Tensor:
    """What it costs to replace a head's output by its mean, in nats per target that was shown before, `[N]`.

    Args:
        net: The model.
        sequences: `[N, T + 1]`.
        layer: Layer of the head.
        head: Its number.
    """
    tokens, targets = sequences[:, :-1], sequences[:, 1:]
    shown = repeated_pairs(tokens, targets)

    def without(z: Tensor) -> Tensor:
        z = z.clone()
        z[:, :, head] = z[:, :, head].mean(dim=(0, 1))
        return z

    with evaluating(net):
        whole = net.token_losses(tokens, targets)
        with edited(net, {f"blocks.{layer}.attn.hook_z": without}):
            ablated = net.token_losses(tokens, targets)
    return ((ablated - whole).double() * shown).sum(dim=1) / shown.sum(dim=1)


def _patterns(net: Transformer, tokens: Tensor, layer: int) -> _Patterns:
    back, attention, uniform = [], [], []
    for batch, pattern in _batches(net, tokens, layer):
        back.append(back_profile(pattern, len(OFFSETS) - 1))
        match = match_scores(pattern, batch, OFFSETS)
        attention.append(match.attention)
        uniform.append(match.uniform)
    matches = Matches(torch.cat(attention), torch.cat(uniform))
    return _Patterns(torch.cat(back).mean(dim=0), matches.excess)


def _batches(net: Transformer, tokens: Tensor, layer: int) -> Iterator[tuple[Tensor, Tensor]]:
    name = f"blocks.{layer}.attn.hook_pattern"
    for batch in tokens.split(max(1, PATTERN_ENTRIES // (net.n_heads * tokens.shape[1] ** 2))):
        yield batch, activations(net, batch, name)[name]


def _source(
    net: Transformer, back: Sequence[Tensor], layer: int, head: int, delta: int
) -> tuple[tuple[int, int] | None, float, Tensor]:
    """The earlier head that attends δ back and composes with the keys most; its K-composition, and that of random ones.

    Args:
        net: The model.
        back: Of each earlier layer, `[n_heads, 5]`.
        layer: Of the head with the keys.
        head: Its number.
        delta: δ.
    """
    keys = head_weights(net, layer).keys(head)
    null = random_composition(keys, net.d_head)
    found: dict[tuple[int, int], float] = {}
    for earlier, profile in enumerate(back):
        weights = head_weights(net, earlier)
        for number in (profile[:, delta] > LEAST_BACK).nonzero().flatten().tolist():
            found[earlier, number] = float(composition(weights.ov(number), keys))
    if not found:
        return None, float("nan"), null
    source = max(found, key=found.__getitem__)
    return source, found[source], null
