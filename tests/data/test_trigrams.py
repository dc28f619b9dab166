"""Trigrams against counting by hand."""

from collections import Counter

import numpy as np
import pytest

from sup_lightning.data.trigrams import find_trigrams


def counted(tokens: list[int], documents: list[int]) -> dict[tuple[int, int, int], tuple[int, int, float, float]]:
    """Every trigram of a document: how often, in how many documents, p(c | a b), p(c | b)."""
    threes = [(*tokens[i : i + 3], documents[i]) for i in range(len(tokens) - 2) if documents[i] == documents[i + 2]]
    whole, pair = Counter(x[:3] for x in threes), Counter(x[:2] for x in threes)
    end, second = Counter(x[1:3] for x in threes), Counter(x[1] for x in threes)
    return {
        x: (n, len({y[3] for y in threes if y[:3] == x}), n / pair[x[:2]], end[x[1:]] / second[x[1]])
        for x, n in whole.items()
    }


@pytest.mark.parametrize("seed", range(3))
def test_against_counting(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tokens = np.minimum(rng.geometric(0.2, 700), 9)
    documents = np.sort(rng.integers(0, 5, 700))
    limits = {"least_count": 4, "least_documents": 3, "least_pair": 0.3, "most_second": 0.2}
    found = find_trigrams(tokens, documents, **limits)
    expected = {
        x: values
        for x, values in counted(tokens.tolist(), documents.tolist()).items()
        if values[0] >= 4 and values[1] >= 3 and values[2] > 0.3 and values[3] < 0.2
    }
    assert {each[:3]: pytest.approx(each[3:]) for each in found} == expected
    assert expected
    assert [each.occurrences for each in found] == sorted((each.occurrences for each in found), reverse=True)


def test_three_tokens_of_two_documents_do_not_count() -> None:
    tokens = np.array([1, 2, 3] * 40 + [1, 4, 5] * 40 + [6, 2, 7] * 400)
    documents = np.repeat(np.arange(480), 3)
    assert len(find_trigrams(tokens, documents)) == 1
    assert find_trigrams(tokens, documents)[0][:4] == (1, 2, 3, 40)
    assert find_trigrams(tokens, np.arange(len(tokens))) == []
