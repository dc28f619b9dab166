"""Classification: which feature a row shows, or none."""

import torch
from torch import Tensor

from sup_lightning.data.tasks import Task


class SoftLabel(Task):
    """The chance of each label, if a label is drawn in proportion to the features' sizes; the last label is "none".

    Label i < n_features has chance |x_i| / sum_j |x_j|; where nothing fires the label is "none" for certain. So the
    target is a distribution over n_features + 1 labels, and its entropy is a floor that no cross-entropy falls below.
    """

    def n_outputs(self, n_features: int) -> int:
        return n_features + 1

    def __call__(self, features: Tensor) -> Tensor:
        size = features.abs()
        total = size.sum(dim=-2, keepdim=True)
        silent = total == 0
        return torch.cat([size / torch.where(silent, 1.0, total), silent.to(size)], dim=-2)


class SampledLabel(SoftLabel):
    """One label, drawn in proportion to the features' sizes, as a one-hot target; the last label is "none".

    The mean over draws is the soft label. The draw belongs to (seed, step, row) as those of the features do, and
    features are the same as without it.
    """

    def n_draws(self, n_features: int) -> int:
        return 1

    def sample(self, features: Tensor, uniform: Tensor) -> Tensor:
        chance = self(features)
        upper = chance.cumsum(dim=-2)
        drawn = (uniform >= upper[..., :-1, :]).sum(dim=-2, keepdim=True)  # labels whose share ends below the draw
        # Rounding may leave the last share's end a little below 1: the draw then goes to the last label that can be.
        labels = torch.arange(chance.shape[-2], device=chance.device).unsqueeze(-1)
        last = torch.where(chance > 0, labels, 0).amax(dim=-2, keepdim=True)
        return (labels == torch.minimum(drawn, last)).to(chance)
