"""How selective neurons are: heavy tails of their activations, and the same in a random basis.

A neuron that is silent but for rare strong responses has a large kurtosis; a random direction through the same
activations mixes many neurons and is nearly Gaussian (kurtosis 3). The difference says how much the neuron basis is
privileged (Elhage et al. 2023, "Privileged Bases in the Transformer Residual Stream").
"""

from typing import NamedTuple

import torch
from torch import Tensor

from sup_lightning.functional.chunking import row_chunks
from sup_lightning.functional.keyed_random import keyed_normal
from sup_lightning.functional.rotations import FULL_ROTATION, haar

SOME_DIRECTIONS = 256
"""So many random directions are taken of spaces too large to rotate."""


def power_sums(activations: Tensor) -> Tensor:
    """Count and sums of the first four powers of each neuron's activation; they add over batches and ranks.

    Args:
        activations: `[..., n_neurons]`.

    Returns:
        `[5, n_neurons]` float64: n, Σx, Σx², Σx³, Σx⁴.

    >>> power_sums(torch.tensor([[1.0], [2.0]])).T
    tensor([[ 2.,  3.,  5.,  9., 17.]], dtype=torch.float64)
    """
    flat = activations.flatten(end_dim=-2)
    n_rows, n_neurons = flat.shape
    sums = torch.zeros(5, n_neurons, dtype=torch.float64, device=flat.device)
    for rows in row_chunks(n_rows, n_neurons):
        x = flat[rows].double()
        power = torch.ones_like(x)
        for order in range(1, 5):
            power = power * x
            sums[order] += power.sum(dim=0)
    sums[0] = n_rows
    return sums


class Moments(NamedTuple):
    """Each `[n_neurons]` float64; skewness and kurtosis (3 for a Gaussian) are NaN for a constant neuron."""

    mean: Tensor
    variance: Tensor
    skewness: Tensor
    kurtosis: Tensor


def moments_from_power_sums(sums: Tensor) -> Moments:
    """Mean, variance m₂, skewness m₃ / m₂^(3/2) and kurtosis m₄ / m₂² of each neuron.

    In float64 the error of the kurtosis is about 1e-16 (mean / standard deviation)⁴.

    Args:
        sums: `[5, n_neurons]` of `power_sums`.
    """
    mean, x2, x3, x4 = sums[1:] / sums[0]
    variance = x2 - mean**2
    varies = variance > 1e-12 * x2
    third = x3 - 3 * mean * x2 + 2 * mean**3
    fourth = x4 - 4 * mean * x3 + 6 * mean**2 * x2 - 3 * mean**4
    return Moments(
        mean,
        variance,
        torch.where(varies, third / variance.clamp(min=0) ** 1.5, torch.nan),
        torch.where(varies, fourth / variance**2, torch.nan),
    )


def kurtosis(activations: Tensor) -> Tensor:
    """Kurtosis of each neuron over all samples (3 for a Gaussian), NaN for one that is constant.

    Args:
        activations: `[..., n_neurons]`.

    Returns:
        `[n_neurons]` float64.

    >>> kurtosis(torch.tensor([[0.0, 1.0], [0.0, -1.0], [0.0, 1.0], [4.0, -1.0]]))
    tensor([2.3333, 1.0000], dtype=torch.float64)
    """
    return moments_from_power_sums(power_sums(activations)).kurtosis


def random_directions(n_neurons: int, seed: int = 0) -> Tensor:
    """Random orthonormal directions in activation space, uniformly distributed.

    All `n_neurons` of a rotation up to `FULL_ROTATION` neurons; `SOME_DIRECTIONS` of it beyond, where the whole would
    cost more than the model (`rotations.random_rotation` is a whole one, in blocks).

    Args:
        n_neurons: Dimensions of the space.
        seed: Picks the rotation.

    Returns:
        `[n_neurons, n_directions]` float32, orthonormal columns.

    >>> q = random_directions(8)
    >>> bool(torch.allclose(q.T @ q, torch.eye(8), atol=1e-6))
    True
    """
    n_directions = n_neurons if n_neurons <= FULL_ROTATION else SOME_DIRECTIONS
    return haar(keyed_normal("rotation", [seed], 0, [n_neurons, n_directions])[0].double()).float()


def rotated_kurtosis(activations: Tensor, seed: int = 0) -> Tensor:
    """Kurtosis along random orthonormal directions: what a basis without meaning would give.

    Args:
        activations: `[..., n_neurons]`.
        seed: Picks the directions.

    Returns:
        `[n_directions]` float64.

    >>> one_hot = torch.eye(64)
    >>> bool(kurtosis(one_hot).median() > 10 * rotated_kurtosis(one_hot).median())
    True
    """
    return kurtosis(activations.float() @ random_directions(activations.shape[-1], seed).to(activations.device))


def dead_neurons(activations: Tensor, threshold: float = 0.0) -> Tensor:
    """Which neurons never rise above a threshold.

    Args:
        activations: `[..., n_neurons]`.
        threshold: What a live neuron exceeds at least once.

    Returns:
        `[n_neurons]` bool.

    >>> dead_neurons(torch.tensor([[0.0, 1.0], [-1.0, 0.0]]))
    tensor([ True, False])
    """
    return activations.flatten(end_dim=-2).amax(dim=0) <= threshold


def dead_fraction(activations: Tensor, threshold: float = 0.0) -> Tensor:
    """Fraction of neurons that never rise above a threshold, a scalar.

    >>> dead_fraction(torch.tensor([[0.0, 1.0], [-1.0, 0.0]]))
    tensor(0.5000)
    """
    return dead_neurons(activations, threshold).float().mean()
