"""Parts of a sample, the same for the same names and seeds."""

import torch
from torch import Tensor

from sup_lightning.functional.keyed_random import keyed_uniform


def dealt(strata: Tensor, n_parts: int, seed: int = 0) -> Tensor:
    """Members dealt out in turn, stratum after stratum, each in a random order: parts alike in size and in strata.

    Args:
        strata: `[n]` integers, such as the genre of each document.
        n_parts: Number of parts.
        seed: Picks the order.

    Returns:
        The part of each member, `[n]` int64.

    >>> dealt(torch.tensor([0, 0, 0, 0, 1, 1]), 2).bincount()
    tensor([3, 3])
    """
    order = keyed_uniform("dealt", [seed], 0, (len(strata),))[0].argsort()
    order = order[strata[order].argsort(stable=True)]
    part = torch.empty(len(strata), dtype=torch.int64)
    part[order] = torch.arange(len(strata)) % n_parts
    return part
