"""How much of the hidden space each feature has to itself (Elhage et al. 2022, "Toy Models of Superposition").

Throughout, `W` is `[..., n_features, n_hidden]`: row i is the direction of feature i. Leading axes are instances.
"""

import torch
from torch import Tensor

REPRESENTED = 0.5
"""A feature counts as represented if its direction is longer than this (Elhage et al.: norms are near 0 or 1)."""


def feature_norms(W: Tensor) -> Tensor:
    """Length of each feature's direction, `[..., n_features]`.

    >>> feature_norms(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([5., 0.])
    """
    return torch.linalg.vector_norm(W, dim=-1)


def represented_features(W: Tensor, threshold: float = REPRESENTED) -> Tensor:
    """Whether each feature's direction is longer than the threshold, `[..., n_features]` bool."""
    return feature_norms(W) > threshold


def feature_dimensionality(W: Tensor) -> Tensor:
    """The fraction of a dimension that each feature has, `[..., n_features]` in [0, 1].

    D_i = |W_i|^2 / sum_j (Ŵ_i · W_j)^2 (Elhage et al., "Uniform superposition"; identical to the capacity of Scherlis
    et al. 2022). The sum over features is at most `n_hidden`, with equality for a tight frame. A zero feature has 0.

    >>> pentagon = torch.tensor([[0.0], [0.4], [0.8], [1.2], [1.6]]) * torch.pi
    >>> feature_dimensionality(torch.cat([pentagon.cos(), pentagon.sin()], dim=1)).mean()
    tensor(0.4000)
    """
    gram = W @ W.mT
    squared_norms = gram.diagonal(dim1=-2, dim2=-1)
    shared = gram.square().sum(dim=-1)
    tiny = torch.finfo(W.dtype).tiny
    return torch.where(shared > tiny, squared_norms.square() / shared.clamp_min(tiny), 0.0)


def dimensions_per_feature(W: Tensor) -> Tensor:
    """D* = n_hidden / |W|_F^2, hidden dimensions for each represented feature, `[...]` (infinite if W is 0).

    The paper's estimate of the number of features is |W|_F^2. Where interference is positive the norms exceed 1
    and D* lies below the mean D_i (pentagon: .31 against .400), so report both.
    """
    return W.shape[-1] / W.square().sum(dim=(-2, -1))
