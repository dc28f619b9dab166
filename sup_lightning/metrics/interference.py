"""torchmetrics twins of `functional.interference`."""

from typing import Any

from torch import Tensor

from sup_lightning.functional.interference import density_weighted_interference, interference
from sup_lightning.metrics.weights import WeightMetric


class Interference(WeightMetric):
    """Superposition of each feature, `[..., n_features]`: 0 if orthogonal to all others.

    >>> import torch
    >>> metric = Interference()
    >>> metric.update(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]]))
    >>> metric.compute()
    tensor([1., 1., 0.])
    """

    plot_lower_bound = 0.0

    def measure(self, W: Tensor) -> Tensor:
        return interference(W)


class DensityWeightedInterference(WeightMetric):
    """Interference weighted with how often each other feature is active, `[..., n_features]`.

    Args:
        feature_probability: p, broadcastable to `[..., n_features]`.
        kwargs: Arguments of `torchmetrics.Metric`.
    """

    plot_lower_bound = 0.0
    feature_probability: Tensor

    def __init__(self, feature_probability: Tensor, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.register_buffer("feature_probability", feature_probability, persistent=False)

    def measure(self, W: Tensor) -> Tensor:
        return density_weighted_interference(W, self.feature_probability)
