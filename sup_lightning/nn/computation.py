"""The two-layer model of computation in superposition (Elhage et al. 2022, "Computation in superposition")."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from sup_lightning.errors import reject
from sup_lightning.nn.activations import ToyActivationName, get_toy_activation
from sup_lightning.nn.toy import ToyNetwork
from sup_lightning.nn.two_layer_loss import TwoLayerLoss


class ComputationModel(ToyNetwork):
    """h = f(W_in x + b_in), y = g(W_out h + b): neurons that compute functions of the features.

    With `task: AbsoluteValue` and values in [-1, 1] it is the paper's absolute-value model. `W_in[n_instances,
    n_features, n_hidden]` holds the input weights of feature i in row i, `W_out[n_instances, n_outputs, n_hidden]` the
    weights of output j in row j.

    Initial weights are normal. `xavier` has variance 2 / (fan_in + fan_out), `he` 2 / fan_in. `transpose` draws W_in as
    `he` does and starts W_out at |W_in|: each neuron then writes to the features that it reads, with the right sign for
    |x|, so that no output starts dead; it needs as many outputs as features.

    Args:
        n_features: Number of features.
        seeds: Seed of each instance.
        n_hidden: Number of neurons.
        n_outputs: Number of outputs; as many as features if left out.
        activation: Of the neurons, f.
        output_activation: Of the outputs, g.
        hidden_bias: Whether the neurons have a bias b_in.
        init: Law of the initial weights.
        output_bias: Whether the outputs have a bias; without, b is a constant 0.
        activation_scale: Sharpness β of f and g: f(β z) / β in the place of f(z). As it grows GELU, SiLU and softplus
            become ReLU; ReLU and linear do not change.
        initial_output_bias: Where the outputs' biases start. Before a sigmoid, below 0 for targets that are rarely 1.
    """

    def __init__(
        self,
        n_features: int,
        seeds: Sequence[int],
        n_hidden: int = 40,
        n_outputs: int | None = None,
        activation: ToyActivationName = "relu",
        output_activation: ToyActivationName = "relu",
        hidden_bias: bool = False,
        init: Literal["xavier", "he", "transpose"] = "xavier",
        output_bias: bool = True,
        activation_scale: float = 1.0,
        initial_output_bias: float = 0.0,
    ) -> None:
        super().__init__(n_features, seeds, n_hidden, n_outputs)
        self._hidden_function = get_toy_activation("activation", activation, activation_scale)
        self._output_function = get_toy_activation("output_activation", output_activation, activation_scale)
        self.activation, self.output_activation = activation, output_activation
        self.activation_scale = activation_scale
        self.W_in, self.W_out = self._initial_weights(init)
        self.b_in = self.zeros(n_hidden) if hidden_bias else None
        if output_bias:
            self.b = self.zeros(self.n_outputs)
            nn.init.constant_(self.b, initial_output_bias)
        else:
            self.register_buffer("b", torch.zeros(self.n_instances, self.n_outputs), persistent=False)

    b: Tensor

    def _initial_weights(self, init: str) -> tuple[nn.Parameter, nn.Parameter]:
        if init not in ("xavier", "he", "transpose"):
            reject("init", init, "xavier, he or transpose")
        if init == "transpose" and self.n_outputs != self.n_features:
            reject("init", init, f"xavier or he, as {self.n_features} features have {self.n_outputs} outputs")
        W_in = self.xavier_normal("W_in", self.n_features, self.n_hidden)
        W_out = self.xavier_normal("W_out", self.n_outputs, self.n_hidden)
        with torch.no_grad():
            if init != "xavier":
                W_in.mul_(((self.n_features + self.n_hidden) / self.n_features) ** 0.5)
                W_out.mul_(((self.n_hidden + self.n_outputs) / self.n_hidden) ** 0.5)
            if init == "transpose":
                W_out.copy_(W_in.abs())
        return W_in, W_out

    def forward(self, features: Tensor, keep: Tensor | None = None) -> Tensor:
        hidden = self.W_in.mT @ features.mT  # the batch is innermost in memory: see TwoLayerLoss
        if self.b_in is not None:
            hidden = hidden + self.b_in.unsqueeze(2)
        hidden = self._hidden_function(hidden)
        if keep is not None:
            hidden = hidden * keep.mT
        return self._output_function(torch.baddbmm(self.b.unsqueeze(2), self.W_out, hidden)).mT

    def feature_directions(self) -> Tensor:
        return self.W_in

    def neuron_weights(self) -> tuple[Tensor, Tensor]:
        """W_in `[n_instances, n_features, n_hidden]` and W_out `[n_instances, n_outputs, n_hidden]`."""
        return self.W_in, self.W_out

    def loss(self, features: Tensor, target: Tensor, importance: Tensor, keep: Tensor | None = None) -> Tensor:
        if not {self.activation, self.output_activation} <= {"relu", "linear"}:
            return super().loss(features, target, importance, keep)
        relu, hidden_relu = self.output_activation == "relu", self.activation == "relu"
        return TwoLayerLoss.apply(  # type: ignore[no-untyped-call]
            features, target, self.W_in, self.W_out, self.b, self.b_in, importance, keep, relu, hidden_relu
        )
