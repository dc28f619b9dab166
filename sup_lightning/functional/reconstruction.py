"""How well targets are reconstructed. Batches are `[..., batch, n_features]`; leading axes are instances."""

import torch
from torch import Tensor


def weighted_squared_error(output: Tensor, target: Tensor, importance: Tensor) -> Tensor:
    """The paper's loss: sum over features of importance times squared error, mean over the batch, `[...]`.

    Args:
        output: `[..., batch, n_features]`.
        target: The same shape.
        importance: Broadcastable to `[..., n_features]`.

    >>> weighted_squared_error(torch.tensor([[1.0, 2.0]]), torch.zeros(1, 2), torch.tensor([1.0, 0.5]))
    tensor(3.)
    """
    return ((output - target).square().mean(dim=-2) * importance).sum(dim=-1)


def fraction_of_variance_unexplained(squared_error: Tensor, target_sum: Tensor, target_square: Tensor) -> Tensor:
    """FVU, the squared error over what predicting each feature's mean would leave; pooled over features, `[...]`.

    The only loss that compares across feature probabilities (Elhage et al. 2022, footnote 17).

    Args:
        squared_error: `[..., n_features]` mean squared error of each feature.
        target_sum: `[..., n_features]` mean of each target.
        target_square: `[..., n_features]` mean square of each target.
    """
    variance = (target_square - target_sum.square()).clamp_min(0).sum(dim=-1)
    return squared_error.sum(dim=-1) / variance.clamp_min(torch.finfo(variance.dtype).tiny)


def n_active(features: Tensor) -> Tensor:
    """Number of features that are not zero in each row, `[..., batch]`."""
    return (features != 0).sum(dim=-1)
