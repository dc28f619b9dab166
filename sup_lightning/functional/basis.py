"""Whether features keep to the basis of the hidden layer: is the basis privileged?

A basis is privileged if something in the architecture or in training tells its axes from other directions (Elhage et
al. 2022, "Superposition in a Privileged Basis"; Elhage et al. 2023, "Privileged Bases in the Transformer Residual
Stream"). Random directions are aligned with some axis too, and the more so in few dimensions (.90 in two), so each
quantity is also given above its mean over random rotations of the same directions. The rotation sweep is the definite
test: a loss that does not privilege a basis is the same for all rotations.
"""

from collections.abc import Callable
from math import pi

import torch
from torch import Tensor

from sup_lightning.errors import require_positive
from sup_lightning.functional.keyed_random import keyed_normal
from sup_lightning.functional.rotations import haar
from sup_lightning.functional.selectivity import kurtosis, rotated_kurtosis


def alignment(W: Tensor) -> Tensor:
    """The largest |cosine| of each feature's direction with an axis, max_k |W_ik| / |W_i|, `[..., n_features]`.

    1 for a feature on one neuron, n_hidden^(-1/2) for one that is spread evenly, NaN for a zero feature.

    Args:
        W: `[..., n_features, n_hidden]`.

    >>> alignment(torch.tensor([[0.0, -2.0], [3.0, 4.0]]))
    tensor([1.0000, 0.8000])
    """
    return _unit(W).abs().amax(dim=-1)


def participation(W: Tensor) -> Tensor:
    """How few axes each feature's direction takes part in, sum_k v_k^4 with v = W_i / |W_i|, `[..., n_features]`.

    1 / participation is the number of neurons that share the feature. A zero feature has NaN; a random direction has
    3 / (n_hidden + 2) on average.

    Args:
        W: `[..., n_features, n_hidden]`.

    >>> participation(torch.tensor([[0.0, -2.0], [1.0, 1.0]]))
    tensor([1.0000, 0.5000])
    """
    return _unit(W).pow(4).sum(dim=-1)


def alignment_above_random(W: Tensor, n_rotations: int = 32, seed: int = 0) -> Tensor:
    """`alignment` less its mean over random rotations of the same directions, `[..., n_features]`.

    Args:
        W: `[..., n_features, n_hidden]`.
        n_rotations: Rotations, uniformly distributed (Haar).
        seed: Picks them.

    >>> axes = alignment_above_random(torch.eye(20), n_rotations=100)
    >>> bool((axes - (1 - 0.491)).abs().max() < 0.05)
    True
    """
    return alignment(W) - _mean_over_rotations(alignment, W, n_rotations, seed)


def participation_above_random(W: Tensor, n_rotations: int = 32, seed: int = 0) -> Tensor:
    """`participation` less its mean over random rotations of the same directions, `[..., n_features]`.

    Args:
        W: `[..., n_features, n_hidden]`.
        n_rotations: Rotations, uniformly distributed (Haar).
        seed: Picks them.
    """
    return participation(W) - _mean_over_rotations(participation, W, n_rotations, seed)


def kurtosis_above_random(activations: Tensor, n_rotations: int = 8, seed: int = 0) -> Tensor:
    """Kurtosis of each neuron less the mean kurtosis along random directions, `[n_neurons]` float64.

    Sparse features give heavy tails in any basis, so 3 is not the number to compare with.

    Args:
        activations: `[..., n_neurons]`, of one model.
        n_rotations: Rotations of the activations.
        seed: The first rotation's seed; the others follow.
    """
    require_positive(n_rotations=n_rotations)
    rotated = torch.stack([rotated_kurtosis(activations, seed + k) for k in range(n_rotations)])
    return kurtosis(activations) - rotated.nanmean()


def random_rotations(n_hidden: int, n_rotations: int, seed: int = 0) -> Tensor:
    """Orthogonal matrices, uniformly distributed (Haar), `[n_rotations, n_hidden, n_hidden]` float64.

    >>> q = random_rotations(3, 10)
    >>> bool(torch.allclose(q @ q.mT, torch.eye(3, dtype=torch.float64)))
    True
    """
    require_positive(n_hidden=n_hidden, n_rotations=n_rotations)
    return haar(keyed_normal("rotations", [seed], 0, (n_rotations, n_hidden, n_hidden))[0].double())


def plane_rotations(n_rotations: int) -> Tensor:
    """Rotations of the plane, evenly spaced over the full turn from 0 on, `[n_rotations, 2, 2]` float64."""
    require_positive(n_rotations=n_rotations)
    angle = 2 * pi * torch.arange(n_rotations, dtype=torch.float64) / n_rotations
    rows = [torch.stack([angle.cos(), angle.sin()], dim=-1), torch.stack([-angle.sin(), angle.cos()], dim=-1)]
    return torch.stack(rows, dim=-2)


def rotation_spread(loss_of_W: Callable[[Tensor], Tensor], W: Tensor, n_rotations: int = 64, seed: int = 0) -> Tensor:
    """(max - min) / min of a loss over rotations of the hidden space, `[...]`; 0 if no basis is privileged.

    In two dimensions the rotations are evenly spaced over the full turn; in more they are random. W as it is counts as
    one of them. With random rotations the spread is a lower bound, and grows with their number.

    Args:
        loss_of_W: Maps `[..., n_features, n_hidden]` to losses `[...]`, with everything else (bias, data) held fixed.
        W: `[..., n_features, n_hidden]`.
        n_rotations: How many, W as it is included.
        seed: Picks random ones.

    >>> W = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    >>> rotation_spread(lambda W: 1 + W.square().amax(dim=(-2, -1)), W)  # 1 + cos²: from 1.5 on the diagonal to 2
    tensor(0.3333)
    """
    require_positive(n_rotations=n_rotations)
    n_hidden = W.shape[-1]
    losses = [loss_of_W(W)]
    if n_rotations > 1:
        others = (
            plane_rotations(n_rotations)[1:] if n_hidden == 2 else random_rotations(n_hidden, n_rotations - 1, seed)
        )
        losses += [loss_of_W(W @ rotation) for rotation in others.to(W)]
    stacked = torch.stack(losses)
    low, high = stacked.amin(dim=0), stacked.amax(dim=0)
    return (high - low) / low.clamp_min(torch.finfo(low.dtype).tiny)


def _unit(W: Tensor) -> Tensor:
    """Directions of length 1; NaN where the length is 0. Scaled first, so that tiny squares do not vanish."""
    scaled = W / W.abs().amax(dim=-1, keepdim=True)
    return scaled / torch.linalg.vector_norm(scaled, dim=-1, keepdim=True)


def _mean_over_rotations(quantity: Callable[[Tensor], Tensor], W: Tensor, n_rotations: int, seed: int) -> Tensor:
    rotations = random_rotations(W.shape[-1], n_rotations, seed).to(W)
    total = torch.zeros_like(W[..., 0])
    for rotation in rotations:  # one at a time: a sweep's directions are large enough
        total += quantity(W @ rotation)
    return total / n_rotations
