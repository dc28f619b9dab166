"""Trigrams as features of a language model: contexts with and without them, and what a layer's neurons hold there.

A context is real text, cut off, whose last two tokens are exchanged or not. Clean: a b. First only: a and the text's
own last token. Second only: the text's own token and b. Neither: the text as it was. What differs between clean and
second only is the feature "a came before b"; clean - first - second + neither is what needs both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from sup_lightning.data.trigrams import Trigram, find_trigrams
from sup_lightning.interop.patching import LastToken
from sup_lightning.nn.transformer import Transformer
from sup_lightning.studies.subjects import Subject

CLEAN, FIRST, SECOND, NEITHER = range(4)
KINDS = ("clean", "first only", "second only", "neither")
CONTEXT = 32
"""Tokens in a context, or as many as the model takes."""
MOST_TOKENS = 2_000_000
"""Of the held-out text, that trigrams are counted in."""


def text_trigrams(subject: Subject, least_count: int = 20) -> list[Trigram]:
    """Trigrams of the subject's held-out text, most frequent first."""
    text = subject.data.val
    n = min(len(text.tokens), MOST_TOKENS)
    return find_trigrams(np.asarray(text.tokens[:n]), text.documents_at(np.arange(n)), least_count)


def real_contexts(subject: Subject, n_contexts: int) -> Tensor:
    """The beginnings of held-out windows, of each genre its share, `[n_contexts, T]`; fewer if there are fewer."""
    return subject.windows(n_contexts).tokens[:, : min(CONTEXT, subject.data.n_ctx)]


def planted_contexts(trigram: Trigram, real: Tensor) -> Tensor:
    """The four kinds of contexts of a trigram, `[4, N, T]`.

    Args:
        trigram: Tokens a b c.
        real: `[n_contexts, T]`; those that end with b, or have a before the end, are left out.
    """
    free = real[(real[:, -2] != trigram.first) & (real[:, -1] != trigram.second)]
    found = free.repeat(4, 1, 1)
    found[[CLEAN, FIRST], :, -2] = trigram.first
    found[[CLEAN, SECOND], :, -1] = trigram.second
    return found


@dataclass(frozen=True)
class Feature:
    """A trigram in N contexts, and the neurons of one layer at the last token.

    Attributes:
        trigram: The tokens.
        contexts: Each of the four kinds, to be patched.
    """

    trigram: Trigram
    contexts: Sequence[LastToken]

    @classmethod
    def of(cls, net: Transformer, layer: int, trigram: Trigram, real: Tensor) -> "Feature":
        """Run the model on the four kinds of contexts.

        Args:
            net: The model, in evaluation mode.
            layer: Whose neurons.
            trigram: The tokens.
            real: `[n_contexts, T]` of `real_contexts`.
        """
        with torch.no_grad():
            return cls(trigram, [LastToken(net, tokens, layer) for tokens in planted_contexts(trigram, real)])

    @cached_property
    def post(self) -> Tensor:
        """What the neurons hold at the last token, `[4, N, d_mlp]`."""
        return torch.stack([each.post for each in self.contexts])

    @cached_property
    def logprob(self) -> Tensor:
        """Log p(c) in nats, `[4, N]`."""
        with torch.no_grad():
            return torch.stack([self.score(each.post, kind) for kind, each in enumerate(self.contexts)])

    def score(self, post: Tensor, kind: int = CLEAN) -> Tensor:
        """Log p(c) in contexts of a kind if the neurons held `post` `[N, d_mlp]`, `[N]`."""
        return self.contexts[kind].logprobs(post)[:, self.trigram.third]

    @property
    def gain(self) -> float:
        """Nats that a before b adds to log p(c): how well the model knows the trigram."""
        return float((self.logprob[CLEAN] - self.logprob[SECOND]).mean())

    @property
    def interaction(self) -> Tensor:
        """What needs both tokens in what the neurons hold, mean over contexts, `[d_mlp]`."""
        return (self.post[CLEAN] - self.post[FIRST] - self.post[SECOND] + self.post[NEITHER]).mean(dim=0)


@dataclass(frozen=True)
class KnownFeature:
    """A feature that the model knows, in contexts to choose neurons by and in others to measure them on."""

    chosen_on: Feature
    measured_on: Feature

    @property
    def trigram(self) -> Trigram:
        return self.chosen_on.trigram


def known_features(
    net: Transformer, layer: int, trigrams: Sequence[Trigram], real: Tensor, n_features: int, least_gain: float = 1.0
) -> tuple[list[KnownFeature], int]:
    """The first trigrams that the model knows, judged by half of the contexts; and how many had to be looked at.

    Args:
        net: The model, in evaluation mode.
        layer: Whose neurons.
        trigrams: Candidates, in order.
        real: `[n_contexts, T]` of `real_contexts`.
        n_features: Most that are wanted.
        least_gain: Nats that a before b must add to log p(c).
    """
    known: list[KnownFeature] = []
    for n_seen, trigram in enumerate(trigrams, start=1):
        chosen_on = Feature.of(net, layer, trigram, real[::2])
        if chosen_on.gain >= least_gain:
            known.append(KnownFeature(chosen_on, Feature.of(net, layer, trigram, real[1::2])))
        if len(known) == n_features:
            return known, n_seen
    return known, len(trigrams)


def related(trigrams: Sequence[Trigram]) -> Tensor:
    """Which pairs of trigrams have a token in common, `[n, n]` bool."""
    tokens = [{*trigram[:3]} for trigram in trigrams]
    return torch.tensor([[bool(one & other) for other in tokens] for one in tokens])


def words(subject: Subject, tokens: Sequence[int]) -> str:
    """Tokens as text, with line breaks and spaces at the ends visible.

    Args:
        subject: Whose tokenizer.
        tokens: Their numbers.
    """
    parts = (subject.data.tokenizer.decode([token], skip_special_tokens=False) for token in tokens)
    return "|".join(part.replace("\n", "↵").replace("\t", "→").replace(" ", "·") for part in parts)
