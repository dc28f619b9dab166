"""How much a variable tells of another, by exact counting of finitely many equally likely cases. In bits."""

import torch
from torch import Tensor


def mutual_information(first: Tensor, second: Tensor) -> Tensor:
    """I(first; second) in bits over equally likely cases, a scalar in float64.

    Args:
        first: Value of the first variable in each case, `[n_cases]`, integers.
        second: Of the second, the same shape.

    >>> a, b = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    >>> [mutual_information(a, other).item() for other in (a, b, a ^ b)]
    [1.0, 0.0, 0.0]
    """
    _, first = first.unique(return_inverse=True)
    _, second = second.unique(return_inverse=True)
    n = int(second.max()) + 1
    joint = torch.bincount(first * n + second, minlength=(int(first.max()) + 1) * n).view(-1, n).double() / len(first)
    independent = joint.sum(dim=1, keepdim=True) * joint.sum(dim=0)
    return torch.where(joint > 0, joint * (joint / independent).log2(), 0.0).sum().clamp_min(0.0)


def merge_distances(points: Tensor) -> Tensor:
    """The distance at which any two points run together, `[..., n_points, n_points]`.

    Points no further apart than r cannot be told apart, nor can those that are joined by a chain of such points. The
    entry is the least r that joins two points: the longest step of the chain whose longest step is shortest (single
    linkage, by Floyd and Warshall's recursion).

    Args:
        points: `[..., n_points, n_dimensions]`.

    >>> merge_distances(torch.tensor([[0.0], [1.0], [3.0]]))[0]
    tensor([0., 1., 2.])
    """
    steps = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    for k in range(points.shape[-2]):
        steps = torch.minimum(steps, torch.maximum(steps[..., :, k, None], steps[..., k, None, :]))
    return steps


def clusters(merged: Tensor, resolution: float) -> Tensor:
    """Which points cannot be told apart at a resolution: the same number for all of a cluster, `[..., n_points]` long.

    Args:
        merged: From `merge_distances`, `[..., n_points, n_points]`.
        resolution: Points that run together at or below it are one.
    """
    return (merged <= resolution).int().argmax(dim=-1)
