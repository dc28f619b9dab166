"""What the classes of tokens say about activations, from sums alone: no activation is kept.

Of C classes `count[C]`, `first[C, d]` (sums of the activations) and `second[d, d]` or `[d]` (sums of their products, or
squares, over all classes) give the means, how much of the variance the class explains, and linear probes in closed
form.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Sums(NamedTuple):
    """Activations summed by class.

    Attributes:
        n: `[C]` float64, samples of each class.
        first: `[C, d]` float64, sums of their activations.
        second: Over all classes: sums of products `[d, d]`, or of squares `[d]`.
    """

    n: Tensor
    first: Tensor
    second: Tensor

    def plus(self, other: "Sums") -> "Sums":
        """Of the samples of both."""
        return Sums(*(a + b for a, b in zip(self, other, strict=True)))

    def scaled(self, factors: Tensor) -> "Sums":
        """Of the same samples with each dimension multiplied by a factor, `[d]`; of sums with products."""
        factors = factors.to(self.first)
        return Sums(self.n, self.first * factors, self.second * torch.outer(factors, factors))

    def along(self, directions: Tensor) -> "Sums":
        """Of the same samples in other coordinates, the columns of `[d, r]`; of sums with products."""
        directions = directions.to(self.first)
        return Sums(self.n, self.first @ directions, directions.T @ self.second @ directions)


def class_means(count: Tensor, first: Tensor) -> Tensor:
    """Mean activation of each class, `[C, d]`; NaN for a class that never occurs."""
    return first / count.unsqueeze(-1).where(count.unsqueeze(-1) > 0, torch.nan)


def explained_by_class(count: Tensor, first: Tensor, squares: Tensor) -> Tensor:
    """η²: the share of each dimension's variance that lies between the classes, `[d]`; NaN for a constant one.

    Args:
        count: `[C]`.
        first: `[C, d]`.
        squares: Sums of squares over all classes, `[d]`.

    >>> explained_by_class(torch.tensor([2.0, 2.0]), torch.tensor([[2.0], [6.0]]), torch.tensor([22.0]))
    tensor([0.6667])
    """
    n, occurs = count.sum(), count > 0
    mean = first.sum(dim=0) / n
    between = (first[occurs].square() / count[occurs].unsqueeze(-1)).sum(dim=0) - n * mean**2
    total = squares - n * mean**2
    return torch.where(total > 1e-12 * squares, between / total, torch.nan)


def mean_difference(count: Tensor, first: Tensor) -> Tensor:
    """Mean of class 1 less that of class 0, `[d]`: the simplest probe."""
    means = class_means(count, first)
    return means[1] - means[0]


def t_statistic(count: Tensor, first: Tensor, squares: Tensor) -> Tensor:
    """Student's t of class 1 against class 0 along each dimension, with the pooled variance, `[d]`.

    Args:
        count: `[2]`.
        first: `[2, d]`.
        squares: Sums of squares over both classes, `[d]`.
    """
    within = squares - (first.square() / count.unsqueeze(-1)).sum(dim=0)
    error = within / (count.sum() - 2) * (1 / count).sum()
    return mean_difference(count, first) / error.sqrt()


def within_classes(count: Tensor, first: Tensor, second: Tensor, shrinkage: float = 0.0) -> Tensor:
    """Covariance within the classes, pooled, `[d, d]`.

    Args:
        count: `[C]`.
        first: `[C, d]`.
        second: Sums of products over all classes, `[d, d]`.
        shrinkage: Part that is replaced by a multiple of the identity with the same trace.
    """
    means = class_means(count, first)
    within = (second - torch.einsum("cd,ce,c->de", means, means, count)) / (count.sum() - len(count))
    sphere = torch.eye(len(within), dtype=within.dtype, device=within.device) * within.trace() / len(within)
    return (1 - shrinkage) * within + shrinkage * sphere


def linear_discriminant(count: Tensor, first: Tensor, second: Tensor, shrinkage: float = 1e-3) -> tuple[Tensor, Tensor]:
    """Fisher's linear discriminant of class 1 against class 0 (shared covariance; Fisher 1936).

    Args:
        count: `[2]`.
        first: `[2, d]`.
        second: Sums of products over both classes, `[d, d]`.
        shrinkage: Part of the covariance that is replaced by a multiple of the identity with the same trace.

    Returns:
        The direction `[d]` and the bias: activation · direction + bias is the log odds of class 1.
    """
    means = class_means(count, first)
    direction = torch.linalg.solve(within_classes(count, first, second, shrinkage), means[1] - means[0])
    return direction, (count[1] / count[0]).log() - direction @ means.mean(dim=0)
