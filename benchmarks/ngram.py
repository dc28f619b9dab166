"""What counting tokens achieves: the losses that a language model must beat before anything is read into it.

Run it as `python -m benchmarks.ngram --data configs/data/text_stdlib.yaml`.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sup_lightning.data.language import TextBatch, TextData

HELD_OUT = 0.1
"""Share of the training tokens, at their end, on which the interpolation weights are fitted."""

Tokens = NDArray[np.int64]


class Baselines(NamedTuple):
    """Cross-entropies on the validation windows, in nats per token.

    Attributes:
        unigram: Of the training text's token frequencies.
        bigram: Of the frequencies after each token, interpolated with the unigram.
    """

    unigram: float
    bigram: float


def ngram_baselines(data: TextData) -> Baselines:
    """Unigram and interpolated bigram losses on exactly the targets that `val/loss` is measured on.

    The bigram is that of Jelinek and Mercer (1980): w(c) p(b | a) + (1 - w(c)) p(b), where the weight depends on how
    often the context a was seen (c, in powers of two) and is fitted by expectation maximisation on held-out training
    text; then the counts are taken anew over all of it. The unigram adds one to every count.

    Args:
        data: Prepared and set up.
    """
    train = data.train.tokens.astype(np.int64)
    windows = np.concatenate([np.c_[b.tokens.flatten(), b.targets.flatten()] for b in _real_rows(data)])
    split = int(len(train) * (1 - HELD_OUT))
    weights = _fit_weights(_Counts(train[:split], data.d_vocab), train[split:-1], train[split + 1 :])
    counts = _Counts(train, data.d_vocab)
    context, target = windows.T
    weight = weights[counts.context_bin(context)]
    bigram = weight * counts.bigram(context, target) + (1 - weight) * counts.unigram(target)
    return Baselines(float(-np.log(counts.unigram(target)).mean()), float(-np.log(bigram).mean()))


def _real_rows(data: TextData) -> Iterator[TextBatch]:
    for batch in data.val_dataloader():
        real = batch.weights > 0
        yield batch._replace(tokens=batch.tokens[real], targets=batch.targets[real])


class _Counts:
    def __init__(self, tokens: Tokens, d_vocab: int) -> None:
        self.d_vocab = d_vocab
        self.of_token = np.bincount(tokens, minlength=d_vocab)
        self.of_context = np.bincount(tokens[:-1], minlength=d_vocab)
        self.pairs, self.of_pair = np.unique(tokens[:-1] * d_vocab + tokens[1:], return_counts=True)

    def unigram(self, target: Tokens) -> NDArray[np.float64]:
        return (self.of_token[target] + 1) / (self.of_token.sum() + self.d_vocab)

    def bigram(self, context: Tokens, target: Tokens) -> NDArray[np.float64]:
        pair = context * self.d_vocab + target
        place = np.searchsorted(self.pairs, pair).clip(max=len(self.pairs) - 1)
        count = np.where(self.pairs[place] == pair, self.of_pair[place], 0)
        return count / np.maximum(self.of_context[context], 1)

    def context_bin(self, context: Tokens) -> Tokens:
        return np.log2(self.of_context[context] + 1).astype(np.int64)


def _fit_weights(counts: _Counts, context: Tokens, target: Tokens, n_iterations: int = 30) -> NDArray[np.float64]:
    """Weight of the bigram for each bin of context counts."""
    bins, n_bins = counts.context_bin(context), 64
    bigram, unigram = counts.bigram(context, target), counts.unigram(target)
    in_bin = np.maximum(np.bincount(bins, minlength=n_bins), 1)
    weights = np.where(np.arange(n_bins) == 0, 0.0, 0.5)  # an unseen context has no bigram
    for _ in range(n_iterations):
        share = weights[bins] * bigram
        share /= share + (1 - weights[bins]) * unigram
        weights = np.bincount(bins, weights=share, minlength=n_bins) / in_bin
    return weights


def main(data: TextData) -> None:
    """Print the unigram and bigram losses of a text.

    Args:
        data: The text and how it is cut into windows.
    """
    data.prepare_data()
    data.setup()
    baselines = ngram_baselines(data)
    print(f"unigram {baselines.unigram:.4f}, interpolated bigram {baselines.bigram:.4f} nats per token")


if __name__ == "__main__":
    from jsonargparse import auto_cli

    auto_cli(main, as_positional=False)
