"""Networks that compute in several layers, one after the other."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sup_lightning.errors import reject, require_positive
from sup_lightning.nn.activations import ToyActivationName, get_toy_activation
from sup_lightning.nn.toy import ToyNetwork


class DeepComputationModel(ToyNetwork):
    """Layers of neurons, each reading what the one before left: functions of functions of the features.

    Plain: h_1 = f(W_in_1 x + b_in_1), h_2 = f(W_in_2 h_1 + b_in_2) and so on, and the outputs are read from the last
    layer. Residual: each layer reads a stream that starts as the features, s_0 = x, and adds to it,
    s_l = s_{l-1} + W_out_l f(W_in_l s_{l-1} + b_in_l), and the outputs are read from the stream. Nothing is embedded by
    fixed random weights: noise that these make can be mistaken for what is computed.

    `W_in[l]` is `[n_instances, n_read, n_hidden]`, the weights of input i in row i; `W_out[l]` of the residual model is
    `[n_instances, n_hidden, n_features]`; the readout `W` is `[n_instances, n_read, n_outputs]`. Initial weights are
    normal: `he` before neurons, `xavier` elsewhere.

    Args:
        n_features: Number of features.
        seeds: Seed of each instance.
        n_hidden: Neurons of each layer.
        n_layers: Number of layers.
        n_outputs: Number of outputs; as many as features if left out.
        activation: Of the neurons, f.
        first_activation: Of the first layer's neurons; as of the others if left out. `linear` takes from that layer
            what it could compute, and leaves what it could carry.
        output_activation: Of the outputs.
        residual: Whether layers add to a stream.
    """

    def __init__(
        self,
        n_features: int,
        seeds: Sequence[int],
        n_hidden: int = 4,
        n_layers: int = 2,
        n_outputs: int | None = None,
        activation: ToyActivationName = "relu",
        first_activation: ToyActivationName | None = None,
        output_activation: ToyActivationName = "linear",
        residual: bool = False,
    ) -> None:
        super().__init__(n_features, seeds, n_hidden, n_outputs)
        require_positive(n_layers=n_layers)
        first = activation if first_activation is None else first_activation
        later = get_toy_activation("activation", activation)
        self._functions = [get_toy_activation("first_activation", first)] + [later] * (n_layers - 1)
        self._output_function = get_toy_activation("output_activation", output_activation)
        self.activation, self.first_activation = activation, first
        self.n_layers, self.residual = n_layers, residual
        n_read = [n_features if residual or layer == 0 else n_hidden for layer in range(n_layers + 1)]
        self.W_in = nn.ParameterList([self._he(f"W_in_{layer}", n_read[layer], n_hidden) for layer in range(n_layers)])
        self.b_in = nn.ParameterList([self.zeros(n_hidden) for _ in range(n_layers)])
        written = range(n_layers) if residual else range(0)
        self.W_out = nn.ParameterList([self.xavier_normal(f"W_out_{layer}", n_hidden, n_features) for layer in written])
        self.W = self.xavier_normal("W", n_read[-1], self.n_outputs)
        self.b = self.zeros(self.n_outputs)

    def _he(self, name: str, n_read: int, n_hidden: int) -> nn.Parameter:
        """Normal with variance 2 / n_read."""
        weight = self.xavier_normal(name, n_read, n_hidden)
        with torch.no_grad():
            weight.mul_(((n_read + n_hidden) / n_read) ** 0.5)
        return weight

    def forward(self, features: Tensor, keep: Tensor | None = None) -> Tensor:
        """As of every toy network; `keep` multiplies the first layer's neurons."""
        return self.read(self.states(features, keep)[-1], self.n_layers)

    def states(self, features: Tensor, keep: Tensor | None = None) -> list[Tensor]:
        """What each layer leaves for the next: its neurons, or the stream after it, `[n_instances, batch, n_read]`."""
        states, state = [], features
        for layer in range(self.n_layers):
            state = self._step(layer, state, keep if layer == 0 else None)
            states.append(state)
        return states

    def read(self, state: Tensor, n_done: int) -> Tensor:
        """The outputs, from what the first `n_done` layers left: the rest of the network, for an intervention there."""
        if not 0 <= n_done <= self.n_layers:
            reject("n_done", n_done, f"0 to {self.n_layers} layers")
        for layer in range(n_done, self.n_layers):
            state = self._step(layer, state)
        return self._output_function(torch.baddbmm(self.b.unsqueeze(1), state, self.W))

    def _step(self, layer: int, state: Tensor, keep: Tensor | None = None) -> Tensor:
        neurons = self._functions[layer](torch.baddbmm(self.b_in[layer].unsqueeze(1), state, self.W_in[layer]))
        if keep is not None:
            neurons = neurons * keep
        return torch.baddbmm(state, neurons, self.W_out[layer]) if self.residual else neurons

    def feature_directions(self) -> Tensor:
        return self.W_in[0]
