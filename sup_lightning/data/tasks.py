"""Target functions: what a network is to compute from the features."""

from abc import ABC, abstractmethod

from torch import Tensor


class Task(ABC):
    """Maps features `[..., n_features, batch]` to targets `[..., n_outputs, batch]`."""

    def n_outputs(self, n_features: int) -> int:
        """Number of targets."""
        return n_features

    @abstractmethod
    def __call__(self, features: Tensor) -> Tensor:
        """The targets of a batch; their mean given the features, if they are drawn."""

    def n_draws(self, n_features: int) -> int:
        """Uniform numbers needed for the targets of one row; 0 if the features say all."""
        return 0

    def sample(self, features: Tensor, uniform: Tensor) -> Tensor:
        """Draw targets given the features. A task that draws overrides this and `n_draws`.

        Args:
            features: `[..., n_features, batch]`.
            uniform: `[..., n_draws, batch]` on [0, 1), independent of the features' draws.
        """
        return self(features)


class Identity(Task):
    """Reconstruct the features themselves."""

    def __call__(self, features: Tensor) -> Tensor:
        return features


class AbsoluteValue(Task):
    """The absolute value of each feature (Elhage et al. 2022, "Computation in superposition")."""

    def __call__(self, features: Tensor) -> Tensor:
        return features.abs()


class Square(Task):
    """The square of each feature: a curve, of which ReLU neurons make chords, the more neurons the finer."""

    def __call__(self, features: Tensor) -> Tensor:
        return features.square()
