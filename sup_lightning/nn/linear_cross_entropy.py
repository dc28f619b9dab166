"""Cross-entropy of an unembedding, without ever holding all logits.

At a vocabulary of 50,000 the logits of a batch take more memory than everything else, and most of the time of a small
model goes into them. Here they are made a few rows at a time, while they are in the cache, and their gradient is taken
at once: no logit is kept for the backward pass, and none is made twice.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

CPU_LOGITS, DEVICE_LOGITS = 2**21, 2**27
"""Most logits held at once: 8 MB in float32 on a CPU, whose cache they should fit, and 512 MB elsewhere."""


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of `hidden @ weight.T`, in nats; the same as `F.cross_entropy` to rounding.

    Products are taken in the dtype of autocast where that is on, and the softmax in float32 or wider.

    Args:
        hidden: `[n_tokens, d_model]`.
        weight: The unembedding, `[d_vocab, d_model]`.
        targets: `[n_tokens]` int64.

    Returns:
        A scalar in float32 or wider.
    """
    return _MeanLoss.apply(hidden, weight, targets)  # type: ignore[no-untyped-call]


@torch.no_grad()
def token_losses(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each target in nats, `[n_tokens]` float32 or wider; without a gradient. Arguments as above."""
    parts = [
        F.cross_entropy(_wide(F.linear(h, weight)), t, reduction="none")
        for h, t in zip(*(each.split(_rows(hidden, weight)) for each in (hidden, targets)), strict=True)
    ]
    return torch.cat(parts)


class _MeanLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        device = hidden.device.type
        low = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        h_low, w_low = hidden.to(low), weight.to(low)
        of_hidden = torch.empty_like(hidden) if hidden.requires_grad else None
        of_weight = torch.zeros_like(weight) if weight.requires_grad else None
        total = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
        with torch.autocast(device, enabled=False):
            start = 0
            for h, t in zip(*(each.split(_rows(hidden, weight)) for each in (h_low, targets)), strict=True):
                logits, chosen = _wide(h @ w_low.T), t.unsqueeze(1)
                probability = torch.softmax(logits, dim=-1)
                # The largest probability does not underflow, as that of the target may.
                normaliser = logits.amax(dim=1) - probability.amax(dim=1).log()
                total += (normaliser - logits.gather(1, chosen).squeeze(1)).sum()
                probability.scatter_add_(1, chosen, probability.new_full((len(t), 1), -1.0))
                gradient = probability.to(low)
                if of_hidden is not None:
                    of_hidden[start : start + len(t)] = gradient @ w_low
                if of_weight is not None:
                    _add_product(of_weight, gradient.T, h)
                start += len(t)
        ctx.save_for_backward(of_hidden, of_weight)
        ctx.n_tokens = len(targets)
        return total / len(targets)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *of_mean: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        factor = of_mean[0] / ctx.n_tokens
        of_hidden, of_weight = (None if each is None else each * factor for each in ctx.saved_tensors)
        return of_hidden, of_weight, None


def _wide(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _rows(hidden: Tensor, weight: Tensor) -> int:
    """Rows whose logits may be held at once."""
    return max(1, logits_held(hidden.device.type) // len(weight))


def logits_held(device: str) -> int:
    """Most logits that are held at once on a type of device."""
    return CPU_LOGITS if device == "cpu" else DEVICE_LOGITS


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """`total += a @ b`, in the dtype of total also where the factors have a lower one."""
    if a.dtype == total.dtype:
        total.addmm_(a, b)
    else:
        total += (a @ b).to(total.dtype)
