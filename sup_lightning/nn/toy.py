"""What a toy network is: many small models in one, each weight with an instances axis, each seed its own start."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sup_lightning.errors import require_positive
from sup_lightning.functional.keyed_random import keyed_normal
from sup_lightning.functional.reconstruction import weighted_squared_error


class ToyNetwork(nn.Module, ABC):
    """Base of the toy networks.

    Instance k is a model of its own: it shares no weight with the others, and its initial weights depend on
    `seeds[k]` and the shape of one model, never on how many are trained beside it.

    Args:
        n_features: Number of input features.
        seeds: Seed of each instance.
        n_hidden: Width of the hidden layer.
        n_outputs: Number of outputs; as many as features if left out.
    """

    def __init__(self, n_features: int, seeds: Sequence[int], n_hidden: int, n_outputs: int | None = None) -> None:
        super().__init__()
        n_outputs = n_features if n_outputs is None else n_outputs
        require_positive(n_features=n_features, n_hidden=n_hidden, n_outputs=n_outputs)
        self.n_features = n_features
        self.n_outputs = n_outputs
        self.n_hidden = n_hidden
        self.seeds = list(seeds)

    @property
    def n_instances(self) -> int:
        return len(self.seeds)

    def xavier_normal(self, name: str, *shape: int) -> nn.Parameter:
        """A weight `[n_instances, *shape]`, normal with variance 2 / (fan_in + fan_out) of ONE model's matrix."""
        std = (2 / (shape[-2] + shape[-1])) ** 0.5
        return nn.Parameter(keyed_normal(f"init/{name}", self.seeds, 0, shape) * std)

    def zeros(self, *shape: int) -> nn.Parameter:
        """A bias `[n_instances, *shape]`."""
        return nn.Parameter(torch.zeros(self.n_instances, *shape))

    @abstractmethod
    def forward(self, features: Tensor, keep: Tensor | None = None) -> Tensor:
        """Map features to outputs.

        Args:
            features: `[n_instances, batch, n_features]`.
            keep: `[n_instances, batch, n_hidden]` factors on the hidden layer (inverted dropout), or nothing.

        Returns:
            `[n_instances, batch, n_outputs]`.
        """

    @abstractmethod
    def feature_directions(self) -> Tensor:
        """`[n_instances, n_features, n_hidden]`: row i is where feature i is written in the hidden layer."""

    def loss(self, features: Tensor, target: Tensor, importance: Tensor, keep: Tensor | None = None) -> Tensor:
        """Weighted squared error of each instance, `[n_instances]`; a network may give a faster form of the same."""
        return weighted_squared_error(self(features, keep), target, importance)
