"""Targets of features that fire at one of several levels."""

import torch
from torch import Tensor

from sup_lightning.data.tasks import Task
from sup_lightning.errors import reject


class LevelOneHot(Task):
    """Which level each feature has: one output for each level, 1 where the feature has it and else 0.

    A feature that does not fire has none of its outputs at 1. Output `i * len(levels) + k` belongs to feature i and
    level k. Give the features the same levels, by `DiscreteValues`.

    Args:
        levels: The values that are told apart; 1 to 5 if left out.

    >>> LevelOneHot([1.0, 2.0])(torch.tensor([[2.0, 0.0], [1.0, 1.0]])).T  # two rows of two features
    tensor([[0., 1., 1., 0.],
            [0., 0., 1., 0.]])
    """

    def __init__(self, levels: list[float] | None = None) -> None:
        levels = [1.0, 2.0, 3.0, 4.0, 5.0] if levels is None else levels
        if not levels or len(set(levels)) < len(levels) or 0 in levels:
            reject("levels", levels, "at least one number, all different and none of them 0")
        self.levels = [float(level) for level in levels]

    def n_outputs(self, n_features: int) -> int:
        return n_features * len(self.levels)

    def __call__(self, features: Tensor) -> Tensor:
        levels = torch.tensor(self.levels, dtype=features.dtype, device=features.device)
        return (features.unsqueeze(-2) == levels.unsqueeze(-1)).to(features.dtype).flatten(-3, -2)
