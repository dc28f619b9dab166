"""How much other features read on a feature's direction. `W` is `[..., n_features, n_hidden]`, rows are directions."""

import torch
from torch import Tensor


def gram(W: Tensor) -> Tensor:
    """`[..., n_features, n_features]` inner products of the directions."""
    return W @ W.mT


def _squared_overlaps(W: Tensor) -> Tensor:
    """(Ŵ_i · W_j)^2 for j ≠ i and 0 on the diagonal, `[..., n_features, n_features]`; rows of zero features are 0."""
    norms = torch.linalg.vector_norm(W, dim=-1, keepdim=True)
    unit = torch.where(norms > 0, W / norms.clamp_min(torch.finfo(W.dtype).tiny), 0.0)
    overlaps = (unit @ W.mT).square()
    return overlaps - torch.diag_embed(overlaps.diagonal(dim1=-2, dim2=-1))


def interference(W: Tensor) -> Tensor:
    """Superposition of each feature, sum_{j≠i} (Ŵ_i · W_j)^2, `[..., n_features]`.

    0: orthogonal to all others; 1 or more: the others activate it as strongly as itself (Elhage et al. 2022, section
    on the phase change). A zero feature has 0.

    >>> interference(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]))
    tensor([1., 1., 0.])
    """
    return _squared_overlaps(W).sum(dim=-1)


def density_weighted_interference(W: Tensor, feature_probability: Tensor) -> Tensor:
    """sum_{j≠i} p_j (Ŵ_i · W_j)^2, `[..., n_features]`: interference as often as it happens.

    Args:
        W: `[..., n_features, n_hidden]`.
        feature_probability: p, broadcastable to `[..., n_features]`.

    >>> density_weighted_interference(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([0.1, 0.3]))
    tensor([0.3000, 0.1000])
    """
    p = feature_probability.expand(W.shape[:-1]).unsqueeze(-2)
    return (_squared_overlaps(W) * p).sum(dim=-1)


def interference_between(W: Tensor, classes: Tensor, counted: Tensor | None = None) -> Tensor:
    """Interference of each class of features with each, `[..., n_classes, n_classes]`.

    Entry (a, b) is sum_{j in b, j≠i} (Ŵ_i · W_j)^2, the part of `interference` that class b causes, averaged over the
    features i of class a; NaN if none is counted. A row adds up to the class's mean interference.

    Args:
        W: `[..., n_features, n_hidden]`.
        classes: Class of each feature, `[n_features]`, integers from 0 on.
        counted: Features i that are averaged over, `[..., n_features]` bool; all if left out.

    >>> W = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    >>> interference_between(W, torch.tensor([0, 0, 1, 1]))
    tensor([[1.0000, 0.3600],
            [0.3600, 0.6400]])
    """
    member = torch.nn.functional.one_hot(classes).to(W)  # [n_features, n_classes]
    if counted is None:
        counted = torch.ones(W.shape[:-1], dtype=torch.bool, device=W.device)
    of = member * counted.unsqueeze(-1)
    caused = _squared_overlaps(W) @ member  # [..., n_features, n_classes]
    return of.mT @ caused / of.sum(dim=-2).unsqueeze(-1)
