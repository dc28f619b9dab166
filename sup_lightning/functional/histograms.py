"""What counts over fixed bins say: quantiles, and how well a threshold tells two classes apart."""

import torch
from torch import Tensor


def quantile_of_counts(counts: Tensor, edges: Tensor, q: float) -> Tensor:
    """The smallest edge below which a share q of the values lies, `[...]`: the quantile, up to the width of a bin.

    Args:
        counts: `[..., n_edges + 1]`; the first bin is below the first edge, the last one above the last.
        edges: `[n_edges]`, ascending.
        q: In [0, 1].

    Returns:
        Infinite where the share is reached in the last bin alone.

    >>> quantile_of_counts(torch.tensor([1, 1, 2]), torch.tensor([0.0, 1.0]), 0.5)
    tensor(1.)
    """
    below = counts.cumsum(dim=-1)
    reached = (below >= q * below[..., -1:]).int().argmax(dim=-1)
    return torch.cat([edges, edges.new_full((1,), torch.inf)])[reached]


def auc_of_counts(negative: Tensor, positive: Tensor) -> Tensor:
    """Probability that a value of the positive class is above one of the negative class, ties counted half, `[...]`.

    Values in one bin are ties, so the error is at most half the share of pairs that are. NaN if a class is empty.

    Args:
        negative: Counts, `[..., n_bins]`.
        positive: Counts over the same bins.

    >>> auc_of_counts(torch.tensor([2.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 1.0]))
    tensor(1.)
    """
    dtype = torch.promote_types(torch.get_default_dtype(), positive.dtype)
    negative, positive = negative.to(dtype), positive.to(dtype)
    below = negative.cumsum(dim=-1) - negative / 2
    return (positive * below).sum(dim=-1) / (positive.sum(dim=-1) * negative.sum(dim=-1))
