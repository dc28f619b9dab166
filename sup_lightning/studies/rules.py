"""Rules that say in a few words which tokens excite a neuron most."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sup_lightning.data.language import TextData
from sup_lightning.data.tokenizer import token_texts
from sup_lightning.functional.text_rules import TOKEN_CLASSES, before, text_rules, token_classes
from sup_lightning.studies.subjects import Windows

LEAST_SHARE = 0.8
"""Of the strongest tokens that a rule must hold for …"""
LEAST_LIFT = 3.0
"""… and how many times as often as for tokens in general."""
NONE = -1


@dataclass(frozen=True)
class Attribute:
    """Something that each token has, or has not.

    Attributes:
        name: Such as `token` or `genre`.
        values: `[N, T]` int64, `NONE` where a token has no value.
        words: What a rule on each value is called.
    """

    name: str
    values: Tensor
    words: list[str]


@dataclass(frozen=True)
class Rules:
    """The best rule for each of some neurons.

    Attributes:
        attribute: `[n_neurons]`, its number in the book, `NONE` where no rule is good enough.
        value: `[n_neurons]`.
        share: `[n_neurons]`, of the strongest tokens that the rule holds for.
        lift: `[n_neurons]`, times as often as for tokens in general.
    """

    attribute: Tensor
    value: Tensor
    share: Tensor
    lift: Tensor

    @property
    def there(self) -> Tensor:
        """Which neurons have a rule, `[n_neurons]` bool."""
        return self.attribute != NONE


class RuleBook:
    """All rules: on the token, the one before, both, their classes, the genre, and `functional.text_rules`.

    Args:
        data: Where the text is from.
        windows: The text.
        counted: `[N, T]` bool, the tokens among which rules are counted.
    """

    def __init__(self, data: TextData, windows: Windows, counted: Tensor) -> None:
        tokens = windows.tokens
        texts = token_texts(data.tokenizer, data.d_vocab)
        quoted = [shown(text) for text in texts]
        previous, kinds = before(tokens), token_classes(texts)[tokens]
        pair, place = (previous * data.d_vocab + tokens).where(previous >= 0, NONE).unique(return_inverse=True)
        pairs = [f"{quoted[each // data.d_vocab]} {quoted[each % data.d_vocab]}" for each in pair.tolist()]
        self.attributes = [
            Attribute("token", tokens, [f"token {text}" for text in quoted]),
            Attribute("token before", previous, [f"after {text}" for text in quoted]),
            Attribute("two tokens", place.where(previous >= 0, NONE), [f"tokens {text}" for text in pairs]),
            Attribute("class", kinds, [f"class {name}" for name in TOKEN_CLASSES]),
            Attribute("class before", before(kinds), [f"after class {name}" for name in TOKEN_CLASSES]),
        ]
        if len(data.genres) > 1:
            genre = torch.from_numpy(data.val.genre_of_document)[windows.documents]
            self.attributes.append(Attribute("genre", genre, [f"genre {name}" for name in data.genres]))
        for name, label in text_rules(texts, tokens).items():
            self.attributes.append(Attribute(name, (label - 1).clamp(min=NONE), [name]))
        self.rates = [
            torch.bincount(values[values >= 0], minlength=len(each.words)) / counted.sum()
            for each in self.attributes
            for values in [each.values[counted]]
        ]

    def best(self, rows: Tensor, positions: Tensor) -> Rules:
        """The most informative rule for each neuron, given its strongest tokens.

        Of the rules with `LEAST_SHARE` and `LEAST_LIFT` that with the largest share · log(lift): rules that hold for
        more of the tokens, and for fewer others.

        Args:
            rows: `[k, n_neurons]`, windows of the strongest tokens.
            positions: `[k, n_neurons]`.
        """
        n = rows.shape[1]
        chosen = Rules(torch.full((n,), NONE), torch.zeros(n, dtype=torch.int64), torch.zeros(n), torch.ones(n))
        best = torch.zeros(n)
        for number, (attribute, rates) in enumerate(zip(self.attributes, self.rates, strict=True)):
            values = attribute.values[rows, positions]
            mode = values.mode(dim=0).values
            share = (values == mode).float().mean(dim=0)
            lift = share / rates[mode.clamp(min=0)].clamp(min=1e-9)
            informative = share * lift.log()
            better = (mode != NONE) & (share >= LEAST_SHARE) & (lift >= LEAST_LIFT) & (informative > best)
            best = informative.where(better, best)
            for kept, new in zip(
                (chosen.attribute, chosen.value, chosen.share, chosen.lift), (number, mode, share, lift), strict=True
            ):
                kept[better] = torch.as_tensor(new, dtype=kept.dtype).expand(n)[better]
        return chosen

    def words(self, attribute: int, value: int) -> str:
        """A rule in words."""
        return self.attributes[attribute].words[value]

    def labels(self, attribute: int, value: int) -> Tensor:
        """Which tokens a rule holds for, `[N, T]` int64."""
        return (self.attributes[attribute].values == value).long()


def shown(text: str) -> str:
    r"""A token's text with what is invisible made visible.

    >>> shown(" if\n")
    '·if↵'
    """
    return text.replace(" ", "·").replace("\n", "↵").replace("\t", "→")
