"""Tasks that ask for a summary of all features beside the features themselves."""

import torch
from torch import Tensor

from sup_lightning.data.tasks import Task


class FeaturesAndLargest(Task):
    """The features, and as a last output the largest of them."""

    def n_outputs(self, n_features: int) -> int:
        return n_features + 1

    def __call__(self, features: Tensor) -> Tensor:
        return torch.cat([features, features.amax(dim=-2, keepdim=True)], dim=-2)
