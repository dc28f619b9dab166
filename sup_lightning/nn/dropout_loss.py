"""The expected loss of a bottleneck under dropout as an objective: all masks, no samples."""

from typing import Any

from torch import Tensor

from sup_lightning.errors import reject
from sup_lightning.functional.dropout import dropout_expected_loss
from sup_lightning.functional.expected_loss import ExpectedLoss
from sup_lightning.nn.exact_loss import Bottleneck, ExactLoss


class DropoutLoss(ExactLoss):
    """`ExactLoss` with inverted dropout on the hidden layer.

    Args:
        rate: q of each instance, `[n_instances]`, or of all.
        args: Arguments of `ExactLoss`.
        kwargs: Arguments of `ExactLoss`.

    >>> import torch
    >>> from sup_lightning.functional.expected_loss import independent_supports
    >>> from sup_lightning.nn import BottleneckModel
    >>> net = BottleneckModel(n_features=2, seeds=[0, 1, 2], n_hidden=2)
    >>> DropoutLoss(torch.tensor(0.2), *independent_supports(torch.tensor([0.1, 0.1])))(net).shape
    torch.Size([3])
    """

    def __init__(self, rate: Tensor, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rate = rate

    def details(self, net: Bottleneck, estimate_error: bool = True) -> ExpectedLoss:
        hidden = getattr(net, "hidden_activation", "linear")
        if hidden != "linear":
            reject("hidden_activation", hidden, "linear for the exact loss")
        return dropout_expected_loss(
            net.W,
            net.b,
            self.rate.to(net.W).expand(len(net.W)),
            self.supports,
            self.probability,
            net.W_out,
            self.importance,
            pieces=self.pieces,
            activation=net.activation,
            target=self.target,
            tolerance=self.tolerance,
            estimate_error=estimate_error,
        )
