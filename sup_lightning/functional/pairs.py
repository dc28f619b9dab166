"""How a network computes functions of two features: its outputs with the pair set to each of its four states.

The states are: both features off, the first alone, the second alone, both. The other features stay as their law has
them, so what is left of the scatter of an output within a state is interference.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

PAIR_STATES = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
"""Which features of a pair are on in each state, `[4, 2]`."""


def pair_inputs(values: Tensor) -> Tensor:
    """The two features of a pair in each state, `[4, batch, 2]`.

    Args:
        values: `[batch, 2]`, of the features when they are on.
    """
    return PAIR_STATES.to(values).unsqueeze(1) * values


def pair_responses(
    network: Callable[[Tensor], Tensor], features: Tensor, pairs: Sequence[Sequence[int]], inputs: Tensor
) -> Tensor:
    """Output k of a network with pair k set to each of its states, `[n_instances, n_pairs, 4, batch]`.

    Args:
        network: From features `[n_instances, batch, n_features]` to outputs `[n_instances, batch, n_pairs]`.
        features: `[n_instances, batch, n_features]`, of which each pair in turn is replaced.
        pairs: The features that output k is a function of.
        inputs: `[4, batch, 2]`, as `pair_inputs` gives them.
    """
    features = features.clone()
    responses = features.new_empty(len(features), len(pairs), len(inputs), features.shape[1])
    for k, pair in enumerate(pairs):
        columns = list(pair)
        before = features[..., columns].clone()
        for state, values in enumerate(inputs):
            features[..., columns] = values
            responses[:, k, state] = network(features)[..., k]
        features[..., columns] = before
    return responses


def interaction(of_states: Tensor) -> Tensor:
    """The part of a function of two switches that is not a sum of functions of each, `[...]`: 11 - 10 - 01 + 00.

    It is 1 for AND, -1 for OR, -2 for XOR and 0 for whatever a linear hidden layer with a linear readout computes.

    Args:
        of_states: `[..., 4]`, the function (or the mean output) in each state.

    >>> interaction(torch.tensor([[0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0]]))
    tensor([ 1., -2.])
    """
    off, first, second, both = of_states.unbind(dim=-1)
    return both - first - second + off


def area_under_curve(scores: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """The probability that a row of the positive states scores higher than one of the negative, ties half, `[...]`.

    Args:
        scores: `[..., n_states, batch]`; all rows of a state are equally likely.
        positive: `[..., n_states]` probability of each state among the positive ones, in any unit; 0 for others.
        negative: The same of the negative states.

    >>> area_under_curve(torch.tensor([[0.0, 1.0], [1.0, 2.0]]), torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]))
    tensor(0.8750)
    """
    n_states, batch = scores.shape[-2:]
    ordered = scores.sort(dim=-1).values
    total = torch.zeros_like(scores[..., 0, 0])
    weight = torch.zeros_like(total)
    for high in range(n_states):
        for low in range(n_states):
            share = positive[..., high] * negative[..., low]
            if not bool((share > 0).any()):
                continue
            of_low, of_high = ordered[..., low, :].contiguous(), scores[..., high, :].contiguous()
            below = torch.searchsorted(of_low, of_high) + torch.searchsorted(of_low, of_high, right=True)
            total += share * below.to(total).mean(dim=-1) / (2 * batch)
            weight = weight + share
    return total / weight


class OneNeuron(NamedTuple):
    """The network c + a · ReLU(u · x - t) of one neuron.

    Attributes:
        error: Its squared error, `[...]`.
        direction: u, `[..., 2]`.
        threshold: t, `[...]`.
        slope: a, `[...]`.
        constant: c, `[...]`.
    """

    error: Tensor
    direction: Tensor
    threshold: Tensor
    slope: Tensor
    constant: Tensor


def best_neuron(
    inputs: Tensor, target: Tensor, weight: Tensor, n_angles: int = 120, n_thresholds: int = 65
) -> OneNeuron:
    """The one neuron, with a linear readout, that comes nearest to a function of two features.

    The best of a grid over directions u and thresholds t (down to where the neuron is linear), with a and c by
    regression. The grid has the directions and thresholds of AND, OR and the sum exactly; elsewhere it is good to about
    a thousandth of the variance.

    Args:
        inputs: `[n, 2]` values of the features; equal ones are taken together.
        target: `[n]` of the function.
        weight: `[..., n]` probability of each; adds up to 1.
        n_angles: Directions, evenly over the circle.
        n_thresholds: Thresholds, evenly over the range of u · x.
    """
    inputs, place = inputs.double().unique(dim=0, return_inverse=True)
    target = inputs.new_zeros(len(inputs)).index_copy(0, place, target.double())
    weight = inputs.new_zeros(*weight.shape[:-1], len(inputs)).index_add(-1, place, weight.double())
    angle = torch.arange(n_angles, dtype=torch.float64) * (2 * torch.pi / n_angles)
    directions = torch.stack([angle.cos(), angle.sin()], dim=1)
    steps = torch.linspace(0, 1, n_thresholds, dtype=torch.float64)[:-1]
    mean = (weight * target).sum(dim=-1)
    variance = (weight * target.square()).sum(dim=-1) - mean.square()
    explained, thresholds, slopes, constants = [], [], [], []
    for u in directions:
        along = inputs @ u
        low, high = along.min(), along.max()
        threshold = low + (high - low) * steps
        neuron = (along - threshold.unsqueeze(1)).relu()  # [n_thresholds - 1, n]
        of_neuron = weight @ neuron.T
        square = weight @ neuron.square().T - of_neuron.square()
        with_target = weight @ (neuron * target).T - of_neuron * mean.unsqueeze(-1)
        slope = torch.where(square > 1e-12, with_target / square.clamp_min(1e-12), 0.0)
        explained.append(slope * with_target)
        thresholds.append(threshold.expand_as(slope))
        slopes.append(slope)
        constants.append(mean.unsqueeze(-1) - slope * of_neuron)
    best_explained, best = torch.cat(explained, dim=-1).max(dim=-1)

    def of_best(values: list[Tensor]) -> Tensor:
        return torch.cat(values, dim=-1).gather(-1, best.unsqueeze(-1)).squeeze(-1)

    direction = directions[best // len(steps)]
    left = (variance - best_explained).clamp_min(0)
    return OneNeuron(left, direction, of_best(thresholds), of_best(slopes), of_best(constants))
