"""torchmetrics twins of `functional.dimensionality`."""

from typing import Any

from torch import Tensor

from sup_lightning.functional import dimensionality
from sup_lightning.metrics.weights import WeightMetric


class FeatureNorms(WeightMetric):
    """Length of each feature's direction, `[..., n_features]`."""

    plot_lower_bound = 0.0

    def measure(self, W: Tensor) -> Tensor:
        return dimensionality.feature_norms(W)


class RepresentedFeatures(WeightMetric):
    """Number of features whose direction is longer than a threshold, `[...]`.

    Args:
        threshold: Least length of a represented feature.
        kwargs: Arguments of `torchmetrics.Metric`.
    """

    is_differentiable = False
    plot_lower_bound = 0.0

    def __init__(self, threshold: float = dimensionality.REPRESENTED, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold = threshold

    def measure(self, W: Tensor) -> Tensor:
        return dimensionality.represented_features(W, self.threshold).sum(dim=-1).to(W.dtype)


class FeatureDimensionality(WeightMetric):
    """D_i, the fraction of a dimension that each feature has, `[..., n_features]`.

    >>> import torch
    >>> metric = FeatureDimensionality()
    >>> metric.update(torch.tensor([[1.0], [-1.0]]))
    >>> metric.compute()
    tensor([0.5000, 0.5000])
    """

    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def measure(self, W: Tensor) -> Tensor:
        return dimensionality.feature_dimensionality(W)


class DimensionsPerFeature(WeightMetric):
    """D* = n_hidden / |W|_F^2, `[...]`."""

    plot_lower_bound = 0.0

    def measure(self, W: Tensor) -> Tensor:
        return dimensionality.dimensions_per_feature(W)
