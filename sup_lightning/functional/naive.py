"""What a network reaches without computing in superposition: the baseline that superposition must beat.

The naive network computes as many functions exactly as its neurons allow, the most important ones, and predicts the
mean of the others (Elhage et al. 2022, "Computation in Superposition"). Losses are importance-weighted SUMS over
targets, as everywhere; divide by the number of targets for the mean.
"""

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
