"""Synthetic sparse features: who fires, and how strongly.

A distribution is a map from uniform draws to features. The draws are made elsewhere, keyed by seed and step, so every
distribution has common random numbers, exact resume and rank-independent batches without doing anything for it.
Tensors here are `[..., n_features, batch]`: long rows make fast kernels. Modules see the transposed view.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from sup_lightning.errors import reject


class ValueLaw(ABC):
    """How strongly a feature fires, given as a quantile function."""

    @abstractmethod
    def quantile(self, u: Tensor) -> Tensor:
        """The value at quantile u in [0, 1], elementwise."""


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


class FeatureDistribution(ABC):
    """A law of sparse feature vectors, as a map from uniform draws."""

    @abstractmethod
    def n_draws(self, n_features: int) -> int:
        """Uniform numbers needed for one row."""

    @abstractmethod
    def sample(self, uniform: Tensor, feature_probability: Tensor) -> Tensor:
        """Map uniform draws to features; 0 is a feature that does not fire.

        Args:
            uniform: `[..., n_draws, batch]` on [0, 1).
            feature_probability: p, broadcastable to `[..., n_features, batch]`.

        Returns:
            `[..., n_features, batch]`.
        """


class IndependentFeatures(FeatureDistribution):
    """Each feature fires on its own, with its probability p.

    One draw gives both whether a feature fires and how strongly: given u ≥ 1 - p, (u - (1 - p)) / p is uniform again.

    Args:
        values: How strongly a feature fires; uniform on [0, 1] if left out.
    """

    def __init__(self, values: ValueLaw | None = None) -> None:
        self.values = values or UniformValues()

    def n_draws(self, n_features: int) -> int:
        return n_features

    def sample(self, uniform: Tensor, feature_probability: Tensor) -> Tensor:
        quantile = (uniform - (1 - feature_probability)).mul_(1 / feature_probability)
        if isinstance(self.values, UniformValues) and self.values.low == 0:
            return self.values.quantile(quantile.relu_())
        return torch.where(quantile >= 0, self.values.quantile(quantile), 0.0)
