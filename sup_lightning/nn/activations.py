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

ToyActivationName = Literal["relu", "linear", "gelu", "gelu_new", "silu", "softplus", "sigmoid", "softshrink"]

TOY_ACTIVATIONS: dict[ToyActivationName, Activation] = {
    "relu": F.relu,
    "linear": linear,
    "gelu": F.gelu,
    "gelu_new": gelu_new,
    "silu": F.silu,
    "softplus": F.softplus,
    "sigmoid": torch.sigmoid,
    "softshrink": F.softshrink,  # 0 up to 1/2 on either side, then linear: a step of sparse coding
}
"""Of toy networks: each acts on every number by itself."""

HOMOGENEOUS = ("relu", "linear")
"""Those with f(c x) = c f(x) for c > 0."""

SMOOTH_ACTIVATIONS = tuple(name for name in TOY_ACTIVATIONS if name not in (*HOMOGENEOUS, "softshrink"))
"""Those without a kink."""


def get_activation(name: str) -> Activation:
    """The activation function called `name`; a `UserError` lists the known names."""
    if name not in ACTIVATIONS:
        reject("activation", name, ", ".join(ACTIVATIONS) + did_you_mean(name, ACTIVATIONS))
    return ACTIVATIONS[name]


def get_toy_activation(option: str, name: ToyActivationName, scale: float = 1.0) -> Activation:
    """The elementwise activation function f called `name`, as f(scale · x) / scale.

    The larger the scale, the sharper the bend at 0: GELU, SiLU and softplus become ReLU as it grows. ReLU and linear
    are the same at every scale. (A number beside the name, not part of it: it can be swept, and checked, as a number.)

    Args:
        option: What an error is about.
        name: Of the function.
        scale: Sharpness.

    Raises:
        UserError: If there is no such function (it lists the known names), or the scale is not a positive number.

    >>> f = get_toy_activation("activation", "gelu", scale=100.0)
    >>> f(torch.tensor([-1.0, 0.0, 0.5])).abs()
    tensor([0.0000, 0.0000, 0.5000])
    """
    if name not in TOY_ACTIVATIONS:
        reject(option, name, ", ".join(TOY_ACTIVATIONS) + did_you_mean(name, TOY_ACTIVATIONS))
    if not 0 < scale < math.inf:
        reject("activation_scale", scale, "a positive number")
    function = TOY_ACTIVATIONS[name]
    if scale == 1 or name in HOMOGENEOUS:
        return function
    return lambda x: function(scale * x) / scale


def has_mid_layernorm(name: str) -> bool:
    """Whether the activation is followed by a LayerNorm over the MLP's neurons."""
    return name.endswith("_ln")
