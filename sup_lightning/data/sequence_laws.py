"""Laws of synthetic token sequences in which tokens come again.

Not every such law teaches induction, that is, to look for the earlier place of the present token and to copy what
followed. Blocks that repeat at one period are solved by attending so many positions back, whatever is there.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from sup_lightning.errors import reject, require_positive


class SequenceLaw(ABC):
    """How the tokens of a sequence are drawn. A row depends on its own uniform draws alone."""

    @abstractmethod
    def n_draws(self, d_vocab: int, n_tokens: int) -> int:
        """Uniform draws that a sequence takes."""

    @abstractmethod
    def sample(self, draws: Tensor, d_vocab: int, n_tokens: int) -> Tensor:
        """The sequences of `[n_rows, n_draws]` uniform draws, `[n_rows, n_tokens]` int64."""

    def check(self, d_vocab: int, n_tokens: int) -> None:  # noqa: B027
        """Reject sizes for which there is no such sequence."""


class SubsetMaps(SequenceLaw):
    """A random one-to-one map of a few random tokens to themselves, another in each sequence.

    With `back_probability` a token is the one two places before: a rule of all sequences, which makes attention to
    previous tokens worth while before anything asks for what they are. Else it is what the map makes of the one before
    with `map_probability`, and any of the few if not.

    Args:
        n_active: Tokens of a sequence.
        map_probability: Of following the map, where the token is not copied from two places before.
        back_probability: Of the token two places before.
    """

    def __init__(self, n_active: int = 12, map_probability: float = 0.8, back_probability: float = 0.05) -> None:
        require_positive(n_active=n_active)
        for name, value in {"map_probability": map_probability, "back_probability": back_probability}.items():
            if not 0 <= value <= 1:
                reject(name, value, "a number in [0, 1]")
        self.n_active, self.map_probability, self.back_probability = n_active, map_probability, back_probability

    def check(self, d_vocab: int, n_tokens: int) -> None:
        if self.n_active > d_vocab:
            reject("n_active", self.n_active, f"at most d_vocab = {d_vocab}")

    def n_draws(self, d_vocab: int, n_tokens: int) -> int:
        return d_vocab + self.n_active + 2 * n_tokens

    def sample(self, draws: Tensor, d_vocab: int, n_tokens: int) -> Tensor:
        order, images, which, other = draws.split([d_vocab, self.n_active, n_tokens, n_tokens], dim=1)
        images, other = images.argsort(dim=1), _one_of(self.n_active, other)
        places = [other[:, 0]]  # as numbers of the active tokens
        for t in range(1, n_tokens):
            back = self.back_probability if t > 1 else 0.0
            mapped = back + (1 - back) * self.map_probability
            following = images.gather(1, places[-1].unsqueeze(1)).squeeze(1)
            place = torch.where(which[:, t] < mapped, following, other[:, t])
            places.append(torch.where(which[:, t] < back, places[max(0, t - 2)], place))
        return _distinct(order, self.n_active).gather(1, torch.stack(places, dim=1))


class RepeatedBlocks(SequenceLaw):
    """A block of different random tokens over and over; each sequence has one of some periods, all as often.

    With a single period it looks like a task for induction and is none: attention to fixed positions solves it.

    Args:
        periods: Lengths of the block.
    """

    def __init__(self, periods: Sequence[int] = (23,)) -> None:
        if not periods:
            reject("periods", list(periods), "at least one")
        for period in periods:
            require_positive(periods=period)
        self.periods = list(periods)

    def check(self, d_vocab: int, n_tokens: int) -> None:
        most = min(d_vocab, n_tokens - 1)
        if max(self.periods) > most:
            reject("periods", self.periods, f"at most {most}: as many tokens as there are, and one that comes again")

    def n_draws(self, d_vocab: int, n_tokens: int) -> int:
        return d_vocab + 1

    def sample(self, draws: Tensor, d_vocab: int, n_tokens: int) -> Tensor:
        blocks = _distinct(draws[:, 1:], max(self.periods))
        periods = torch.tensor(self.periods)[_one_of(len(self.periods), draws[:, 0])]
        return blocks.gather(1, torch.arange(n_tokens) % periods.unsqueeze(1))


def _one_of(n: int, uniform: Tensor) -> Tensor:
    """Numbers 0 to n - 1, all as likely."""
    return (uniform * n).long().clamp(max=n - 1)  # in float32 the product may round up to n


def _distinct(uniform: Tensor, n: int) -> Tensor:
    """The first n of a random order of all tokens, `[n_rows, n]`, from `[n_rows, d_vocab]` uniform draws."""
    return uniform.topk(n, dim=1).indices
