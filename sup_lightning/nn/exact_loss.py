"""The expected loss of a bottleneck over the law of its features, as an objective: deterministic, no samples."""

from typing import Protocol

import torch
from torch import Tensor

from sup_lightning.errors import reject
from sup_lightning.functional.expected_loss import (
    UNIFORM,
    ExpectedLoss,
    Pieces,
    PiecewiseActivation,
    Target,
    bottleneck_expected_loss,
    independent_supports,
    sharpened,
)


class Bottleneck(Protocol):
    """What the objective needs of a network; `BottleneckModel` is one."""

    @property
    def W(self) -> Tensor:
        """`[n_instances, n_features, n_hidden]`."""

    @property
    def W_out(self) -> Tensor | None:
        """The same shape, or None if the readout is the transposed W."""

    @property
    def b(self) -> Tensor:
        """`[n_instances, n_features]`."""

    @property
    def activation(self) -> str | PiecewiseActivation:
        """A name that `expected_loss` knows, or an activation with its kinks."""


class ExactLoss:
    """Importance-weighted expected squared error of a bottleneck, for each instance.

    Args:
        supports: Which features fire together, `[n_supports, n_features]` bool.
        probability: Of each support, `[n_supports]` or `[n_instances, n_supports]`.
        pieces: Law of an active feature's value, (weight, low, high) of uniform pieces; uniform on [0, 1] if left out.
        importance: Weight of each output's error, broadcastable to `[n_instances, n_features]`.
        target: What output j is compared with: `identity` (x_j) or `abs` (|x_j|).
        tolerance: Absolute error aimed at.

    >>> from sup_lightning.nn import BottleneckModel
    >>> objective = ExactLoss.independent(torch.tensor([0.1, 0.1]))
    >>> net = BottleneckModel(n_features=2, seeds=[0, 1, 2], n_hidden=1)
    >>> objective(net).shape
    torch.Size([3])
    """

    def __init__(
        self,
        supports: Tensor,
        probability: Tensor,
        pieces: Pieces = UNIFORM,
        importance: Tensor | float = 1.0,
        target: Target = "identity",
        tolerance: float = 1e-8,
    ) -> None:
        self.supports = supports
        self.probability = probability
        self.pieces = pieces
        self.importance = importance
        self.target: Target = target
        self.tolerance = tolerance

    @classmethod
    def independent(
        cls,
        feature_probability: Tensor,
        pieces: Pieces = UNIFORM,
        importance: Tensor | float = 1.0,
        target: Target = "identity",
        tolerance: float = 1e-8,
    ) -> "ExactLoss":
        """The objective for features that fire independently, with p `[n_features]` or `[n_instances, n_features]`."""
        return cls(*independent_supports(feature_probability.double()), pieces, importance, target, tolerance)

    def __call__(self, net: Bottleneck) -> Tensor:
        """The loss of each instance, `[n_instances]`."""
        return self.details(net, estimate_error=False).loss

    def details(self, net: Bottleneck, estimate_error: bool = True) -> ExpectedLoss:
        """The loss of each instance, its parts by number of active features, and the estimated error."""
        hidden = getattr(net, "hidden_activation", "linear")
        if hidden != "linear":
            reject("hidden_activation", hidden, "linear for the exact loss")
        W = net.W
        importance = torch.as_tensor(self.importance, device=W.device).to(W.dtype)
        activation = net.activation
        if isinstance(activation, str):
            activation = sharpened(activation, getattr(net, "activation_scale", 1.0))
        return bottleneck_expected_loss(
            W,
            net.b,
            self.supports.to(W.device),
            self.probability.to(W.device),
            net.W_out,
            pieces=self.pieces,
            importance=importance,
            activation=activation,
            target=self.target,
            tolerance=self.tolerance,
            estimate_error=estimate_error,
        )
