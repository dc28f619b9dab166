"""Three tokens of which the first two together foretell the third, and the second alone does not.

The smallest feature of text that a network has to compute: "the last two tokens are a b" is an AND of two tokens, and
no linear map of them separates it from either alone. (Nanda's notes on one-layer models take one apart by hand.)
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]


class Trigram(NamedTuple):
    """Tokens a b c of which a b foretell c.

    Attributes:
        first: Token a.
        second: Token b.
        third: Token c.
        occurrences: How often the text has a b c.
        documents: In how many documents.
        p_pair: p(c | a b) in the text.
        p_second: p(c | b) in the text.
    """

    first: int
    second: int
    third: int
    occurrences: int
    documents: int
    p_pair: float
    p_second: float


def find_trigrams(
    tokens: Tokens,
    documents: Tokens,
    least_count: int = 20,
    least_documents: int = 3,
    least_pair: float = 0.7,
    most_second: float = 0.15,
) -> list[Trigram]:
    """The trigrams of a text in which c follows a b with p > `least_pair`, but b alone with p < `most_second`.

    Three tokens count if they are of one document.

    Args:
        tokens: `[n]`, the text.
        documents: `[n]`, of which document each token is.
        least_count: Fewest occurrences of all three.
        least_documents: Fewest documents that they occur in.
        least_pair: What p(c | a b) exceeds.
        most_second: What p(c | b) stays below.

    Returns:
        Most frequent first; among equals, in the order of the tokens' numbers.

    >>> text = np.array([0, 9, 1, 2, 9, 3, 4, 9, 5, 6, 9, 7, 8, 9, 0] * 3)
    >>> found = find_trigrams(text, np.zeros(45), least_count=3, least_documents=1, most_second=0.21)
    >>> [each[:4] for each in found if each.third == 5]
    [(4, 9, 5, 3)]
    """
    tokens, n = tokens.astype(np.int64), int(tokens.max(initial=0)) + 1
    within = documents[2:] == documents[:-2]
    first, second, third = (tokens[start : len(tokens) - 2 + start][within] for start in range(3))
    pair, end = first * n + second, second * n + third
    found, place, count = np.unique(pair * n + third, return_index=True, return_counts=True)
    of_pair, of_end, of_second = _frequency(pair), _frequency(end), _frequency(second)
    p_pair, p_second = count / of_pair[place], of_end[place] / of_second[place]
    kept = np.flatnonzero((count >= least_count) & (p_pair > least_pair) & (p_second < most_second))
    spread = _documents(pair * n + third, documents[2:][within], found[kept])
    kept, spread = kept[spread >= least_documents], spread[spread >= least_documents]
    return [
        Trigram(
            first=int(first[place[one]]),
            second=int(second[place[one]]),
            third=int(third[place[one]]),
            occurrences=int(count[one]),
            documents=int(n_documents),
            p_pair=float(p_pair[one]),
            p_second=float(p_second[one]),
        )
        for one, n_documents in sorted(zip(kept, spread, strict=True), key=lambda each: (-count[each[0]], each[0]))
    ]


def _frequency(keys: Tokens) -> Tokens:
    """How often each key occurs, in the place of every key."""
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return counts[inverse]


def _documents(keys: Tokens, documents: Tokens, wanted: Tokens) -> Tokens:
    """In how many documents each of the wanted keys occurs."""
    chosen = np.isin(keys, wanted)
    places = np.searchsorted(wanted, keys[chosen])
    once = np.unique(np.stack([places, documents[chosen].astype(np.int64)]), axis=1)
    return np.bincount(once[0], minlength=len(wanted))
