"""How well learned directions recover given ones."""

import torch.nn.functional as F
from torch import Tensor


def max_cosine(learned: Tensor, given: Tensor) -> Tensor:
    """The greatest |cosine| of each given direction with a learned one, `[..., n_given]`.

    Its mean over the given directions is the MMCS of Sharkey et al. 2022 ("Taking features out of superposition with
    sparse autoencoders"), here blind to signs. A learned direction of length 0 matches nothing.

    Args:
        learned: `[..., n_learned, n_dimensions]`.
        given: `[..., n_given, n_dimensions]`.

    >>> import torch
    >>> max_cosine(torch.tensor([[0.0, -3.0], [0.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 1.0]]))
    tensor([1.0000, 0.7071])
    """
    return (F.normalize(given, dim=-1) @ F.normalize(learned, dim=-1).mT).abs().amax(dim=-1)
