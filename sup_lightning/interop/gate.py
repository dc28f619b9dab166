"""The check that a TransformerLens model says what ours says."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sup_lightning.errors import UserError
from sup_lightning.interop.evaluation import evaluating
from sup_lightning.nn.transformer import Transformer

LARGEST_ERROR = 2e-4
"""In log-probability; float32 sums in another order differ by some 1e-5, a wrong epsilon or activation by 1e-3."""


def bridge_error(net: Transformer, bridge: Callable[[Tensor], Any], tokens: Tensor) -> float:
    """The largest difference between the log-probabilities of two models, taken in float32.

    Args:
        net: Our model.
        bridge: A `TransformerBridge`, or anything else that maps tokens to logits `[B, T, d_vocab]`.
        tokens: `[B, T]` int64.
    """
    with evaluating(net):
        ours, theirs = (torch.log_softmax(model(tokens).float(), dim=-1) for model in (net, bridge))
    return (ours - theirs).abs().max().item()


def check_bridge(net: Transformer, bridge: Callable[[Tensor], Any], tokens: Tensor) -> float:
    """The `bridge_error`, which has to be below 2e-4.

    Raises:
        UserError: If it is not, or is not a number.
    """
    error = bridge_error(net, bridge, tokens)
    if not error < LARGEST_ERROR:
        raise UserError(
            f"log-probabilities in TransformerLens differ by {error:.2g} from the model's; allowed: below "
            f"{LARGEST_ERROR:g}"
        )
    return error
