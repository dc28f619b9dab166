"""How alike the copies of a neuron are, by their weights."""

import torch
import torch.nn.functional as F
from torch import Tensor


def sibling_cosines(W: Tensor) -> Tensor:
    """Cosine of each pair of copies of the same neuron, `[n_neurons, k (k - 1) / 2]`; 0 if one is zero.

    Args:
        W: Input or output weights, `[n_neurons, k, d_model]`.

    >>> sibling_cosines(torch.tensor([[[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]]]))
    tensor([[1., 0., 0.]])
    """
    unit = F.normalize(W, dim=-1)
    first, second = torch.triu_indices(W.shape[1], W.shape[1], offset=1, device=W.device)
    return (unit @ unit.mT)[:, first, second]


def mean_cosine_of_others(W: Tensor) -> Tensor:
    """Mean cosine over all pairs of copies of different neurons, a scalar; NaN for a single neuron.

    The mean is exact, without the pairs: the squared length of a sum of unit vectors is the sum of all their cosines.

    Args:
        W: Input or output weights, `[n_neurons, k, d_model]`.

    >>> mean_cosine_of_others(torch.tensor([[[1.0, 0.0], [2.0, 0.0]], [[0.0, 1.0], [3.0, 0.0]]]))
    tensor(0.5000)
    """
    n_neurons, k, _ = W.shape
    of_neuron = F.normalize(W, dim=-1).sum(dim=1)
    all_pairs, siblings = of_neuron.sum(dim=0).square().sum(), of_neuron.square().sum()
    return (all_pairs - siblings) / (n_neurons * (n_neurons - 1) * k**2)
