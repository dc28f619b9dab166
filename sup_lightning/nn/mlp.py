"""A multi-layer perceptron for each instance of a toy network."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from sup_lightning.functional.keyed_random import keyed_normal
from sup_lightning.nn.activations import ToyActivationName, get_toy_activation


class InstanceMLP(nn.Module):
    """Layers of weights and biases with an activation between them, one set for each instance.

    Initial weights have variance 2 / fan_in before an activation and 1 / fan_in in the last layer; they depend on the
    seed of the instance and the name alone. Biases start at 0.

    Args:
        name: Of the initial draws: give each MLP of a network its own.
        seeds: Seed of each instance.
        sizes: Width of the input, of each hidden layer and of the output.
        activation: Of the hidden layers.
    """

    def __init__(
        self, name: str, seeds: Sequence[int], sizes: Sequence[int], activation: ToyActivationName = "relu"
    ) -> None:
        super().__init__()
        self._function = get_toy_activation("activation", activation)
        self.sizes = list(sizes)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for layer, (n_in, n_out) in enumerate(pairwise(sizes)):
            is_last = layer == len(sizes) - 2
            std = ((1 if is_last else 2) / n_in) ** 0.5
            self.weights.append(nn.Parameter(keyed_normal(f"init/{name}{layer}", seeds, 0, (n_in, n_out)) * std))
            self.biases.append(nn.Parameter(torch.zeros(len(seeds), n_out)))

    def forward(self, x: Tensor) -> Tensor:
        """`[n_instances, batch, sizes[-1]]` of `[n_instances, batch, sizes[0]]`; no activation on the output."""
        return self.layers(x)[-1]

    def layers(self, x: Tensor) -> list[Tensor]:
        """What each layer gives, after its activation; the output last, without one."""
        found: list[Tensor] = []
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = torch.baddbmm(bias.unsqueeze(1), x, weight)
            if len(found) < len(self.weights) - 1:
                x = self._function(x)
            found.append(x)
        return found
