"""What a network reaches without computing in superposition: the baseline that superposition must beat.

The naive network computes as many functions exactly as its neurons allow, the most important ones, and predicts the
mean of the others (Elhage et al. 2022, "Computation in Superposition"). Losses are importance-weighted SUMS over
targets, as everywhere; divide by the number of targets for the mean.
"""

import torch
from torch import Tensor

from sup_lightning.errors import reject, require_positive


def sparse_variance(feature_probability: Tensor, mean: float = 1 / 2, mean_square: float = 1 / 3) -> Tensor:
    """Variance of a value that is present with probability p and else 0, p E v² - p² (E v)², in p's shape.

    Args:
        feature_probability: p, any shape.
        mean: E v of the value when it is present; the default is that of U[0, 1].
        mean_square: E v².
    """
    return feature_probability * mean_square - (feature_probability * mean).square()


def absolute_value_variance(feature_probability: Tensor) -> Tensor:
    """Variance of |x| for x sparse on U[-1, 1], p/3 - p²/4, in p's shape.

    >>> import torch
    >>> absolute_value_variance(torch.tensor([1.0, 0.1]))
    tensor([0.0833, 0.0308])
    """
    return sparse_variance(feature_probability)


def naive_n_exact(n_neurons: int, neurons_per_function: int) -> int:
    """How many functions the neurons compute exactly (an absolute value takes 2).

    >>> naive_n_exact(40, 2)
    20
    """
    require_positive(n_neurons=n_neurons, neurons_per_function=neurons_per_function)
    return n_neurons // neurons_per_function


def naive_loss(variance: Tensor, importance: Tensor, n_exact: int) -> Tensor:
    """Sum of importance times variance over the targets that are not computed exactly, `[...]`.

    The exact ones are those with the largest importance times variance; the others are predicted by their mean, which
    leaves their variance.

    Args:
        variance: Of each target, broadcastable with importance to `[..., n_targets]`.
        importance: Of each target.
        n_exact: Number of targets computed exactly.

    >>> import torch
    >>> naive_loss(torch.tensor([1.0, 1.0, 3.0]), torch.tensor([1.0, 0.5, 0.25]), n_exact=1)
    tensor(1.2500)
    """
    if isinstance(n_exact, bool) or not isinstance(n_exact, int) or n_exact < 0:
        reject("n_exact", n_exact, "an integer ≥ 0")
    cost = importance * variance
    return cost.sort(dim=-1, descending=True).values[..., n_exact:].sum(dim=-1)


def unshared_loss(left: Tensor, n_functions: int, n_neurons: int) -> Tensor:
    """Least total squared error if each neuron serves one of several equal functions, `[...]`.

    Computing a function exactly may take several neurons while fewer already predict a part of it, so the best shares
    the neurons out: to as many functions as possible, or to few that are then exact, whichever leaves less.

    Args:
        left: `[..., n_levels]` squared error that 0, 1, 2 … neurons leave of one function; the first is its variance,
            and more neurons than there are levels do not help further.
        n_functions: Number of functions, all alike.
        n_neurons: Number of neurons.

    A neuron for each function leaves 1.6, two for one of the two functions leave 1:

    >>> unshared_loss(torch.tensor([1.0, 0.8, 0.0]), n_functions=2, n_neurons=2)
    tensor(1.)
    """
    require_positive(n_functions=n_functions)
    if n_neurons < 0:
        reject("n_neurons", n_neurons, "an integer ≥ 0")
    levels = range(min(left.shape[-1], n_neurons + 1))
    total = left.new_zeros(*left.shape[:-1], n_neurons + 1)  # of the functions so far, for each number of neurons
    for _ in range(n_functions):
        choices = [torch.nn.functional.pad(total, (k, 0), value=torch.inf)[..., : n_neurons + 1] for k in levels]
        total = torch.stack([choice + left[..., k, None] for k, choice in enumerate(choices)]).amin(dim=0)
    return total[..., n_neurons]


def greedy_loss(covariance: Tensor, targets: Tensor, n_chosen: int) -> Tensor:
    """What is left of the targets after linear prediction from a few of the variables, chosen one by one, `[...]`.

    A naive network has a neuron, or a set of neurons, for each variable that it computes, and a linear readout that may
    use them for all targets. Each step takes the variable that explains most of what is still left (forward selection),
    so the result is an upper bound on that of the best choice.

    Args:
        covariance: `[..., n, n]` of all variables, the targets among them; scaled by the square root of their
            importance where targets count differently.
        targets: Indices of the targets.
        n_chosen: Number of variables that are computed.

    >>> greedy_loss(torch.tensor([[1.0, 0.5], [0.5, 1.0]]), torch.tensor([0, 1]), n_chosen=1)
    tensor(0.7500)
    """
    left = covariance.clone()
    for _ in range(n_chosen):
        own = left.diagonal(dim1=-2, dim2=-1)
        explained = left[..., targets].square().sum(dim=-1) / own.clamp_min(torch.finfo(left.dtype).tiny)
        known = own <= 1e-9 * covariance.diagonal(dim1=-2, dim2=-1)  # computed already, or implied by what is
        best = torch.where(known, 0.0, explained).argmax(dim=-1)
        row = left.take_along_dim(best[..., None, None], dim=-2)
        size = row.take_along_dim(best[..., None, None], dim=-1)
        left = torch.where(size > 0, left - row.mT * row / torch.where(size > 0, size, 1.0), left)
    return left.diagonal(dim1=-2, dim2=-1)[..., targets].sum(dim=-1)


def linear_readout_floor(covariance: Tensor, n_neurons: int) -> Tensor:
    """What no network with a linear readout can pass, `[...]`: the least eigenvalues of the targets' covariance.

    The outputs are then combinations of a constant and the activations of `n_neurons` neurons of the last layer,
    whatever these compute. By the Eckart-Young theorem, applied to the targets as vectors in the space of square
    integrable functions, they leave at least the sum of all but the `n_neurons` largest eigenvalues. For independent
    targets of equal variance that is the variance of all but `n_neurons` of them: the naive network of one neuron to a
    function is then optimal, and superposition cannot lower the squared error.

    Args:
        covariance: `[..., n_targets, n_targets]` of the targets.
        n_neurons: Neurons that the readout reads.

    >>> linear_readout_floor(0.25 * torch.eye(4), n_neurons=3)
    tensor(0.2500)
    """
    if n_neurons < 0:
        reject("n_neurons", n_neurons, "an integer ≥ 0")
    eigenvalues = torch.linalg.eigvalsh(covariance)  # ascending
    return eigenvalues[..., : max(0, covariance.shape[-1] - n_neurons)].sum(dim=-1)


def level_neurons(n_levels: int) -> int:
    """Neurons with which outputs that end in a ReLU or sigmoid tell apart so many levels of one feature, and 0.

    Each output has to be positive at one level alone, so the levels and 0 have to be corners of a convex shape in the
    hidden space. A neuron whose kink lies between two levels turns the curve through them at both; one neuron alone
    leaves it on a line, where only the last level is a corner. No network is known to take fewer.

    >>> [level_neurons(n) for n in (1, 2, 5, 6, 7)]
    [1, 2, 2, 3, 3]
    """
    require_positive(n_levels=n_levels)
    return 1 if n_levels == 1 else max(2, -(-(n_levels - 1) // 2))
