"""Entries by the group that they are of."""

import torch
from torch import Tensor


def first_of_each(groups: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The first k entries of each group, in the order in which they are given.

    Args:
        groups: `[n]` int64, the group of each entry.
        k: Entries kept of each group.

    Returns:
        The distinct groups `[n_distinct]`, ascending; and of each kept entry its index into `groups`, its rank in its
        group, and where its group is among the distinct ones, `[n_kept]` each.

    >>> distinct, index, rank, place = first_of_each(torch.tensor([4, 2, 4, 4]), k=2)
    >>> distinct.tolist(), index.tolist(), rank.tolist(), place.tolist()
    ([2, 4], [1, 0, 2], [0, 0, 1], [0, 1, 1])
    """
    index = groups.argsort(stable=True)
    ordered = groups[index]
    distinct, place = ordered.unique_consecutive(return_inverse=True)
    rank = torch.arange(len(groups), device=groups.device) - torch.searchsorted(ordered, ordered)
    kept = rank < k
    return distinct, index[kept], rank[kept], place[kept]
