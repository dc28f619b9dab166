"""What a layer holds of functions of two binary features: how well it is read, and whether it is used.

With independent features that are 1 with probability p, the part of x_a ∧ x_b that its features do not explain on
their own is (x_a - p) (x_b - p). These parts are uncorrelated over pairs, and with all single features, so that shares
of variance of different pairs can be added up: a layer of d numbers holds at most d of them.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from sup_lightning.errors import reject, require_positive

MOST_FEATURES = 16


def binary_rows(n_features: int, p: float) -> tuple[Tensor, Tensor]:
    """All rows of binary features `[2^n_features, n_features]`, and how likely each is if each is 1 with probability p.

    >>> rows, probability = binary_rows(2, 0.25)
    >>> rows.tolist(), probability.tolist()
    ([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0.5625, 0.1875, 0.1875, 0.0625])
    """
    require_positive(n_features=n_features)
    if n_features > MOST_FEATURES:
        reject("n_features", n_features, f"at most {MOST_FEATURES}, as all rows are listed")
    rows = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * n_features).view(-1, n_features)
    n_on = rows.sum(dim=1)
    return rows, p**n_on * (1 - p) ** (n_features - n_on)


def interactions(rows: Tensor, p: float, pairs: Tensor) -> Tensor:
    """(x_a - p) (x_b - p) of each pair, of unit variance, `[n_rows, n_pairs]`.

    Args:
        rows: `[n_rows, n_features]`, 0 or 1.
        p: Probability of 1.
        pairs: `[n_pairs, 2]`.
    """
    first, second = rows[:, pairs[:, 0]] - p, rows[:, pairs[:, 1]] - p
    return first * second / (p * (1 - p))


def interaction_explained(state: Tensor, rows: Tensor, probability: Tensor, p: float, pairs: Tensor) -> Tensor:
    """Share of each pair's interaction that the best affine readout of a layer finds, `[..., n_pairs]`.

    Args:
        state: The layer at each row, `[..., n_rows, d]`.
        rows: All rows, `[n_rows, n_features]`.
        probability: Of each row, `[n_rows]`.
        p: Probability of 1.
        pairs: `[n_pairs, 2]`.
    """
    target = interactions(rows, p, pairs).double()
    weight = probability.double().unsqueeze(-1)
    moved = state.double() - (weight * state).sum(dim=-2, keepdim=True)
    covariance = moved.mT @ (weight * moved)
    with_target = moved.mT @ (weight * target)  # [..., d, n_pairs]
    inverse = torch.linalg.pinv(covariance, rtol=1e-9, hermitian=True)  # neurons may be dead, or copies
    return torch.einsum("...dk,...dc,...ck->...k", with_target, inverse, with_target).float()


def interaction_directions(state: Tensor, rows: Tensor, probability: Tensor, p: float, pairs: Tensor) -> Tensor:
    """How the layer moves if x_a ∧ x_b turns from 0 to 1 and nothing else does, `[..., n_pairs, d]`.

    The coefficient of the interaction in the regression of the layer on all functions of the features.

    Args:
        state: The layer at each row, `[..., n_rows, d]`.
        rows: All rows, `[n_rows, n_features]`.
        probability: Of each row, `[n_rows]`.
        p: Probability of 1.
        pairs: `[n_pairs, 2]`.
    """
    target = interactions(rows, p, pairs) * probability.unsqueeze(-1)
    return (state.mT @ target).mT / (p * (1 - p))


def interchange_effect(
    read: Callable[[Tensor], Tensor], state: Tensor, directions: Tensor, on: Tensor, wanted: Tensor, output_of: Tensor
) -> Tensor:
    """Share of the wanted change of an output that follows if an intermediate takes its other value, `[..., n_pairs]`.

    1 if the rest of the network answers as if the intermediate had the other value, 0 if it does not care. Rows with
    the intermediate on and off count alike.

    Args:
        read: From the layer `[..., n_rows, d]` to the outputs `[..., n_rows, n_outputs]`.
        state: The layer, `[..., n_rows, d]`.
        directions: How it moves if an intermediate turns on, `[..., n_pairs, d]`.
        on: Whether it is on, `[..., n_rows, n_pairs]`, 0 or 1.
        wanted: The change of the output that belongs to the other value, `[..., n_rows, n_pairs]`, 1 or -1.
        output_of: The output of each pair, `[n_pairs]`.
    """
    before, shares = read(state), []
    for pair, output in enumerate(output_of.tolist()):
        is_on = on[..., pair]
        moved = state + (1 - 2 * is_on).unsqueeze(-1) * directions[..., pair, :].unsqueeze(-2)
        right = (read(moved) - before)[..., output] * wanted[..., pair]
        of_on = (right * is_on).sum(dim=-1) / is_on.sum(dim=-1)
        of_off = (right * (1 - is_on)).sum(dim=-1) / (1 - is_on).sum(dim=-1)
        shares.append((of_on + of_off) / 2)
    return torch.stack(shares, dim=-1)
