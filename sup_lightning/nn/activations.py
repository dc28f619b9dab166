"""Activation functions, under the names that TransformerLens gives them."""

import math
from collections.abc import Callable
from typing import Literal

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


def gelu_new(x: Tensor) -> Tensor:
    """GELU by its tanh formula (Hendrycks and Gimpel 2016): x Phi(x) to 5e-4.

    Compiled it is written with a sigmoid, the same function of one exponential: compiled tanh takes twice the time.
    """
    if not torch.compiler.is_compiling():
        return F.gelu(x, approximate="tanh")
    return x * torch.sigmoid(math.sqrt(8 / math.pi) * x * (1 + 0.044715 * x * x))


def linear(x: Tensor) -> Tensor:
    """No activation: the input itself."""
    return x


ACTIVATIONS: dict[str, Activation] = {
    "gelu": F.gelu,  # exact, with the error function
    "gelu_new": gelu_new,
    "relu": F.relu,
    "silu": F.silu,
    "solu": solu,
    "solu_ln": solu,  # the LayerNorm that follows has parameters, so it belongs to the MLP
}
"""Of transformer MLPs."""

ToyActivationName = Literal["relu", "linear", "gelu", "gelu_new", "silu", "softplus"]

TOY_ACTIVATIONS: dict[ToyActivationName, Activation] = {
    "relu": F.relu,
    "linear": linear,
    "gelu": F.gelu,
    "gelu_new": gelu_new,
    "silu": F.silu,
    "softplus": F.softplus,
}
"""Of toy networks: each acts on every number by itself."""


def get_activation(name: str) -> Activation:
    """The activation function called `name`; a `UserError` lists the known names."""
    if name not in ACTIVATIONS:
        reject("activation", name, ", ".join(ACTIVATIONS) + did_you_mean(name, ACTIVATIONS))
    return ACTIVATIONS[name]


def get_toy_activation(option: str, name: ToyActivationName) -> Activation:
    """The elementwise activation function called `name`; a `UserError` about `option` lists the known names."""
    if name not in TOY_ACTIVATIONS:
        reject(option, name, ", ".join(TOY_ACTIVATIONS) + did_you_mean(name, TOY_ACTIVATIONS))
    return TOY_ACTIVATIONS[name]


def has_mid_layernorm(name: str) -> bool:
    """Whether the activation is followed by a LayerNorm over the MLP's neurons."""
    return name.endswith("_ln")
