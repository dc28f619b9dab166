"""An autoencoder with a code too narrow for a direction to each feature, and a narrow head that computes from it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sup_lightning.errors import reject, require_positive
from sup_lightning.nn.activations import ToyActivationName
from sup_lightning.nn.mlp import InstanceMLP
from sup_lightning.nn.toy import ToyNetwork


class NarrowAutoencoder(ToyNetwork):
    """Features to a narrow code by an MLP, and back by another; beside it a head that computes more from the code.

    The first n_features outputs are the features, the others the head's. The head reads the code as it is: no gradient
    of its loss reaches the encoder, so the code is what reconstruction alone makes of it. With one encoder layer the
    code is linear in the features, and with n_hidden < n_features they are in superposition at best.

    Args:
        n_features: Number of features.
        seeds: Seed of each instance.
        n_hidden: Dimensions of the code.
        encoder_layers: Layers of weights before the code; 1 is a linear encoder.
        decoder_layers: Layers of weights after it.
        width: Neurons of their hidden layers.
        n_head_outputs: Outputs of the head; 0 for none.
        head_layers: Layers of weights of the head.
        head_width: Neurons of its hidden layers. From k neurons no linear probe reads n_features independent features
            with a mean R² above k / n_features.
        activation: Of all hidden layers.
    """

    ALIVE = 0.1
    """Initial bias of the decoder's outputs, whose ReLU would else be dead for some rare features from the start."""

    def __init__(
        self,
        n_features: int,
        seeds: Sequence[int],
        n_hidden: int = 1,
        encoder_layers: int = 3,
        decoder_layers: int = 3,
        width: int = 32,
        n_head_outputs: int = 0,
        head_layers: int = 3,
        head_width: int = 3,
        activation: ToyActivationName = "gelu",
    ) -> None:
        if not isinstance(n_head_outputs, int) or n_head_outputs < 0:
            reject("n_head_outputs", n_head_outputs, "an integer ≥ 0")
        super().__init__(n_features, seeds, n_hidden, n_features + n_head_outputs)
        require_positive(
            encoder_layers=encoder_layers,
            decoder_layers=decoder_layers,
            width=width,
            head_layers=head_layers,
            head_width=head_width,
        )
        inner = [width] * (encoder_layers - 1)
        self.encoder = InstanceMLP("encoder", seeds, [n_features, *inner, n_hidden], activation)
        outer = [width] * (decoder_layers - 1)
        self.decoder = InstanceMLP("decoder", seeds, [n_hidden, *outer, n_features], activation)
        with torch.no_grad():
            self.decoder.weights[-1].mul_(self.ALIVE)
            self.decoder.biases[-1].fill_(self.ALIVE)
        narrow = [n_hidden, *[head_width] * (head_layers - 1), n_head_outputs]
        self.head = InstanceMLP("head", seeds, narrow, activation) if n_head_outputs else None

    def forward(self, features: Tensor, keep: Tensor | None = None) -> Tensor:
        code = self.encoder(features)
        code = code if keep is None else code * keep
        outputs = [self.decoder(code).relu()]
        if self.head is not None:
            outputs.append(self.head(code.detach()))
        return torch.cat(outputs, dim=-1)

    def feature_directions(self) -> Tensor:
        """The code of each feature alone at its greatest, less that of nothing, `[n_instances, n_features, n_hidden]`.

        That is a direction only as far as the code is linear; with one encoder layer it is the weights.
        """
        alone = torch.eye(self.n_features, device=self.encoder.weights[0].device).to(self.encoder.weights[0])
        rows = torch.cat([torch.zeros_like(alone[:1]), alone]).expand(self.n_instances, -1, -1)
        code: Tensor = self.encoder(rows)
        return code[:, 1:] - code[:, :1]
