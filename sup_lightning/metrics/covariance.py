"""Second moments of activations: within one model, and between two models on the same tokens."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric


class Covariance(Metric):
    """Covariance of the dimensions of activations, `[d, d]` float64. Takes `8 d²` bytes.

    Args:
        n_dimensions: Size d of the last dimension of the activations.
        kwargs: Arguments of `torchmetrics.Metric`.

    >>> metric = Covariance(n_dimensions=2)
    >>> metric.update(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    >>> metric.compute()
    tensor([[1., 0.],
            [0., 0.]], dtype=torch.float64)
    """

    is_differentiable = False
    full_state_update = False
    n: Tensor
    first: Tensor
    second: Tensor

    def __init__(self, n_dimensions: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("n", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("first", torch.zeros(n_dimensions, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("second", torch.zeros(n_dimensions, n_dimensions, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, activations: Tensor) -> None:
        """Add a batch of activations `[..., d]`."""
        x = activations.flatten(end_dim=-2).double()
        self.n += len(x)
        self.first += x.sum(dim=0)
        self.second += x.T @ x

    def compute(self) -> Tensor:
        """Covariance over everything seen."""
        mean = self.first / self.n
        return self.second / self.n - torch.outer(mean, mean)


class Between(NamedTuple):
    """Covariances of two models' activations, float64.

    Attributes:
        xy: `[n_x, n_y]`.
        xx: `[n_x, n_x]`.
        yy: `[n_y, n_y]`.
    """

    xy: Tensor
    xx: Tensor
    yy: Tensor


class CrossMoments(Metric):
    """Covariances between and within the activations of two models: what correlations and CKA are made of.

    Takes `8 (n_x + n_y)²` bytes (two models of 2048 neurons: 134 MB).

    Args:
        n_x: Dimensions of the first model's activations.
        n_y: Of the second's.
        kwargs: Arguments of `torchmetrics.Metric`.

    >>> metric = CrossMoments(1, 2)
    >>> metric.update(torch.tensor([[1.0], [-1.0]]), torch.tensor([[2.0, 0.0], [-2.0, 0.0]]))
    >>> metric.compute().xy
    tensor([[2., 0.]], dtype=torch.float64)
    """

    is_differentiable = False
    full_state_update = False

    def __init__(self, n_x: int, n_y: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n_x = n_x
        self.both = Covariance(n_x + n_y)

    def update(self, x: Tensor, y: Tensor) -> None:
        """Add a batch: `[..., n_x]` and `[..., n_y]` at the same tokens."""
        self.both.update(torch.cat([x, y], dim=-1))

    def compute(self) -> Between:
        """Covariances over everything seen."""
        covariance = self.both.compute()
        n = self.n_x
        return Between(covariance[:n, n:], covariance[:n, :n], covariance[n:, n:])

    def reset(self) -> None:
        """Forget everything seen."""
        super().reset()
        self.both.reset()
