"""Simple features of text, as rules that say of each token whether it has them.

A rule reads the texts of the tokens up to and including its own, never later ones: what a causal model could know.
Labels are 1, 0, or `UNKNOWN` where the window begins too late to tell.
"""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

UNKNOWN = -1
TOKEN_CLASSES = ("word", "number", "punctuation", "space", "line end", "other")
RUN_LENGTH = 20
"""Characters that a run has before it counts as base64."""


def token_classes(texts: Sequence[str]) -> Tensor:
    r"""The number in `TOKEN_CLASSES` of each token of a vocabulary, `[d_vocab]`; a token without text is `other`.

    >>> [TOKEN_CLASSES[number] for number in token_classes([" cat", "x2", '",', "  ", "\n  ", ""])]
    ['word', 'number', 'punctuation', 'space', 'line end', 'other']
    """
    patterns = {
        "line end": r"\n",
        "space": r"^\s+$",
        "number": r"\d",
        "word": r"[^\W_]",
        "punctuation": r"\S",
    }

    def of(text: str) -> int:
        return TOKEN_CLASSES.index(next((name for name, each in patterns.items() if re.search(each, text)), "other"))

    return torch.tensor([of(text) for text in texts])


def count_of(texts: Sequence[str], pattern: str) -> Tensor:
    """How often a pattern occurs in each token of a vocabulary, `[d_vocab]` int64.

    >>> count_of(['"', ' ""', "a"], '"')
    tensor([1, 2, 0])
    """
    return torch.tensor([len(re.findall(pattern, text)) for text in texts])


def before(values: Tensor, fill: int = UNKNOWN) -> Tensor:
    """The value of the token before, `[N, T]`; `fill` at the start of a window.

    >>> before(torch.tensor([[5, 6, 7]]))
    tensor([[-1,  5,  6]])
    """
    return torch.cat([torch.full_like(values[:, :1], fill), values[:, :-1]], dim=1)


def since_last(reset: Tensor, values: Tensor) -> Tensor:
    """The sum of values from the last reset on, its own included, `[N, T]`; `UNKNOWN` where there was none yet.

    Args:
        reset: `[N, T]` bool.
        values: `[N, T]` integers, 0 or more.

    >>> since_last(torch.tensor([[False, True, False, True]]), torch.tensor([[1, 2, 3, 4]]))
    tensor([[-1,  2,  5,  4]])
    """
    place = torch.arange(reset.shape[1], device=reset.device).expand_as(reset)
    last = place.where(reset, -1).cummax(dim=1).values
    total = values.cumsum(dim=1)
    at_reset = (total - values).gather(1, last.clamp(min=0))
    return (total - at_reset).where(last >= 0, UNKNOWN)


def inside_quotes(texts: Sequence[str], tokens: Tensor) -> Tensor:
    r"""Whether an odd number of double quotes stands between the start of the paragraph and the token, `[N, T]`.

    >>> inside_quotes(["\n\n", '"', "a"], torch.tensor([[2, 0, 2, 1, 2, 1, 2]]))
    tensor([[-1,  0,  0,  1,  1,  0,  0]])
    """
    lines = count_of(texts, r"\n")[tokens]
    paragraph = (lines > 1) | ((lines > 0) & (before(lines, 0) > 0))
    quotes = since_last(paragraph, count_of(texts, '"')[tokens])
    return (quotes % 2).where(quotes >= 0, UNKNOWN)


def in_comment(texts: Sequence[str], tokens: Tensor) -> Tensor:
    r"""Whether a # stands on the line before the end of the token, `[N, T]`.

    >>> in_comment(["\n", " #", "a"], torch.tensor([[2, 0, 2, 1, 2, 0]]))
    tensor([[-1,  0,  0,  1,  1,  0]])
    """
    hashes = since_last(count_of(texts, r"\n")[tokens] > 0, count_of(texts, "#")[tokens])
    return hashes.clamp(max=1)


def base64_like(texts: Sequence[str], tokens: Tensor) -> Tensor:
    """Whether `RUN_LENGTH` or more characters of the base64 alphabet end here without a break, `[N, T]`.

    Capitals, small letters and digits must all be among them: else it is a long word.

    >>> base64_like([" aGk5", "cGhvdG8xNjY0", "aWc5"], torch.tensor([[0, 1, 2, 0]]))
    tensor([[0, 0, 1, 0]])
    """
    whole = count_of(texts, r"^[A-Za-z0-9+/=]+$")[tokens] > 0
    starts = ~whole
    starts[:, 0] = True  # a run that began before the window is as long as what is seen of it
    inside = count_of(texts, r"^ ?[A-Za-z0-9+/=]+$")[tokens] > 0
    kinds = ("[A-Za-z0-9+/=]", "[A-Z]", "[a-z]", "[0-9]")
    length, *parts = (since_last(starts, count_of(texts, kind)[tokens] * inside) for kind in kinds)
    mixed = torch.stack(parts).amin(dim=0) > 0
    return (inside & mixed & (length >= RUN_LENGTH)).long()


def text_rules(texts: Sequence[str], tokens: Tensor) -> dict[str, Tensor]:
    """Labels of each rule by its name, each `[N, T]` int64.

    All but `number` are of the context: the token alone does not settle them.

    Args:
        texts: Of each token of the vocabulary.
        tokens: `[N, T]` int64.
    """
    kind = token_classes(texts)[tokens]
    previous = before(kind)

    def after(name: str) -> Tensor:
        return (previous == TOKEN_CLASSES.index(name)).long().where(previous >= 0, UNKNOWN)

    return {
        "number": (count_of(texts, r"\d")[tokens] > 0).long(),
        "after a number": after("number"),
        "after punctuation": after("punctuation"),
        "first on its line": after("line end"),
        "inside quotes": inside_quotes(texts, tokens),
        "in a comment": in_comment(texts, tokens),
        "base64": base64_like(texts, tokens),
    }
