"""Linear probes for two classes: as sparse as wanted, in closed form from sums, and L2 logistic regression.

What `class_statistics` says of dense probes holds here of probes that read a few dimensions alone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sup_lightning.functional.class_statistics import Sums, linear_discriminant, mean_difference, within_classes
from sup_lightning.functional.ranking import auc

SMALL_SHRINKAGE = 1e-3
"""Part of the covariance that is replaced by a multiple of the identity where few dimensions are read."""
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
"""Inverse penalties of logistic regression to choose from."""


def forward_selection(sums: Sums, k: int, shrinkage: float = SMALL_SHRINKAGE) -> Tensor:
    """The dimensions that a k-sparse linear discriminant reads, best first, `[k]`.

    Each is the one that adds most to the squared distance of the classes (Mahalanobis) given those before it. That a
    dimension says again what others said does not count, as it does if dimensions are ranked one by one.

    Args:
        sums: Of the training samples.
        k: Dimensions to take, at most d.
        shrinkage: Of the covariance, as in `linear_discriminant`.
    """
    covariance = within_classes(*sums, shrinkage)
    difference = mean_difference(sums.n, sums.first)
    variance = covariance.diagonal().clone()
    constant = variance <= 0
    factor = covariance.new_zeros(len(covariance), k)  # columns of a Cholesky factor, in the order of the selection
    taken: list[int] = []
    for step in range(k):
        gain = (difference.square() / variance).masked_fill(constant, -1.0)
        gain[taken] = -torch.inf
        best = int(gain.argmax())
        taken.append(best)
        column = covariance[:, best] - factor[:, :step] @ factor[best, :step]
        column = column / variance[best].clamp(min=1e-300).sqrt()
        difference = difference - column * difference[best] / variance[best].clamp(min=1e-300).sqrt()
        variance = (variance - column.square()).clamp(min=1e-300)
        factor[:, step] = column
    return torch.tensor(taken)


def sparse_discriminants(sums: Sums, ks: Sequence[int], shrinkage: float = SMALL_SHRINKAGE) -> tuple[Tensor, Tensor]:
    """Linear discriminants that read the k dimensions of `forward_selection`, for some k.

    Args:
        sums: Of the training samples.
        ks: How many dimensions each reads, at most d.
        shrinkage: Of the covariance.

    Returns:
        The directions `[len(ks), d]`, 0 in what they do not read, and the order of the selection `[max(ks)]`.
    """
    order = forward_selection(sums, max(ks), shrinkage)
    directions = sums.first.new_zeros(len(ks), sums.first.shape[1])
    for row, k in zip(directions, ks, strict=True):
        chosen = order[:k]
        second = sums.second[chosen][:, chosen]
        row[chosen] = linear_discriminant(sums.n, sums.first[:, chosen], second, shrinkage)[0]
    return directions, order


def without_direction(sums: Sums, direction: Tensor) -> Sums:
    """Of the same samples with a direction `[d]` projected out."""
    unit = (direction / direction.norm()).to(sums.first)
    return sums.along(torch.eye(len(unit), dtype=unit.dtype) - torch.outer(unit, unit))


def logistic_direction(activations: Tensor, labels: Tensor, validation: Tensor) -> Tensor:
    """The direction of logistic regression (scikit-learn), `[d]` float64; classes weigh the same.

    The L2 penalty is the one of `STRENGTHS` that gives the best AUC on the validation samples when fitted to the
    others; then it is fitted to all.

    Args:
        activations: `[n, d]`, dimensions of about the same scale: the penalty treats them alike.
        labels: `[n]`, 0 or 1.
        validation: `[n]` bool; both labels occur inside and outside.
    """
    from sklearn.linear_model import LogisticRegression

    x, y = activations.double().numpy(), labels.numpy()

    def fitted(strength: float, chosen: Tensor) -> Tensor:
        model = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000, tol=1e-3)
        return torch.from_numpy(model.fit(x[chosen.numpy()], y[chosen.numpy()]).coef_[0])

    def quality(strength: float) -> float:
        return auc(activations[validation].double() @ fitted(strength, ~validation), labels[validation])

    return fitted(max(STRENGTHS, key=quality), torch.ones_like(validation))


def class_rates(classes: Tensor, labels: Tensor, n_classes: int, prior: float = 1.0) -> Tensor:
    """How often samples of each class have label 1, `[n_classes]` float64: what knowing the class alone would predict.

    Args:
        classes: `[n]` in [0, n_classes).
        labels: `[n]`, 0 or 1; samples with another label are left out.
        n_classes: Number of classes.
        prior: Samples at the overall rate that are added to each class.

    >>> class_rates(torch.tensor([0, 0, 1]), torch.tensor([1, 0, 0]), 3, prior=0.0)[:2]
    tensor([0.5000, 0.0000], dtype=torch.float64)
    """
    known = labels >= 0
    n = torch.bincount(classes[known], minlength=n_classes).double()
    ones = torch.bincount(classes[known], weights=labels[known].double(), minlength=n_classes)
    return (ones + prior * ones.sum() / n.sum()) / (n + prior)
