"""The loss of a two-layer toy network with its gradient in closed form.

A toy step is a few microseconds of arithmetic, so autograd's bookkeeping and its extra passes over the batch would be
most of its time. Here forward also computes the gradient, with the batch as the innermost axis of every matrix product
(products with 2 or 5 columns waste the vector units; with 1,024 they do not), and backward only scales it. Thousands of
instances are done a few at a time, so that what lies between the passes stays in the processor's cache.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = 2**16
"""Numbers in the largest tensor of a block of instances on a CPU: 256 KiB in float32, of which a core's cache holds the
several that a step needs."""

FEWEST = 8
"""Instances in a block at least; below, the blocks themselves would cost."""


class TwoLayerLoss(torch.autograd.Function):
    """Weighted squared error of g(W_out f(W_in x + b_in) + b), for each instance, `[n_instances]`.

    f and g are ReLU or the identity. Gradients go to W_in, W_out, b and b_in.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        features: Tensor,
        target: Tensor,
        W_in: Tensor,
        W_out: Tensor | None,
        b: Tensor,
        b_in: Tensor | None,
        importance: Tensor,
        keep: Tensor | None,
        relu: bool,
        hidden_relu: bool,
    ) -> Tensor:
        """The loss of each instance.

        Args:
            ctx: Holds the gradients.
            features: `[n_instances, batch, n_features]`; fastest as a transposed view of `[..., n_features, batch]`.
            target: `[n_instances, batch, n_outputs]`, the same.
            W_in: `[n_instances, n_features, n_hidden]`.
            W_out: `[n_instances, n_outputs, n_hidden]`; None if tied to W_in.
            b: `[n_instances, n_outputs]`.
            b_in: `[n_instances, n_hidden]` or None.
            importance: `[n_instances, n_outputs]`.
            keep: `[n_instances, batch, n_hidden]` factors on the hidden layer, or None.
            relu: Whether g is ReLU.
            hidden_relu: Whether f is ReLU.
        """
        keep_rows = None if keep is None else keep.mT
        given = (features.mT, target.mT, W_in, W_out, b, b_in, importance, keep_rows, relu, hidden_relu)
        n_blocks = _n_blocks(features, target, W_in)
        if n_blocks == 1:
            loss, *gradients = _loss_and_gradients(*given)
        else:
            parts = [each.tensor_split(n_blocks) if isinstance(each, Tensor) else [each] * n_blocks for each in given]
            blocks = [_loss_and_gradients(*block) for block in zip(*parts, strict=True)]
            loss, *gradients = (_concatenate(each) for each in zip(*blocks, strict=True))
        ctx.save_for_backward(*gradients)
        assert loss is not None
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        scaled = [
            None if gradient is None else gradient * grad_output.view(-1, *[1] * (gradient.ndim - 1))
            for gradient in ctx.saved_tensors
        ]
        return None, None, *scaled, None, None, None, None


def _n_blocks(features: Tensor, target: Tensor, W_in: Tensor) -> int:
    if features.device.type != "cpu":
        return 1
    size = features.shape[1] * max(features.shape[2], target.shape[2], W_in.shape[2])
    return -(-len(features) // max(FEWEST, BLOCK // size))


def _concatenate(parts: tuple[Tensor | None, ...]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return torch.cat(present) if present else None


def _loss_and_gradients(
    x: Tensor,
    y: Tensor,
    W_in: Tensor,
    W_out: Tensor | None,
    b: Tensor,
    b_in: Tensor | None,
    importance: Tensor,
    keep: Tensor | None,
    relu: bool,
    hidden_relu: bool,
) -> tuple[Tensor | None, ...]:
    """The loss, and its gradient by W_in, W_out, b and b_in (None where there is no such parameter)."""
    readout = W_in if W_out is None else W_out
    hidden = torch.bmm(W_in.mT, x) if b_in is None else torch.baddbmm(b_in.unsqueeze(2), W_in.mT, x)
    if hidden_relu:
        hidden = hidden.relu_()
    if keep is not None:
        hidden *= keep
    output = torch.baddbmm(b.unsqueeze(2), readout, hidden)
    if relu:
        output = output.relu_()
    error = output - y
    per_output = torch.linalg.vector_norm(error, dim=2).square_()
    loss = (per_output * importance).sum(1) / x.shape[2]

    # dL/d(pre-activation), up to the factor 2 · importance / batch, which is constant along a row.
    slope = error
    if relu:  # in place: for a wide batch a new tensor costs more than the arithmetic
        torch.ops.aten.threshold_backward.grad_input(error, output, 0, grad_input=slope)
    factor = importance * (2 / x.shape[2])
    grad_hidden = torch.bmm((readout * factor.unsqueeze(2)).mT, slope)
    if keep is not None:
        grad_hidden *= keep
    if hidden_relu:  # where keep is 0 the gradient is 0 already
        torch.ops.aten.threshold_backward.grad_input(grad_hidden, hidden, 0, grad_input=grad_hidden)
    grad_W_in = torch.bmm(x, grad_hidden.mT)
    grad_b_in = None if b_in is None else grad_hidden.sum(2)
    grad_readout = torch.bmm(slope, hidden.mT).mul_(factor.unsqueeze(2))
    grad_b = slope.sum(2).mul_(factor)
    if W_out is None:
        return loss, grad_W_in.add_(grad_readout), None, grad_b, grad_b_in
    return loss, grad_W_in, grad_readout, grad_b, grad_b_in
