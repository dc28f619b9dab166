"""The features that probes are asked for: rules of the text, its genre, pairs of tokens, and a set without meaning."""

import torch
from torch import Tensor

from sup_lightning.data.tokenizer import token_texts
from sup_lightning.functional.nulls import matched_tokens
from sup_lightning.functional.text_rules import before, text_rules
from sup_lightning.studies.rules import shown
from sup_lightning.studies.subjects import Subject, Windows

NUMBER, RANDOM_TOKENS = "number", "random tokens"
OF_THE_TOKEN = (NUMBER, RANDOM_TOKENS)
"""Features that the token alone settles: reading them off says nothing of what the neurons compute."""
N_PAIRS = 3
"""Pairs of tokens that are taken as features."""
LEAST, MOST = 0.1, 0.5
"""Of the second token's occurrences, the share that the pair's first token comes before."""


def features_of(subject: Subject, windows: Windows) -> dict[str, Tensor]:
    """Labels of each feature by its name, each `[N, T]` int64: 1, 0, or -1 where a token is left out.

    Besides the rules of `functional.text_rules`: the first genre, if there are several; common pairs of tokens (b after
    a, against b after others: the token b itself says nothing); and tokens drawn at random, as many and about as
    frequent as those of numbers.
    """
    tokens, data = windows.tokens, subject.data
    texts = token_texts(data.tokenizer, data.d_vocab)
    labels = text_rules(texts, tokens)
    is_number = torch.zeros(data.d_vocab, dtype=torch.bool)
    is_number[tokens[labels[NUMBER] == 1]] = True
    drawn = torch.zeros_like(is_number)
    wanted, frequency = is_number.nonzero().flatten(), tokens.flatten().bincount(minlength=data.d_vocab)
    if 0 < len(wanted) < int((frequency > 0).sum()) - len(wanted):
        drawn[matched_tokens(wanted, frequency)] = True
        labels[RANDOM_TOKENS] = drawn[tokens].long()
    if len(data.genres) > 1:
        genre = torch.from_numpy(data.val.genre_of_document)[windows.documents]
        labels[f"genre {data.genres[0]}"] = (genre == 0).long()
    for first, second in common_pairs(tokens, data.d_vocab, N_PAIRS):
        name = f"{shown(texts[first])} before {shown(texts[second])}"
        labels[name] = (before(tokens) == first).long().where((tokens == second) & (before(tokens) >= 0), -1)
    return labels


def common_pairs(tokens: Tensor, d_vocab: int, n_pairs: int) -> list[tuple[int, int]]:
    """The most common pairs of tokens whose first one neither nearly always nor hardly ever precedes the second.

    Args:
        tokens: `[N, T]` int64.
        d_vocab: Size of the vocabulary.
        n_pairs: Pairs wanted, with different second tokens.
    """
    second = tokens[:, 1:].flatten()
    pair, counts = (tokens[:, :-1].flatten() * d_vocab + second).unique(return_counts=True)
    share = counts / second.bincount(minlength=d_vocab)[pair % d_vocab]
    possible = (share >= LEAST) & (share <= MOST)
    order = counts[possible].argsort(descending=True, stable=True)
    found: dict[int, int] = {}
    for each in pair[possible][order].tolist():
        found.setdefault(each % d_vocab, each // d_vocab)
    return [(first, second) for second, first in found.items()][:n_pairs]
