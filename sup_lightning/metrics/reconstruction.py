"""torchmetrics twins of `functional.reconstruction`, streamed over batches and exact over ranks.

Sums are kept in float64: a validation set has millions of rows. (torchmetrics drops the axis of a result that has one
element, so with a single instance `[n_instances]` is a scalar.)
"""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from sup_lightning.functional import reconstruction


class _RowMetric(Metric):
    """A metric over rows `[n_instances, batch, n_features]` that counts them."""

    full_state_update = False
    is_differentiable = False
    higher_is_better = False
    plot_lower_bound = 0.0
    rows: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("rows", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def _add_sums(self, **shape_of_state: tuple[int, ...]) -> None:
        for name, shape in shape_of_state.items():
            self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")


class WeightedSquaredError(_RowMetric):
    """The loss of each instance: importance-weighted sum over features, mean over rows, `[n_instances]`.

    Args:
        importance: `[n_instances, n_features]`.
        kwargs: Arguments of `torchmetrics.Metric`.

    >>> metric = WeightedSquaredError(torch.tensor([[1.0, 0.5]]))
    >>> metric.update(torch.tensor([[[1.0, 2.0], [0.0, 0.0]]]), torch.zeros(1, 2, 2))
    >>> metric.compute()
    tensor(1.5000)
    """

    importance: Tensor
    total: Tensor

    def __init__(self, importance: Tensor, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.register_buffer("importance", importance, persistent=False)
        self._add_sums(total=(len(importance),))

    def update(self, output: Tensor, target: Tensor) -> None:
        rows = output.shape[-2]
        self.total += rows * reconstruction.weighted_squared_error(output, target, self.importance).double()
        self.rows += rows

    def compute(self) -> Tensor:
        return (self.total / self.rows).float()


class FractionOfVarianceUnexplained(_RowMetric):
    """FVU of each instance, pooled over features, `[n_instances]`.

    Args:
        n_instances: Number of instances.
        n_features: Number of outputs.
        kwargs: Arguments of `torchmetrics.Metric`.

    >>> metric = FractionOfVarianceUnexplained(1, 1)
    >>> metric.update(torch.tensor([[[1.0], [1.0]]]), torch.tensor([[[0.0], [2.0]]]))
    >>> metric.compute()
    tensor(1.)
    """

    squared_error: Tensor
    target_sum: Tensor
    target_square: Tensor

    def __init__(self, n_instances: int, n_features: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        shape = (n_instances, n_features)
        self._add_sums(squared_error=shape, target_sum=shape, target_square=shape)

    def update(self, output: Tensor, target: Tensor) -> None:
        self.squared_error += (output - target).square().sum(dim=-2).double()
        self.target_sum += target.sum(dim=-2).double()
        self.target_square += target.square().sum(dim=-2).double()
        self.rows += output.shape[-2]

    def compute(self) -> Tensor:
        means = (self.squared_error / self.rows, self.target_sum / self.rows, self.target_square / self.rows)
        return reconstruction.fraction_of_variance_unexplained(*means).float()


class LossGivenActive(_RowMetric):
    """Mean loss over the rows with exactly k active features, `[n_instances, max_active + 1]`; NaN where none was.

    Args:
        importance: `[n_instances, n_features]`.
        max_active: Largest k that is reported.
        kwargs: Arguments of `torchmetrics.Metric`.

    >>> metric = LossGivenActive(torch.ones(1, 2), max_active=1)
    >>> features = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]])
    >>> metric.update(features * 0.5, features, features)
    >>> metric.compute()
    tensor([[0.0000, 0.2500]])
    """

    importance: Tensor
    total: Tensor
    count: Tensor

    def __init__(self, importance: Tensor, max_active: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_active = max_active
        self.register_buffer("importance", importance, persistent=False)
        shape = (len(importance), max_active + 1)
        self._add_sums(total=shape, count=shape)

    def update(self, output: Tensor, target: Tensor, features: Tensor) -> None:
        loss = ((output - target).square() * self.importance.unsqueeze(-2)).sum(dim=-1).double()
        k = reconstruction.n_active(features).expand(loss.shape).clamp(max=self.max_active + 1)
        beyond = torch.zeros(len(loss), self.max_active + 2, dtype=torch.float64, device=loss.device)
        self.total += beyond.scatter_add(1, k, loss)[:, :-1]
        self.count += beyond.scatter_add(1, k, torch.ones_like(loss))[:, :-1]

    def compute(self) -> Tensor:
        return (self.total / self.count).float()
