"""Second moments of activations: within one model, by class, and between two models on the same tokens."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from sup_lightning.functional.chunking import row_chunks


class _SecondMoments(Metric):
    """Sums of products over the tokens of each of C classes, `8 C d (d + 1)` bytes."""

    is_differentiable = False
    full_state_update = False
    n: Tensor
    first: Tensor
    second: Tensor

    def __init__(self, n_classes: int, n_dimensions: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        c, d = n_classes, n_dimensions
        self.add_state("n", torch.zeros(c, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("first", torch.zeros(c, d, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("second", torch.zeros(c, d, d, dtype=torch.float64), dist_reduce_fx="sum")

    def _add(self, activations: Tensor, number: int = 0) -> None:
        """Add tokens `[n_tokens, d]` of a class."""
        self.n[number] += len(activations)
        for rows in row_chunks(*activations.shape):
            x = activations[rows].double()
            self.first[number] += x.sum(dim=0)
            self.second[number].addmm_(x.T, x)

    def _covariances(self) -> Tensor:
        """`[C, d, d]`, NaN in a class without tokens."""
        mean = self.first / self.n[:, None]
        return self.second / self.n[:, None, None] - mean[:, :, None] * mean[:, None, :]


class Covariance(_SecondMoments):
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

    def __init__(self, n_dimensions: int, **kwargs: Any) -> None:
        super().__init__(1, n_dimensions, **kwargs)

    def update(self, activations: Tensor) -> None:
        """Add a batch of activations `[..., d]`."""
        self._add(activations.flatten(end_dim=-2))

    def compute(self) -> Tensor:
        """Covariance over everything seen."""
        return self._covariances()[0]


class ClassCovariances(_SecondMoments):
    """Covariance within each class, as of tokens of one genre, `[C, d, d]` float64; NaN in one that never occurs.

    Takes `8 C d²` bytes. (The covariance pooled over many classes takes sums of `ClassSums` alone.)

    Args:
        n_classes: C; a class of -1 leaves a token out.
        n_dimensions: Size d of the last dimension of the activations.
        kwargs: Arguments of `torchmetrics.Metric`.

    >>> metric = ClassCovariances(n_classes=2, n_dimensions=1)
    >>> metric.update(torch.tensor([[1.0], [3.0], [5.0], [5.0]]), torch.tensor([0, 0, 1, 1]))
    >>> metric.compute().flatten()
    tensor([1., 0.], dtype=torch.float64)
    """

    def __init__(self, n_classes: int, n_dimensions: int, **kwargs: Any) -> None:
        super().__init__(n_classes, n_dimensions, **kwargs)

    def update(self, activations: Tensor, classes: Tensor) -> None:
        """Add a batch.

        Args:
            activations: `[..., d]`.
            classes: `[...]` int64.
        """
        flat, labels = activations.flatten(end_dim=-2), classes.flatten()
        for number in labels[labels >= 0].unique().tolist():
            self._add(flat[labels == number], number)

    def compute(self) -> Tensor:
        """Covariances over everything seen."""
        return self._covariances()


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


class CrossMoments(_SecondMoments):
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

    def __init__(self, n_x: int, n_y: int, **kwargs: Any) -> None:
        super().__init__(1, n_x + n_y, **kwargs)
        self.n_x = n_x

    def update(self, x: Tensor, y: Tensor) -> None:
        """Add a batch: `[..., n_x]` and `[..., n_y]` at the same tokens."""
        self._add(torch.cat([x, y], dim=-1).flatten(end_dim=-2))

    def compute(self) -> Between:
        """Covariances over everything seen."""
        covariance, n = self._covariances()[0], self.n_x
        return Between(covariance[:n, n:], covariance[:n, :n], covariance[n:, n:])
