"""Activations summed by the class of their token."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from sup_lightning.functional.chunking import row_chunks
from sup_lightning.functional.class_statistics import Sums


class ClassSums(Metric):
    """Sums of activations by class: class means, variance explained and linear probes without an activation kept.

    Takes `8 C d` bytes, and `8 d²` with products (4096 tokens as classes and 2048 neurons: 67 MB and 34 MB).

    Args:
        n_classes: C; a class of -1 leaves a token out.
        n_dimensions: Size d of the last dimension of the activations.
        products: Whether products of dimensions are summed too, which linear discriminants take, or squares alone.
        kwargs: Arguments of `torchmetrics.Metric`.

    >>> metric = ClassSums(n_classes=2, n_dimensions=1)
    >>> metric.update(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 1, 1]))
    >>> metric.compute().first.flatten()
    tensor([1., 8.], dtype=torch.float64)
    """

    is_differentiable = False
    full_state_update = False
    count: Tensor
    first: Tensor
    second: Tensor

    def __init__(self, n_classes: int, n_dimensions: int, products: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.products = products
        shape = (n_dimensions, n_dimensions) if products else (n_dimensions,)
        self.add_state("count", torch.zeros(n_classes, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("first", torch.zeros(n_classes, n_dimensions, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("second", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, activations: Tensor, classes: Tensor) -> None:
        """Add a batch.

        Args:
            activations: `[..., d]`.
            classes: `[...]` int64.
        """
        flat, labels = activations.flatten(end_dim=-2), classes.flatten()
        for rows in row_chunks(*flat.shape):
            counted = labels[rows] >= 0
            x, label = flat[rows][counted].double(), labels[rows][counted]
            self.count += torch.bincount(label, minlength=len(self.count))
            self.first.index_add_(0, label, x)
            if self.products:
                self.second.addmm_(x.T, x)
            else:
                self.second += x.square().sum(dim=0)

    def compute(self) -> Sums:
        """Sums over everything seen."""
        return Sums(self.count, self.first, self.second)


class PositionMeans(Metric):
    """Mean activation at each position of a window, `[n_ctx, d]` float64. Takes `8 n_ctx d` bytes.

    Args:
        n_ctx: Tokens of a window.
        n_dimensions: Size d of the last dimension of the activations.
        kwargs: Arguments of `torchmetrics.Metric`.

    >>> metric = PositionMeans(n_ctx=2, n_dimensions=1)
    >>> metric.update(torch.tensor([[[1.0], [2.0]], [[3.0], [6.0]]]))
    >>> metric.compute().flatten()
    tensor([2., 4.], dtype=torch.float64)
    """

    is_differentiable = False
    full_state_update = False
    n: Tensor
    first: Tensor

    def __init__(self, n_ctx: int, n_dimensions: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("n", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("first", torch.zeros(n_ctx, n_dimensions, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, activations: Tensor) -> None:
        """Add a batch of activations `[B, n_ctx, d]`."""
        self.n += len(activations)
        self.first += activations.sum(dim=0, dtype=torch.float64)

    def compute(self) -> Tensor:
        """Means over everything seen."""
        return self.first / self.n
