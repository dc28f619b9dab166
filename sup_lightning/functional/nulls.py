"""What a measurement gives where there is nothing to find: data whose meaning is taken away, and all else kept.

A random basis is `rotations.random_rotation`, of all neurons, or `selectivity.random_directions`; initial weights are a
model's own.
"""

import torch
from torch import Tensor

from sup_lightning.functional.keyed_random import keyed_normal, keyed_uniform


def shuffled_within(values: Tensor, groups: Tensor, seed: int = 0) -> Tensor:
    """Values dealt out anew among the members of each group, as labels among the tokens of a document.

    Args:
        values: `[n]`.
        groups: `[n]` integers.
        seed: Picks the order.

    >>> shuffled_within(torch.tensor([1, 2, 3, 9]), torch.tensor([0, 0, 0, 1])).sort().values
    tensor([1, 2, 3, 9])
    """
    random = keyed_uniform("shuffled labels", [seed], 0, (len(values),))[0].to(values.device)
    given, taken = groups.argsort(stable=True), random.argsort(stable=True)
    taken = taken[groups[taken].argsort(stable=True)]
    shuffled = torch.empty_like(values)
    shuffled[given] = values[taken]
    return shuffled


def shuffled_tokens(tokens: Tensor, windows: Tensor, seed: int = 0) -> Tensor:
    """The tokens of each window in another order: their frequencies stay, their context goes.

    The order is a function of the window's number and the seed, whatever the batch.

    Args:
        tokens: `[B, T]`.
        windows: `[B]` int64, the number of each window in the text.
        seed: Picks the orders.

    >>> shuffled_tokens(torch.arange(4).expand(2, 4), torch.tensor([0, 1])).sort().values
    tensor([[0, 1, 2, 3],
            [0, 1, 2, 3]])
    """
    random = keyed_uniform("shuffled tokens", windows.tolist(), seed, [tokens.shape[1]])
    return tokens.gather(1, random.to(tokens.device).argsort(dim=1, stable=True))


def gaussian_like(vectors: Tensor, seed: int = 0) -> Tensor:
    """Gaussian vectors with the mean and the covariance of others, as many of them.

    Args:
        vectors: `[n, d]`.
        seed: Picks them.

    Returns:
        `[n, d]` in the dtype of the vectors.
    """
    x = vectors.double()
    centred = x - x.mean(dim=0)
    _, size, directions = torch.linalg.svd(centred, full_matrices=False)
    gaussian = keyed_normal("gaussian like", [seed], 0, (len(x), len(size)))[0].to(x)
    return (x.mean(dim=0) + gaussian * (size / len(x) ** 0.5) @ directions).to(vectors.dtype)


def matched_tokens(wanted: Tensor, frequency: Tensor, seed: int = 0) -> Tensor:
    """Other tokens that occur about as often: for each, one at random among its neighbours by frequency.

    Args:
        wanted: `[n]` int64, different tokens.
        frequency: `[d_vocab]`, how often each token occurs.
        seed: Picks them.

    Returns:
        `[n]` int64, different tokens, none of them wanted.

    >>> matched_tokens(torch.tensor([0]), torch.tensor([10, 9, 0, 0]))
    tensor([1])
    """
    by_frequency = frequency.argsort(descending=True, stable=True)
    place = torch.empty_like(by_frequency)
    place[by_frequency] = torch.arange(len(place), device=place.device)
    free = torch.ones(len(frequency), dtype=torch.bool, device=frequency.device)
    free[wanted] = False
    uniform = keyed_uniform("matched tokens", [seed], 0, (len(wanted),))[0]
    taken = []
    for token, u in zip(wanted.tolist(), uniform.tolist(), strict=True):
        candidates = free.nonzero().flatten()
        distance = (place[candidates] - place[token]).abs()
        nearest = candidates[distance.argsort(stable=True)[:NEIGHBOURS]]
        nearest = nearest[frequency[nearest] > 0] if bool((frequency[nearest] > 0).any()) else nearest
        chosen = int(nearest[int(u * len(nearest))])
        free[chosen] = False
        taken.append(chosen)
    return torch.tensor(taken, device=wanted.device)


NEIGHBOURS = 8
"""Among how many free tokens next in frequency one is drawn."""
