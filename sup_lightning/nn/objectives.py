"""What training minimises: a loss of outputs against targets, for each row of each instance.

Tensors are `[n_instances, batch, n_outputs]`; an objective gives `[n_instances, batch]`, and the loss of an instance is
the mean over its rows. It also says what the outputs estimate (`prediction`), which is what can be compared with the
targets whatever the objective.
"""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from sup_lightning.errors import reject


class Objective(ABC):
    """A loss of each row."""

    @abstractmethod
    def row_losses(self, output: Tensor, target: Tensor, importance: Tensor) -> Tensor:
        """The loss of each row, `[n_instances, batch]`.

        Args:
            output: `[n_instances, batch, n_outputs]`.
            target: The same shape.
            importance: Weight of each output, `[n_instances, n_outputs]`.
        """

    def prediction(self, output: Tensor) -> Tensor:
        """The estimate of the targets that the outputs stand for, in their shape."""
        return output


class SquaredError(Objective):
    """Importance-weighted sum of squared errors, as in the paper."""

    def row_losses(self, output: Tensor, target: Tensor, importance: Tensor) -> Tensor:
        return _weighted_sum((output - target).square(), importance)


class PowerError(Objective):
    """Importance-weighted sum of a power of the absolute error; a high power punishes outliers.

    Args:
        exponent: The power, at least 1; 4 is the usual one above the square.
    """

    def __init__(self, exponent: float = 4.0) -> None:
        if not exponent >= 1:
            reject("exponent", exponent, "a number ≥ 1")
        self.exponent = exponent

    def row_losses(self, output: Tensor, target: Tensor, importance: Tensor) -> Tensor:
        return _weighted_sum((output - target).abs().pow(self.exponent), importance)


class CrossEntropy(Objective):
    """Cross-entropy in nats; outputs are logits over classes, targets probabilities of classes that add up to 1.

    Importance multiplies the term of each class.
    """

    def row_losses(self, output: Tensor, target: Tensor, importance: Tensor) -> Tensor:
        return _weighted_sum(-target * output.log_softmax(dim=-1), importance)

    def prediction(self, output: Tensor) -> Tensor:
        return output.softmax(dim=-1)


class BinaryCrossEntropy(Objective):
    """Importance-weighted sum of binary cross-entropies in nats; outputs are logits, targets lie in [0, 1]."""

    def row_losses(self, output: Tensor, target: Tensor, importance: Tensor) -> Tensor:
        return _weighted_sum(F.binary_cross_entropy_with_logits(output, target, reduction="none"), importance)

    def prediction(self, output: Tensor) -> Tensor:
        return torch.sigmoid(output)


def _weighted_sum(values: Tensor, importance: Tensor) -> Tensor:
    return (values * importance.unsqueeze(-2)).sum(dim=-1)
