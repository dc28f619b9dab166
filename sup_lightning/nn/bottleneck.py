"""The ReLU output model of Elhage et al. 2022: features through a bottleneck, and back."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sup_lightning.functional.reconstruction import weighted_squared_error
from sup_lightning.nn.activations import ToyActivationName, get_toy_activation
from sup_lightning.nn.toy import ToyNetwork
from sup_lightning.nn.two_layer_loss import TwoLayerLoss


class BottleneckModel(ToyNetwork):
    """x' = g(W_out f(W x) + b): n_features into n_hidden dimensions and out again ("Demonstrating superposition").

    `W[n_instances, n_features, n_hidden]` holds the feature directions as rows. Tied, the readout is the same
    Parameter transposed, so the optimiser sees one weight.

    Args:
        n_features: Number of features.
        seeds: Seed of each instance.
        n_hidden: Dimensions of the bottleneck.
        activation: Output non-linearity g; `linear` is the paper's linear model.
        tied: Whether the readout is the transposed encoder.
        hidden_activation: Hidden non-linearity f; `relu` gives the hidden layer a privileged basis ("Superposition in a
            privileged basis").
        activation_scale: Sharpness β of both: f(β z) / β in the place of f(z). As it grows GELU, SiLU and softplus
            become ReLU; ReLU and linear do not change.
    """

    def __init__(
        self,
        n_features: int,
        seeds: Sequence[int],
        n_hidden: int = 2,
        activation: ToyActivationName = "relu",
        tied: bool = True,
        hidden_activation: ToyActivationName = "linear",
        activation_scale: float = 1.0,
    ) -> None:
        super().__init__(n_features, seeds, n_hidden)
        self._output_function = get_toy_activation("activation", activation, activation_scale)
        self._hidden_function = get_toy_activation("hidden_activation", hidden_activation, activation_scale)
        self.activation, self.hidden_activation = activation, hidden_activation
        self.activation_scale = activation_scale
        self.W = self.xavier_normal("W", n_features, n_hidden)
        self.W_out = None if tied else self.xavier_normal("W_out", n_features, n_hidden)
        self.b = self.zeros(n_features)

    def forward(self, features: Tensor, keep: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """As in `ToyNetwork`; `noise` `[n_instances, batch, n_hidden]` is added to the hidden layer in units of |h|."""
        hidden = self._hidden_function(self.W.mT @ features.mT)  # the batch is innermost in memory: see TwoLayerLoss
        if keep is not None:
            hidden = hidden * keep.mT
        if noise is not None:
            hidden = hidden + torch.linalg.vector_norm(hidden, dim=1, keepdim=True) * noise.mT
        readout = self.W if self.W_out is None else self.W_out
        return self._output_function(torch.baddbmm(self.b.unsqueeze(2), readout, hidden)).mT

    def feature_directions(self) -> Tensor:
        return self.W

    def loss(
        self,
        features: Tensor,
        target: Tensor,
        importance: Tensor,
        keep: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        if noise is not None:
            return weighted_squared_error(self(features, keep, noise), target, importance)
        if not {self.activation, self.hidden_activation} <= {"relu", "linear"}:
            return super().loss(features, target, importance, keep)
        relu, hidden_relu = self.activation == "relu", self.hidden_activation == "relu"
        return TwoLayerLoss.apply(  # type: ignore[no-untyped-call]
            features, target, self.W, self.W_out, self.b, None, importance, keep, relu, hidden_relu
        )
