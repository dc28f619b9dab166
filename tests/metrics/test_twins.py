"""Each metric equals its function, over one batch, over many, and after reset."""

from collections.abc import Callable

import pytest
import torch

from sup_lightning import functional, metrics
from sup_lightning.metrics.weights import WeightMetric
from sup_lightning.nn import SquaredError

PROBABILITY = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.mark.parametrize(
    ("metric", "function"),
    [
        (metrics.FeatureNorms(), functional.feature_norms),
        (metrics.RepresentedFeatures(), lambda W: functional.represented_features(W).sum(-1).float()),
        (metrics.FeatureDimensionality(), functional.feature_dimensionality),
        (metrics.DimensionsPerFeature(), functional.dimensions_per_feature),
        (metrics.Interference(), functional.interference),
        (
            metrics.DensityWeightedInterference(PROBABILITY),
            lambda W: functional.density_weighted_interference(W, PROBABILITY),
        ),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, WeightMetric) else "",
)
def test_weight_metrics(metric: WeightMetric, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    old, new = torch.randn(3, 5, 2), torch.randn(3, 5, 2)
    metric.update(old)
    metric.update(new)
    torch.testing.assert_close(metric.compute(), function(new))


def test_row_metrics_do_not_depend_on_the_split() -> None:
    importance = torch.rand(3, 4)
    y = torch.rand(3, 1000, 4) * (torch.rand(3, 1000, 4) < 0.3)
    out = y + 0.1 * torch.randn(3, 1000, 4)
    loss, fvu = metrics.MeanRowLoss(3), metrics.FractionOfVarianceUnexplained(3, 4)
    active = metrics.LossGivenActive(3, max_active=4)
    rows = SquaredError().row_losses(out, y, importance)
    for part in (slice(0, 10), slice(10, 900), slice(900, 1000)):
        loss.update(rows[:, part])
        fvu.update(out[:, part], y[:, part])
        active.update(rows[:, part], y[:, part])
    torch.testing.assert_close(loss.compute(), functional.weighted_squared_error(out, y, importance))
    torch.testing.assert_close(fvu.compute(), (out - y).square().mean(1).sum(1) / y.var(1, correction=0).sum(1))
    # The loss is the mean of the losses given k active, weighted with how often k occurs.
    k = (y != 0).sum(-1)
    share = torch.stack([(k == n).float().mean(1) for n in range(5)], dim=1)
    torch.testing.assert_close((active.compute().nan_to_num() * share).sum(1), loss.compute())


def test_loss_given_active_is_nan_where_no_row_was() -> None:
    metric = metrics.LossGivenActive(1, max_active=2)
    features = torch.tensor([[[1.0, 0.0]]])
    metric.update(torch.zeros(1, 1), features)
    assert metric.compute().isnan().tolist() == [[True, False, True]]
