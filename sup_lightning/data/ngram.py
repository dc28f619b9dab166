"""What counting tokens achieves: the losses that a language model must beat before anything is read into it."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sup_lightning.data.language import TextData

HELD_OUT = 0.1
"""Share of the training tokens, at their end, on which the interpolation weights are fitted."""
MOST_HELD_OUT = 2_000_000
CHUNK = 2**22
"""Training tokens that are looked at at a time. With the two limits above memory does not grow with the text."""
N_BINS = 64

Tokens = NDArray[np.int64]
Probabilities = NDArray[np.float64]


class Baselines(NamedTuple):
    """Cross-entropies on the validation windows, in nats per token.

    Attributes:
        unigram: Of the training text's token frequencies.
        bigram: Of the frequencies after each token, interpolated with the unigram.
        trigram: Of the frequencies after each two tokens, interpolated with the bigram.
        bytes_per_token: Of the text that the validation targets stand for.
    """

    unigram: float
    bigram: float
    trigram: float
    bytes_per_token: float

    def bits_per_byte(self, nats_per_token: float) -> float:
        """A cross-entropy in the unit that is comparable between tokenizers."""
        return nats_per_token / math.log(2) / self.bytes_per_token


class Targets(NamedTuple):
    """Tokens to predict, each `[n]`, with the token before and the one before that; -1 where it is not in sight."""

    earlier: Tokens
    previous: Tokens
    target: Tokens


def ngram_baselines(data: TextData) -> Baselines:
    """Unigram and interpolated bigram and trigram losses on exactly the targets that `val/loss` is measured on.

    The interpolation is that of Jelinek and Mercer (1980): p(c | a b) = w f(c | a b) + (1 - w) p(c | b), and p(c | b)
    in the same way from f(c | b) and p(c). The weight depends on how often the context was seen (in powers of two) and
    is the most likely one on held-out training text; then the counts are taken anew over all of it. The unigram adds
    one to every count. The first target of a window has one token before it, so its trigram is its bigram:
    nothing sees more than the model does.

    Args:
        data: Prepared and set up.
    """
    n_tokens = len(data.train.tokens)
    n_fitted = n_tokens - min(int(n_tokens * HELD_OUT), MOST_HELD_OUT)
    held_out = np.asarray(data.train.tokens[n_fitted:]).astype(np.int64)
    fitted = _Frequencies(data, n_fitted, Targets(held_out[:-2], held_out[1:-1], held_out[2:]))
    weights = fitted.fit_weights()
    targets, n_bytes = _validation_targets(data)
    measured = _Frequencies(data, n_tokens, targets)
    unigram, bigram, trigram = (-float(np.log(p).mean()) for p in measured.probabilities(*weights))
    return Baselines(unigram, bigram, trigram, n_bytes / len(targets.target))


def _validation_targets(data: TextData) -> tuple[Targets, int]:
    """All targets of the validation windows, and the bytes that they stand for."""
    parts, n_bytes = [], 0
    for batch in data.val_dataloader():
        real = batch.weights > 0
        tokens, targets = batch.tokens[real].numpy(), batch.targets[real].numpy()
        earlier = np.concatenate([np.full_like(tokens[:, :1], -1), tokens[:, :-1]], axis=1)
        parts.append(np.stack([earlier.ravel(), tokens.ravel(), targets.ravel()]))
        n_bytes += int(batch.n_bytes[real].sum())
    return Targets(*np.concatenate(parts, axis=1)), n_bytes


class _Frequencies:
    """Relative frequencies in the first `n_tokens` of the training text, of what the targets ask for alone."""

    def __init__(self, data: TextData, n_tokens: int, targets: Targets) -> None:
        n = data.d_vocab
        earlier, previous, target = targets
        pair, context = previous * n + target, earlier * n + previous
        triple = np.where(earlier < 0, -1, context * n + target)
        context = np.where(earlier < 0, -1, context)
        of_token = np.zeros(n, dtype=np.int64)
        pairs, contexts, triples = _Counter(pair), _Counter(context), _Counter(triple)
        for start in range(0, n_tokens, CHUNK):  # with two tokens of the next chunk, which end what begins here
            tokens = np.asarray(data.train.tokens[start : min(start + CHUNK + 2, n_tokens)]).astype(np.int64)
            of_token += np.bincount(tokens[:CHUNK], minlength=n)
            two = (tokens[:-1] * n + tokens[1:])[:CHUNK]
            pairs.add(two)
            contexts.add(two)
            triples.add(tokens[:-2] * n * n + tokens[1:-1] * n + tokens[2:])
        last = tokens[-1]  # is followed by nothing, so it is not a context
        seen_one = of_token[previous] - (previous == last)
        seen_two = contexts.of(context) - (context == tokens[-2] * n + last)
        self.unigram = (of_token[target] + 1) / (n_tokens + n)
        self.bigram = pairs.of(pair) / np.maximum(seen_one, 1)
        self.trigram = triples.of(triple) / np.maximum(seen_two, 1)
        self.bin_one, self.bin_two = (np.log2(seen + 1).astype(np.int64) for seen in (seen_one, seen_two))

    def fit_weights(self) -> tuple[Probabilities, Probabilities]:
        """Weights of the bigram's and the trigram's frequencies, for each bin of context counts."""
        of_bigram = _fit_weights(self.bin_one, self.bigram, self.unigram)
        interpolated = _interpolate(of_bigram[self.bin_one], self.bigram, self.unigram)
        return of_bigram, _fit_weights(self.bin_two, self.trigram, interpolated)

    def probabilities(self, of_bigram: Probabilities, of_trigram: Probabilities) -> tuple[Probabilities, ...]:
        """Of the targets, by one, two and three tokens."""
        bigram = _interpolate(of_bigram[self.bin_one], self.bigram, self.unigram)
        return self.unigram, bigram, _interpolate(of_trigram[self.bin_two], self.trigram, bigram)


class _Counter:
    """Counts how often each of some wanted keys occurs; other keys take no memory, and -1 is never counted."""

    def __init__(self, wanted: Tokens) -> None:
        self.keys = np.unique(wanted)
        self.counts = np.zeros(len(self.keys), dtype=np.int64)

    def add(self, keys: Tokens) -> None:
        found, counts = np.unique(keys, return_counts=True)
        place = np.searchsorted(self.keys, found).clip(max=len(self.keys) - 1)
        known = self.keys[place] == found
        self.counts[place[known]] += counts[known]

    def of(self, keys: Tokens) -> Tokens:
        return self.counts[np.searchsorted(self.keys, keys)]


def _interpolate(weight: Probabilities, frequency: Probabilities, fallback: Probabilities) -> Probabilities:
    return weight * frequency + (1 - weight) * fallback


def _fit_weights(bins: Tokens, frequency: Probabilities, fallback: Probabilities) -> Probabilities:
    """Most likely weight of the frequency against the fallback for each bin; 0 for contexts that were never seen.

    The likelihood is concave in each weight, so halving the interval by its slope finds what expectation maximisation
    would converge to, which near 1 takes it hundreds of rounds. A bin without held-out text, such as that of contexts
    which only the whole text has often enough, takes the weight of the one below.
    """
    low, high = np.zeros(N_BINS), np.ones(N_BINS)
    gain = frequency - fallback
    for _ in range(30):
        middle = (low + high) / 2
        slope = np.bincount(bins, weights=gain / (middle[bins] * gain + fallback), minlength=N_BINS)
        low, high = np.where(slope > 0, middle, low), np.where(slope > 0, high, middle)
    fitted = np.bincount(bins, minlength=N_BINS) > 0
    fitted[0], low[0] = True, 0.0
    return low[np.maximum.accumulate(np.where(fitted, np.arange(N_BINS), 0))]
