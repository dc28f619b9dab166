"""The bottleneck's loss with its gradient in closed form.

A toy step is a few microseconds of arithmetic, so autograd's bookkeeping and its extra passes over the batch would be
most of its time. Here forward also computes the gradient, with the batch as the innermost axis of every matrix product
(products with 2 or 5 columns waste the vector units; with 1,024 they do not), and backward only scales it.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class BottleneckLoss(torch.autograd.Function):
    """Weighted squared error of f(W_out W x + b), for each instance, `[n_instances]`.

    Arguments of `apply`: features and target `[n_instances, batch, n_features]` (fastest if they are transposed views
    of `[n_instances, n_features, batch]`), W and W_out `[n_instances, n_features, n_hidden]` (W_out is None if tied),
    b and importance `[n_instances, n_features]`, keep `[n_instances, batch, n_hidden]` or None, and whether f is ReLU
    (else the identity). Gradients go to W, W_out and b.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        features: Tensor,
        target: Tensor,
        W: Tensor,
        W_out: Tensor | None,
        b: Tensor,
        importance: Tensor,
        keep: Tensor | None,
        relu: bool,
    ) -> Tensor:
        x, y = features.mT, target.mT  # [n_instances, n_features, batch]
        readout = W if W_out is None else W_out
        hidden = torch.bmm(W.mT, x)
        if keep is not None:
            hidden *= keep.mT
        output = torch.baddbmm(b.unsqueeze(2), readout, hidden)
        if relu:
            output = output.relu_()
        error = output - y
        per_feature = torch.linalg.vector_norm(error, dim=2).square_()
        loss = (per_feature * importance).sum(1) / x.shape[2]

        # dL/d(pre-activation), up to the factor 2 · importance / batch, which is constant along a row.
        slope = error
        if relu:  # in place: for a wide batch a new tensor costs more than the arithmetic
            torch.ops.aten.threshold_backward.grad_input(error, output, 0, grad_input=slope)
        factor = importance * (2 / x.shape[2])
        scaled_readout = readout * factor.unsqueeze(2)
        grad_hidden = torch.bmm(scaled_readout.mT, slope)
        if keep is not None:
            grad_hidden *= keep.mT
        grad_W = torch.bmm(x, grad_hidden.mT)
        grad_readout = torch.bmm(slope, hidden.mT).mul_(factor.unsqueeze(2))
        grad_b = slope.sum(2).mul_(factor)
        if W_out is None:
            ctx.save_for_backward(grad_W.add_(grad_readout), grad_b)
        else:
            ctx.save_for_backward(grad_W, grad_b, grad_readout)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        grad_W, grad_b, *grad_readout = ctx.saved_tensors
        scale = grad_output[:, None]
        readout = grad_readout[0] * scale[..., None] if grad_readout else None
        return None, None, grad_W * scale[..., None], readout, grad_b * scale, None, None, None
