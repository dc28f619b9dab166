"""How alike the activations of two models are on the same tokens, from their sums and products."""

import torch
from torch import Tensor


def pearson(covariance: Tensor, variance_x: Tensor, variance_y: Tensor) -> Tensor:
    """Correlation of each neuron of one model with each of the other, `[n_x, n_y]`; NaN for a constant one.

    Args:
        covariance: `[n_x, n_y]`.
        variance_x: `[n_x]`.
        variance_y: `[n_y]`.
    """
    scale = torch.outer(variance_x, variance_y).sqrt()
    return torch.where(scale > 0, covariance / scale, torch.nan)


def linear_cka(covariance_xy: Tensor, covariance_xx: Tensor, covariance_yy: Tensor) -> Tensor:
    """Centred kernel alignment with linear kernels (Kornblith et al. 2019), a scalar in [0, 1].

    Args:
        covariance_xy: `[n_x, n_y]`.
        covariance_xx: `[n_x, n_x]`.
        covariance_yy: `[n_y, n_y]`.

    >>> eye = torch.eye(3)
    >>> linear_cka(eye, eye, eye)
    tensor(1.)
    """
    return covariance_xy.square().sum() / (covariance_xx.norm() * covariance_yy.norm())


def same_index_share(correlation: Tensor) -> Tensor:
    """Share of neurons of one model whose best match in the other has the same number, a scalar.

    Args:
        correlation: `[n, n]`.

    >>> same_index_share(torch.tensor([[0.9, 0.1], [0.8, 0.2]]))
    tensor(0.5000)
    """
    best = correlation.nan_to_num(nan=-torch.inf).argmax(dim=1)
    return (best == torch.arange(len(best), device=best.device)).float().mean()


def matched_correlation(correlation: Tensor) -> Tensor:
    """Correlations of the one-to-one matching whose sum is largest (Hungarian method), `[n_x]`.

    Args:
        correlation: `[n_x, n_y]`, n_x ≤ n_y.
    """
    from scipy.optimize import linear_sum_assignment

    filled = correlation.nan_to_num(nan=-1.0)
    rows, columns = linear_sum_assignment(filled.cpu().numpy(), maximize=True)
    return filled[torch.from_numpy(rows), torch.from_numpy(columns)]
