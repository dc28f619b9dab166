"""Which neurons hold a feature: patch some of them with what they hold where it is absent, and see what is left of it.

A feature may sit in one neuron, in a few, or in many a little. Neurons are put in an order, the first k of them are
patched, and a score (the log-probability of what the feature foretells) tells how much of it is gone. The same for
directions of any orthonormal basis, such as a random one, tells what the basis of neurons has to do with it.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from sup_lightning.errors import reject

Score = Callable[[Tensor], Tensor]
"""From activations `[N, n_neurons]` of N contexts to a number of each, `[N]`."""


def path_gradient(score: Score, held: Tensor, patched: Tensor, n_steps: int = 16) -> Tensor:
    """Gradient of a score by each activation, mean over the straight path to the patched ones, `[N, n_neurons]`.

    The scores' difference is the sum of gradient x difference over neurons (integrated gradients, Sundararajan et al.
    2017), up to the midpoint rule: exact for a quadratic score.

    Args:
        score: Each context's score must depend on its own row alone.
        held: `[N, n_neurons]`, where the path begins.
        patched: Where it ends.
        n_steps: Points on the path.
    """
    total = torch.zeros_like(held)
    for step in range(n_steps):
        with torch.enable_grad():
            point = torch.lerp(held, patched, (step + 0.5) / n_steps).detach().requires_grad_()
            (gradient,) = torch.autograd.grad(score(point).sum(), point)
        total += gradient
    return total / n_steps


def path_effects(held: Tensor, patched: Tensor, gradient: Tensor, basis: Tensor | None = None) -> Tensor:
    """What each neuron (or direction) adds to the score by not being patched, mean over contexts, `[n_neurons]`.

    The effects add up to the loss of score if all are patched.

    Args:
        held: `[N, n_neurons]`.
        patched: `[N, n_neurons]`.
        gradient: Of `path_gradient`.
        basis: Orthonormal columns `[n_neurons, n_neurons]`; the neurons themselves if not given.

    >>> held, patched = torch.tensor([[1.0, 2.0]]), torch.zeros(1, 2)
    >>> path_effects(held, patched, path_gradient(lambda x: x[:, 0] * x[:, 1], held, patched))
    tensor([1., 1.])
    """
    change = held - patched
    if basis is not None:
        change, gradient = change @ basis, gradient @ basis
    return (change * gradient).mean(dim=0)


def patch_sizes(n_neurons: int, exact: int = 16, per_octave: int = 6) -> list[int]:
    """0, every size up to `exact`, then evenly spaced in log size up to all neurons.

    >>> patch_sizes(64, exact=4, per_octave=2)
    [0, 1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64]
    """
    first = min(exact, n_neurons)
    n_more = int(np.ceil(per_octave * np.log2(n_neurons / first)))
    more = np.geomspace(first, n_neurons, n_more + 1).round().astype(int) if n_more else [first]
    return sorted({*range(first + 1), *(int(size) for size in more)})


@torch.no_grad()
def patch_curve(
    score: Score, held: Tensor, patched: Tensor, order: Tensor, sizes: Sequence[int], basis: Tensor | None = None
) -> Tensor:
    """Mean score with the first k neurons (or directions) of an order patched, for each k, `[len(sizes)]`.

    Args:
        score: Of activations.
        held: `[N, n_neurons]`.
        patched: What the patched ones hold, `[N, n_neurons]`.
        order: `[n_neurons]` int64.
        sizes: The k.
        basis: Orthonormal columns `[n_neurons, n_neurons]`; the neurons themselves if not given.
    """
    scores = []
    for size in sizes:
        first = order[:size]
        if basis is None:
            mixed = held.clone()
            mixed[:, first] = patched[:, first]
        else:
            directions = basis[:, first]
            mixed = held + ((patched - held) @ directions) @ directions.T
        scores.append(score(mixed).double().mean())
    return torch.stack(scores)


def removed_share(curve: Tensor) -> Tensor:
    """How much of what patching everything takes away is gone at each size, `[..., n_sizes]`; 0 at first, 1 at last.

    More than 1 is gone where neurons that speak for the feature are patched and those that speak against it are not.

    Args:
        curve: `[..., n_sizes]` of `patch_curve`, from no neuron to all.
    """
    start, end = curve[..., :1], curve[..., -1:]
    return (start - curve) / (start - end)


def least_size(shares: Tensor, sizes: Sequence[int], share: float) -> Tensor:
    """The first size at which a share is reached, `[...]` int64.

    Args:
        shares: `[..., n_sizes]`, which end at 1.
        sizes: The sizes.
        share: At most 1.

    >>> least_size(torch.tensor([0.0, 0.3, 0.95, 1.1, 1.0]), [0, 1, 2, 4, 8], 0.9)
    tensor(2)
    """
    if not 0 < share <= 1:
        reject("share", share, "a number in (0, 1]")
    reached = shares >= share - 1e-9
    reached[..., -1] = True
    return torch.tensor(sizes)[reached.int().argmax(dim=-1)]


def participation_number(effects: Tensor) -> Tensor:
    """(Σ|e|)² / Σe²: as many neurons as there would be if all that take part did so equally, `[...]`; NaN for none.

    >>> participation_number(torch.tensor([[1.0, -1.0, 1.0, 1.0], [5.0, 0.0, 0.0, 0.0]]))
    tensor([4., 1.])
    """
    size = effects.abs()
    return size.sum(dim=-1).square() / size.square().sum(dim=-1)


def loads(teams: Tensor) -> Tensor:
    """In how many teams each neuron is, `[n_neurons]` int64.

    Args:
        teams: `[n_teams, n_neurons]` bool.
    """
    return teams.sum(dim=0)


def overlap_ratio(teams: Tensor, related: Tensor) -> Tensor:
    """Neurons that unrelated teams share, over what random teams of their sizes would share; a scalar, NaN for no pair.

    0 if every neuron serves one team, 1 if teams are as if dealt at random, more if some neurons serve many.

    Args:
        teams: `[n_teams, n_neurons]` bool.
        related: `[n_teams, n_teams]` bool, pairs that are left out.

    >>> teams = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0]]).bool()
    >>> overlap_ratio(teams, torch.zeros(3, 3, dtype=torch.bool))  # 0 + 1 + 1 of 1 + 1 + 1
    tensor(0.6667)
    """
    of, n_neurons = teams.float(), teams.shape[1]
    counted = torch.triu(~related, diagonal=1).float()
    size = of.sum(dim=1)
    return ((of @ of.T) * counted).sum() / ((size[:, None] * size / n_neurons) * counted).sum()
