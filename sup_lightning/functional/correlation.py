"""Whether two quantities rise together."""

import numpy as np
from torch import Tensor

from sup_lightning.errors import reject


def rank_correlation(first: Tensor, second: Tensor, decimals: int = 6) -> float:
    """Spearman's rank correlation of all values of two tensors; 0 if one of them does not vary.

    Args:
        first: Any shape.
        second: The same shape.
        decimals: Values that agree to so many decimals are ties, so that rounding errors make no ranks.

    >>> import torch
    >>> rising = torch.arange(5.0)
    >>> rank_correlation(rising, rising.square()), rank_correlation(rising, torch.ones(5))
    (1.0, 0.0)
    """
    from scipy.stats import rankdata

    if first.shape != second.shape:
        reject("shapes of the two quantities", (list(first.shape), list(second.shape)), "equal")
    ranks = [rankdata(np.round(values.detach().double().cpu().numpy().ravel(), decimals)) for values in (first, second)]
    if any(np.ptp(each) == 0 for each in ranks):
        return 0.0
    return float(np.clip(np.corrcoef(ranks)[0, 1], -1, 1).round(12))
