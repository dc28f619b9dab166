"""Running a wide layer for some rows at a time, and again in the backward pass, so that its inside is never held whole.

`torch.utils.checkpoint` part by part does the same, but its outputs, one small tensor for each part, lie between the
large ones that are freed: the C library's allocator then finds no gap that is large enough and grows by a part each
time. Here all that outlives a part is allocated before the first one.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Run = Callable[[Tensor], Tensor]


def run_in_parts(run: Run, rows: Tensor, n_held: int) -> Tensor:
    """`run(rows)` for at most `n_held` rows at a time; what it gives for a row must not depend on the others.

    Args:
        run: From `[n, d_in]` to `[n, d_out]`.
        rows: `[n_rows, d_in]`.
        n_held: Rows that are run at a time.

    >>> run_in_parts(lambda x: 2 * x, torch.arange(5.0)[:, None], 2).flatten()
    tensor([0., 2., 4., 6., 8.])
    """
    result, start = None, 0
    for part in rows.split(n_held):
        values = run(part)
        result = values.new_empty(len(rows), values.shape[1]) if result is None else result
        result[start : start + len(values)] = values
        start += len(values)
    assert result is not None
    return result


def in_parts(run: Run, weights: Callable[[], Sequence[Tensor]], x: Tensor, n_held: int) -> Tensor:
    """`run(x)` with its gradients, holding the inside of `run` for at most `n_held` rows at a time.

    Args:
        run: From `[n, d_in]` to `[n, d_out]`, row by row.
        weights: Gives the trained tensors that `run` uses, as they are in this pass; all of them get gradients.
        x: `[..., d_in]`.
        n_held: Rows that are run at a time.

    Returns:
        `[..., d_out]`.
    """
    rows = _InParts.apply(run, weights, n_held, x.flatten(0, -2), *weights())
    return cast(Tensor, rows).unflatten(0, x.shape[:-1])


class _InParts(torch.autograd.Function):
    """Keeps its input alone."""

    @staticmethod
    def forward(
        ctx: Any, run: Run, weights: Callable[[], Sequence[Tensor]], n_held: int, rows: Tensor, *inputs: Tensor
    ) -> Tensor:
        device = rows.device.type
        ctx.run, ctx.weights, ctx.n_held = run, weights, n_held
        ctx.autocast = {"dtype": torch.get_autocast_dtype(device), "enabled": torch.is_autocast_enabled(device)}
        ctx.save_for_backward(rows)
        return run_in_parts(run, rows, n_held)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (rows,) = ctx.saved_tensors
        weights = ctx.weights()
        of_rows = torch.empty_like(rows) if ctx.needs_input_grad[3] else None
        of_weights = [torch.zeros_like(weight) for weight in weights]
        start = 0
        for part, of_part in zip(rows.split(ctx.n_held), gradient.split(ctx.n_held), strict=True):
            leaf = part.detach().requires_grad_(of_rows is not None)
            with torch.enable_grad(), torch.autocast(rows.device.type, **ctx.autocast):
                result = ctx.run(leaf)
            wanted = [*weights, leaf] if of_rows is not None else weights
            found = torch.autograd.grad(result, wanted, of_part)
            del result
            for total, new in zip(of_weights, found, strict=False):
                total += new
            if of_rows is not None:
                of_rows[start : start + len(part)] = found[-1]
            start += len(part)
        return None, None, None, of_rows, *of_weights
