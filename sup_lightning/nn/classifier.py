"""A bottleneck that says which feature a row shows, or none."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sup_lightning.errors import reject
from sup_lightning.nn.toy import ToyNetwork


class ClassifierModel(ToyNetwork):
    """Logits W_out Wᵀ x + b of n_features + 1 labels: each feature, and "none", which has nothing but a bias.

    There is no ReLU: the softmax of a cross-entropy is the non-linearity. It sees logits, so a longer W is a surer
    answer, and where labels can be told apart without error the best W is infinitely long; `norm` fixes the length.

    Args:
        n_features: Number of features.
        seeds: Seed of each instance.
        n_hidden: Dimensions of the bottleneck.
        tied: Whether the readout is the transposed encoder.
        norm: Length of every feature's direction, in and out; learned if left out.
    """

    def __init__(
        self, n_features: int, seeds: Sequence[int], n_hidden: int = 2, tied: bool = True, norm: float | None = None
    ) -> None:
        super().__init__(n_features, seeds, n_hidden, n_features + 1)
        if norm is not None and not norm > 0:
            reject("norm", norm, "a positive number, or nothing (null)")
        self.norm = norm
        self.W = self.xavier_normal("W", n_features, n_hidden)
        self.W_out = None if tied else self.xavier_normal("W_out", n_features, n_hidden)
        self.b = self.zeros(n_features + 1)

    def feature_directions(self) -> Tensor:
        return self._of_length(self.W)

    def readout(self) -> Tensor:
        """`[n_instances, n_features, n_hidden]`: row i is what the logit of feature i reads."""
        return self._of_length(self.W if self.W_out is None else self.W_out)

    def _of_length(self, W: Tensor) -> Tensor:
        return W if self.norm is None else self.norm * F.normalize(W, dim=-1)

    def forward(self, features: Tensor, keep: Tensor | None = None) -> Tensor:
        W = self.feature_directions()
        hidden = W.mT @ features.mT  # the batch is innermost in memory
        if keep is not None:
            hidden = hidden * keep.mT
        readout = W if self.W_out is None else self.readout()
        logits = torch.baddbmm(self.b[:, :-1, None], readout, hidden)
        none = self.b[:, -1:, None].expand(-1, 1, logits.shape[2])
        return torch.cat([logits, none], dim=1).mT
