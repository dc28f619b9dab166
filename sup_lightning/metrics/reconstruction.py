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


class MeanRowLoss(_RowMetric):
    """The loss of each instance, from the losses of its rows, `[n_instances]`.

    Args:
        n_instances: Number of instances.
        kwargs: Arguments of `torchmetrics.Metric`.

    >>> metric = MeanRowLoss(2)
    >>> metric.update(torch.tensor([[1.0, 2.0], [0.0, 0.5]]))
    >>> metric.compute()
    tensor([1.5000, 0.2500])
    """

    total: Tensor

    def __init__(self, n_instances: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._add_sums(total=(n_instances,))

    def update(self, row_losses: Tensor) -> None:
        """Add rows: `[n_instances, batch]`."""
        self.total += row_losses.double().sum(dim=-1)
        self.rows += row_losses.shape[-1]

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
        n_instances: Number of instances.
        max_active: Largest k that is reported.
        kwargs: Arguments of `torchmetrics.Metric`.

    >>> metric = LossGivenActive(1, max_active=1)
    >>> features = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]])
    >>> metric.update(torch.tensor([[0.0, 0.25, 0.5]]), features)
    >>> metric.compute()
    tensor([[0.0000, 0.2500]])
    """

    total: Tensor
    count: Tensor

    def __init__(self, n_instances: int, max_active: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_active = max_active
        shape = (n_instances, max_active + 1)
        self._add_sums(total=shape, count=shape)

    def update(self, row_losses: Tensor, features: Tensor) -> None:
        """Add rows: their losses `[n_instances, batch]` and features `[n_instances, batch, n_features]`."""
        loss = row_losses.double()
        k = reconstruction.n_active(features).expand(loss.shape).clamp(max=self.max_active + 1)
        beyond = torch.zeros(len(loss), self.max_active + 2, dtype=torch.float64, device=loss.device)
        self.total += beyond.scatter_add(1, k, loss)[:, :-1]
        self.count += beyond.scatter_add(1, k, torch.ones_like(loss))[:, :-1]

    def compute(self) -> Tensor:
        return (self.total / self.count).float()
