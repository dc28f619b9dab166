"""How much of each source is read, and in which order: index arithmetic, without state."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sup_lightning.data.permutation import permute

RESOLUTION = 2**20
"""Weights are rounded to shares of this many, so that counts are exact in 64-bit integers."""


def assign_rows(rows: NDArray[np.int64], weights: Sequence[float]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which source each row of an endless sequence comes from.

    The sources are interleaved as evenly as whole rows allow: of any number of first rows, each source has its share to
    within as many rows as there are sources.

    Args:
        rows: `[n]`, numbers of rows.
        weights: Of the sources; their sum does not matter.

    Returns:
        The source of each row, and how many earlier rows come from the same source.

    >>> source, place = assign_rows(np.arange(6), [2, 1])
    >>> source.tolist(), place.tolist()
    ([1, 0, 0, 1, 0, 0], [0, 0, 1, 1, 2, 3])
    """
    before, after = _counts(rows, weights), _counts(rows + 1, weights)
    source = (after - before).argmax(axis=0)
    return source, np.take_along_axis(before, source[None], axis=0)[0]


def _counts(rows: NDArray[np.int64], weights: Sequence[float]) -> NDArray[np.int64]:
    """How many of the first rows belong to each source, `[n_sources, n]`.

    The first source takes the integer part of its share, the others share what is left in the same way. One more row
    raises exactly one count, by one.
    """
    shares = [max(1, round(weight / sum(weights) * RESOLUTION)) for weight in weights]
    left, counts = rows, []
    for number, share in enumerate(shares):
        counts.append(left * share // sum(shares[number:]))
        left = left - counts[-1]
    return np.stack(counts)


class WindowOrder:
    """The order of the training windows.

    Each source's windows are permuted anew in each pass over that source, and none reaches into another source. Rows
    come from the sources in proportion to the weights; a source that is used up begins its next pass.

    Args:
        tokens_of_source: Tokens of each source; they follow one another.
        weights: Of the sources.
        n_ctx: Tokens in a window.
        seed: Of the permutations.
    """

    def __init__(self, tokens_of_source: Sequence[int], weights: Sequence[float], n_ctx: int, seed: int) -> None:
        self.firsts = np.cumsum([0, *tokens_of_source[:-1]])
        self.n_windows = [(tokens - 1) // n_ctx for tokens in tokens_of_source]
        self.weights, self.n_ctx, self.seed = weights, n_ctx, seed

    def places(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The place of the first token of each row's window, for rows counted from the start of training."""
        source, number = assign_rows(rows, self.weights)
        places = np.empty_like(rows)
        for each in np.unique(source):
            mine = source == each
            window = self._permuted(number[mine], self.n_windows[each])
            places[mine] = self.firsts[each] + window * self.n_ctx
        return places

    def _permuted(self, number: NDArray[np.int64], n_windows: int) -> NDArray[np.int64]:
        passes, place = np.divmod(number, n_windows)
        window = np.empty_like(place)
        for each in np.unique(passes):
            within = passes == each
            window[within] = permute(place[within], n_windows, self.seed, int(each))
        return window
