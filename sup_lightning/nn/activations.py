"""Activation functions of transformer MLPs, under the names that TransformerLens gives them."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from sup_lightning.errors import did_you_mean, reject

Activation = Callable[[Tensor], Tensor]


def solu(x: Tensor) -> Tensor:
    """Softmax linear unit x · softmax(x) over the last dimension (Elhage et al. 2022, "Softmax Linear Units").

    The softmax is taken in float32 or wider: in bfloat16 a layer of thousands of neurons would lose its small ones.

    >>> solu(torch.zeros(4)), round(solu(torch.tensor([1.0, 1.0])).sum().item(), 6)
    (tensor([0., 0., 0., 0.]), 1.0)
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    return x * torch.softmax(x, dim=-1, dtype=wide).to(x.dtype)


ACTIVATIONS: dict[str, Activation] = {
    "gelu": F.gelu,  # exact, with the error function
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "solu": solu,
    "solu_ln": solu,  # the LayerNorm that follows has parameters, so it belongs to the MLP
}


def get_activation(name: str) -> Activation:
    """The activation function called `name`; a `UserError` lists the known names."""
    if name not in ACTIVATIONS:
        reject("activation", name, ", ".join(ACTIVATIONS) + did_you_mean(name, ACTIVATIONS))
    return ACTIVATIONS[name]


def has_mid_layernorm(name: str) -> bool:
    """Whether the activation is followed by a LayerNorm over the MLP's neurons."""
    return name.endswith("_ln")
