"""How strongly a feature fires.

A value law is a map from a uniform draw to a value, and the same law in words that exact computation understands: a
mixture of uniform pieces and atoms.
"""

from abc import ABC, abstractmethod
from math import fsum, isfinite

import torch
from torch import Tensor

from sup_lightning.errors import reject

Piece = tuple[float, float, float]
"""(weight, low, high): with probability `weight` uniform on [low, high]; an atom if low == high."""


class ValueLaw(ABC):
    """How strongly a feature fires. 0 must have probability 0: it means that the feature does not fire."""

    @abstractmethod
    def quantile(self, u: Tensor) -> Tensor:
        """The value at quantile u in [0, 1], elementwise.

        It is also called with u outside [0, 1], for features that do not fire; those values are discarded, but must not
        be an error.
        """

    @property
    @abstractmethod
    def pieces(self) -> tuple[Piece, ...]:
        """The law as a mixture of uniform pieces (weight, low, high); low == high is an atom; weights add up to 1."""


class UniformValues(ValueLaw):
    """Uniform on [low, high].

    Args:
        low: Least value.
        high: Greatest value.
    """

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        if not low < high:
            reject("low, high", (low, high), "low < high")
        self.low, self.high = low, high

    def quantile(self, u: Tensor) -> Tensor:
        return u if (self.low, self.high) == (0.0, 1.0) else u * (self.high - self.low) + self.low

    @property
    def pieces(self) -> tuple[Piece, ...]:
        return ((1.0, self.low, self.high),)


class ConstantValue(ValueLaw):
    """Always the same value: binary features, if it is 1.

    Args:
        value: The value.
    """

    def __init__(self, value: float = 1.0) -> None:
        _require_level("value", value)
        self.value = value

    def quantile(self, u: Tensor) -> Tensor:
        return torch.full_like(u, self.value)

    @property
    def pieces(self) -> tuple[Piece, ...]:
        return ((1.0, self.value, self.value),)


class DiscreteValues(ValueLaw):
    """One of several levels.

    Args:
        levels: The values.
        weights: How often each, in any unit; equally often if left out.

    >>> DiscreteValues([3.0, 1.0], weights=[1, 3]).quantile(torch.tensor([0.0, 0.7, 0.8]))
    tensor([1., 1., 3.])
    """

    def __init__(self, levels: list[float], weights: list[float] | None = None) -> None:
        if not levels or len(set(levels)) < len(levels):
            reject("levels", levels, "at least one number, all different")
        for level in levels:
            _require_level("levels", level)
        weights = [1.0] * len(levels) if weights is None else weights
        if len(weights) != len(levels) or not all(isfinite(weight) and weight > 0 for weight in weights):
            reject("weights", weights, f"a positive number for each of the {len(levels)} levels")
        rising = sorted(zip(levels, weights, strict=True))  # so that the quantile function rises
        self.levels = [float(level) for level, _ in rising]
        self.weights = [weight / fsum(weights) for _, weight in rising]

    def quantile(self, u: Tensor) -> Tensor:
        value = torch.full_like(u, self.levels[0])
        for place in range(1, len(self.levels)):  # for a few levels faster than a search
            value = torch.where(u >= fsum(self.weights[:place]), self.levels[place], value)
        return value

    @property
    def pieces(self) -> tuple[Piece, ...]:
        return tuple((weight, level, level) for weight, level in zip(self.weights, self.levels, strict=True))


class SignedValues(ValueLaw):
    """A random sign times a value of another law.

    Sign and size come from one draw: |2u - 1| is uniform, whichever the sign of 2u - 1.

    Args:
        values: The law of the size; uniform on [0, 1] if left out, which gives the uniform law on [-1, 1].
    """

    def __init__(self, values: ValueLaw | None = None) -> None:
        self.values = values or UniformValues()

    def quantile(self, u: Tensor) -> Tensor:
        centred = 2 * u - 1
        return torch.copysign(self.values.quantile(centred.abs()), centred)

    @property
    def pieces(self) -> tuple[Piece, ...]:
        pieces = self.values.pieces
        negative = tuple((weight / 2, -high, -low) for weight, low, high in reversed(pieces))
        return negative + tuple((weight / 2, low, high) for weight, low, high in pieces)


def _require_level(option: str, value: float) -> None:
    if not isfinite(value) or value == 0:
        reject(option, value, "finite numbers that are not 0, as 0 means that a feature does not fire")
