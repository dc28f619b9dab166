"""Interchange of activations along directions: whether a model uses what a probe reads (Geiger et al. 2021).

What a probe finds may lie in the activations without anything behind them caring. So the coordinate along the probe is
taken over from a sample of the other class, all else is left, and the output is watched; a placebo moves the
activations as far along a direction that means nothing.
"""

from collections import Counter

import torch
from torch import Tensor

from sup_lightning.functional.keyed_random import keyed_uniform


def interchanged(base: Tensor, source: Tensor, direction: Tensor) -> Tensor:
    """`base` with its coordinate along a direction taken from `source`, `[..., d]`.

    Args:
        base: `[..., d]`.
        source: `[..., d]`.
        direction: `[d]`, of any length.

    >>> interchanged(torch.tensor([1.0, 1.0]), torch.tensor([5.0, 9.0]), torch.tensor([2.0, 0.0]))
    tensor([5., 1.])
    """
    unit = direction / direction.norm()
    return base + ((source - base) @ unit).unsqueeze(-1) * unit


def moved_as_far(base: Tensor, source: Tensor, direction: Tensor, placebo: Tensor) -> Tensor:
    """`base` moved along a placebo by as much as `interchanged` moves it along the direction, `[..., d]`.

    Args:
        base: `[..., d]`.
        source: `[..., d]`.
        direction: `[d]`, of any length.
        placebo: `[d]`, of any length.

    >>> moved_as_far(torch.tensor([1.0, 1.0]), torch.tensor([5.0, 9.0]), torch.tensor([1.0, 0]), torch.tensor([0, 3.0]))
    tensor([1., 5.])
    """
    distance = (source - base) @ (direction / direction.norm())
    return base + distance.unsqueeze(-1) * (placebo / placebo.norm())


def matched_pairs(groups: Tensor, labels: Tensor, n_pairs: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Pairs of a sample with label 0 and one with label 1 of the same group, such as tokens that are equal.

    No sample is in two pairs. Each group gives as many as its rarer label has; of all these, `n_pairs` are drawn.

    Args:
        groups: `[n]` integers.
        labels: `[n]`, 0 or 1; samples with another label are left out.
        n_pairs: Pairs wanted.
        seed: Picks them.

    Returns:
        The places of the samples with label 0 and with label 1, `[n_found]` each, n_found ≤ n_pairs.

    >>> matched_pairs(torch.tensor([7, 7, 8, 8]), torch.tensor([1, 0, 1, 1]), 10)
    (tensor([1]), tensor([0]))
    """
    order = keyed_uniform("matched pairs", [seed], 0, (len(groups),))[0].argsort()
    sides = [_by_turn(groups, order[labels[order] == label]) for label in (0, 1)]
    both = sorted(sides[0].keys() & sides[1].keys())
    pairs = torch.tensor([(sides[0][key], sides[1][key]) for key in both], dtype=torch.int64).view(-1, 2)
    chosen = keyed_uniform("chosen pairs", [seed], 0, (len(pairs),))[0].argsort()[:n_pairs]
    return pairs[chosen, 0], pairs[chosen, 1]


def _by_turn(groups: Tensor, places: Tensor) -> dict[tuple[int, int], int]:
    """Each place under its group and how many of the group come before it."""
    seen: Counter[int] = Counter()
    found = {}
    for group, place in zip(groups[places].tolist(), places.tolist(), strict=True):
        found[group, seen[group]] = place
        seen[group] += 1
    return found
