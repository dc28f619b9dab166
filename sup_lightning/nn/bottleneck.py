"""The ReLU output model of Elhage et al. 2022: features through a linear bottleneck, and back."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from sup_lightning.errors import reject
from sup_lightning.nn.bottleneck_loss import BottleneckLoss
from sup_lightning.nn.toy import ToyNetwork

Activation = Literal["relu", "linear"]


class BottleneckModel(ToyNetwork):
    """x' = f(W_out W x + b): n_features into n_hidden dimensions and out again ("Demonstrating superposition").

    `W[n_instances, n_features, n_hidden]` holds the feature directions as rows. Tied, the readout is the same
    Parameter transposed, so the optimiser sees one weight.

    Args:
        n_features: Number of features.
        seeds: Seed of each instance.
        n_hidden: Dimensions of the bottleneck.
        activation: Output non-linearity; `linear` is the paper's linear model.
        tied: Whether the readout is the transposed encoder.
    """

    def __init__(
        self,
        n_features: int,
        seeds: Sequence[int],
        n_hidden: int = 2,
        activation: Activation = "relu",
        tied: bool = True,
    ) -> None:
        super().__init__(n_features, seeds, n_hidden)
        if activation not in ("relu", "linear"):
            reject("activation", activation, "relu or linear")
        self.activation = activation
        self.W = self.xavier_normal("W", n_features, n_hidden)
        self.W_out = None if tied else self.xavier_normal("W_out", n_features, n_hidden)
        self.b = self.zeros(n_features)

    def forward(self, features: Tensor, keep: Tensor | None = None) -> Tensor:
        hidden = self.W.mT @ features.mT  # the batch is innermost in memory: see BottleneckLoss
        if keep is not None:
            hidden = hidden * keep.mT
        readout = self.W if self.W_out is None else self.W_out
        output = torch.baddbmm(self.b.unsqueeze(2), readout, hidden)
        return (output.relu() if self.activation == "relu" else output).mT

    def feature_directions(self) -> Tensor:
        return self.W

    def loss(self, features: Tensor, target: Tensor, importance: Tensor, keep: Tensor | None = None) -> Tensor:
        return BottleneckLoss.apply(  # type: ignore[no-untyped-call]
            features, target, self.W, self.W_out, self.b, importance, keep, self.activation == "relu"
        )
