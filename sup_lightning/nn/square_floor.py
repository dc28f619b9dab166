"""The best that k ReLU neurons can make of x²: knots of a piecewise linear function, moved to their optimum."""

from functools import lru_cache

import torch
from torch import Tensor, nn

from sup_lightning.functional.keyed_random import keyed_uniform
from sup_lightning.functional.quadratic import relu_square_error
from sup_lightning.nn.optimum import find_optimum

N_STARTS = 6
"""Starting knots for each number of neurons that face right: one set evenly spaced, the others random."""

RARE = 0.01
"""Feature probability for which the floor is computed; below about a half it changes nothing."""


class Knots(nn.Module):
    """Knots of k neurons, of which the first `n_right` fire to their right and the others to their left.

    Args:
        knots: Where they start, `[n_instances, n_neurons]` float64.
        n_right: For each instance.
    """

    def __init__(self, knots: Tensor, n_right: list[int]) -> None:
        super().__init__()
        self.knots = nn.Parameter(knots)
        right = torch.arange(knots.shape[1]) < torch.tensor(n_right).unsqueeze(1)
        self.facing = torch.where(right, 1.0, -1.0).double()


@lru_cache
def relu_square_floor(n_neurons: int) -> float:
    """The least squared error found of x² by ReLU neurons with biases and a linear readout without, where x is active.

    x is uniform on [-1, 1] when active, which is rarely (`RARE`), so the network has to be silent at 0. Output weights
    are eliminated exactly, knots are optimised from several starts for each number of neurons that face right (half of
    these numbers are enough, by symmetry). It is a bound from above on the optimum, in practice the optimum. 0 neurons
    leave E x⁴.

    Args:
        n_neurons: How many.

    >>> round(relu_square_floor(2), 5)  # one to a side
    0.00141
    """
    if n_neurons == 0:
        return 1 / 5
    starts, n_right = [], []
    for right in range((n_neurons + 1) // 2, n_neurons + 1):
        left = n_neurons - right
        even = torch.cat([torch.arange(1, right + 1) / (right + 1), -torch.arange(1, left + 1) / (left + 1)])
        random = 2 * keyed_uniform("square floor", range(N_STARTS - 1), right, (n_neurons,)) - 1
        starts += [even, *random]
        n_right += [right] * N_STARTS
    with torch.enable_grad():
        found = find_optimum(
            Knots(torch.stack(starts).double(), n_right),
            lambda net: relu_square_error(net.knots, net.facing, RARE) / RARE,
            max_evaluations=400,
            gradient_tolerance=1e-9,
        )
    return float(found.losses.min())


def shared_square_floor(n_functions: int, n_neurons: int) -> float:
    """Summed error of several squares if no neuron serves two, with the best shares of neurons: the naive network.

    Args:
        n_functions: How many squares, all equally important.
        n_neurons: For all of them together.

    >>> round(shared_square_floor(2, 2), 4)  # both neurons for one square, or one for each, is much the same
    0.2014
    """
    floors = [relu_square_floor(k) for k in range(n_neurons + 1)]
    best = [0.0] + [float("inf")] * n_neurons
    for _ in range(n_functions):
        best = [min(best[n - k] + floors[k] for k in range(n + 1)) for n in range(n_neurons + 1)]
    return min(best)
