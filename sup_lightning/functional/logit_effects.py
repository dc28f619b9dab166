"""What a write to the residual stream does to the logits, through the LayerNorm before the unembedding.

With the LayerNorm's scale taken as it is, logits are a sum over everything that was written (direct logit attribution);
the scale itself depends on all of it. In a model of one layer nothing else lies between a neuron and the logits.
"""

import torch
from torch import Tensor


def logit_directions(unembed: Tensor, ln_weight: Tensor) -> Tensor:
    """The direction of the residual stream that raises each token's logit over the mean of all, `[d_vocab, d_model]`.

    Args:
        unembed: `[d_vocab, d_model]`.
        ln_weight: `[d_model]` of the LayerNorm before it.
    """
    weighted = unembed * ln_weight
    centred = weighted - weighted.mean(dim=-1, keepdim=True)  # what a LayerNorm takes off is the mean over d_model
    return centred - centred.mean(dim=0)


def logit_effects(writes: Tensor, directions: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    """What writes add to logits, each logit less the mean of all, `[..., n_directions]`.

    Args:
        writes: `[..., d_model]`.
        directions: `[n_directions, d_model]` of `logit_directions`.
        scale: What the LayerNorm divides by, `[..., 1]` or one number.

    >>> directions = logit_directions(torch.eye(2), torch.ones(2))
    >>> logit_effects(torch.tensor([2.0, 0.0]), directions)
    tensor([ 1., -1.])
    """
    return (writes / torch.as_tensor(scale)) @ directions.T
