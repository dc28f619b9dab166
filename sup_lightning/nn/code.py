"""Neurons that compute a code of few dimensions, and a linear head that reads it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sup_lightning.errors import require_positive
from sup_lightning.nn.toy import ToyNetwork


class CodeModel(ToyNetwork):
    """y = W_head c + b with the code c = W_code ReLU(W_in x + b_in): all that is known of x passes n_hidden dimensions.

    The code, not the layer of neurons, is the hidden layer that is asked about: dropout acts on it.

    Args:
        n_features: Number of features.
        seeds: Seed of each instance.
        n_hidden: Dimensions of the code.
        n_neurons: Neurons that compute it.
        n_outputs: Number of outputs; as many as features if left out.
    """

    def __init__(
        self,
        n_features: int,
        seeds: Sequence[int],
        n_hidden: int = 2,
        n_neurons: int = 64,
        n_outputs: int | None = None,
    ) -> None:
        super().__init__(n_features, seeds, n_hidden, n_outputs)
        require_positive(n_neurons=n_neurons)
        self.n_neurons = n_neurons
        self.W_in = self.xavier_normal("W_in", n_features, n_neurons)
        self.b_in = self.zeros(n_neurons)
        self.W_code = self.xavier_normal("W_code", n_neurons, n_hidden)
        self.W_head = self.xavier_normal("W_head", self.n_outputs, n_hidden)
        self.b = self.zeros(self.n_outputs)

    def code(self, features: Tensor) -> Tensor:
        """The code `[n_instances, batch, n_hidden]` of features `[n_instances, batch, n_features]`."""
        return self._code(features.mT).mT

    def _code(self, x: Tensor) -> Tensor:
        neurons = torch.baddbmm(self.b_in.unsqueeze(2), self.W_in.mT, x).relu()  # the batch is innermost in memory
        return self.W_code.mT @ neurons

    def head(self, code: Tensor) -> Tensor:
        """Outputs `[n_instances, batch, n_outputs]` of codes `[n_instances, batch, n_hidden]`."""
        return torch.baddbmm(self.b.unsqueeze(1), code, self.W_head.mT)

    def forward(self, features: Tensor, keep: Tensor | None = None) -> Tensor:
        code = self._code(features.mT)
        if keep is not None:
            code = code * keep.mT
        return torch.baddbmm(self.b.unsqueeze(2), self.W_head, code).mT

    def feature_directions(self) -> Tensor:
        """What each feature adds to the neurons' inputs, `[n_instances, n_features, n_neurons]`."""
        return self.W_in
