"""torchmetrics twins of `functional.basis`."""

from typing import Any

from torch import Tensor

from sup_lightning.functional import basis
from sup_lightning.metrics.weights import WeightMetric


class AlignmentAboveRandom(WeightMetric):
    """Alignment of each feature with an axis less that of random rotations, `[..., n_features]`; NaN for a zero one.

    Args:
        n_rotations: Random rotations that the baseline averages over.
        seed: Picks them.
        kwargs: Arguments of `torchmetrics.Metric`.

    >>> import torch
    >>> metric = AlignmentAboveRandom(n_rotations=500)
    >>> metric.update(torch.eye(2))
    >>> bool((metric.compute() - 0.1).abs().max() < 0.02)
    True
    """

    def __init__(self, n_rotations: int = 32, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n_rotations = n_rotations
        self.seed = seed

    def measure(self, W: Tensor) -> Tensor:
        return basis.alignment_above_random(W, self.n_rotations, self.seed)


class ParticipationAboveRandom(AlignmentAboveRandom):
    """Participation (sum of fourth powers) less that of random rotations, `[..., n_features]`.

    Args:
        n_rotations: Random rotations that the baseline averages over.
        seed: Picks them.
        kwargs: Arguments of `torchmetrics.Metric`.
    """

    def measure(self, W: Tensor) -> Tensor:
        return basis.participation_above_random(W, self.n_rotations, self.seed)
