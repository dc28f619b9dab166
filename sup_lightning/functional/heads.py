"""Which attention head does what: ablation effects, and over how many heads or tasks they spread."""

from collections.abc import Callable

import torch
from torch import Tensor


def ablation_effects(outputs: Tensor, replaced: Tensor, readout: Callable[[Tensor], Tensor]) -> Tensor:
    """How far the output moves when one head is replaced by what it writes elsewhere, `[..., n_heads]`.

    The squared distance between the output and that with one head patched: it is 0 for a head that does nothing, and
    never negative, so that effects can be compared as shares. (Patching with the head's own output on an input without
    the cause measures what the cause did through it; zero ablation would count its constant part as well.)

    Args:
        outputs: What each head adds, `[..., n_heads, n_outputs]`.
        replaced: The same on the other input.
        readout: From sums over heads `[..., n_outputs]` to outputs.

    >>> outputs = torch.tensor([[1.0, 0.0], [0.0, -2.0]])
    >>> ablation_effects(outputs, torch.zeros(2, 2), torch.relu)  # the second head writes where the ReLU is off
    tensor([1., 0.])
    """
    total = outputs.sum(dim=-2, keepdim=True)
    patched = total - outputs + replaced
    return (readout(patched.movedim(-2, 0)) - readout(total.squeeze(-2))).square().sum(dim=-1).movedim(0, -1)


def effective_number(shares: Tensor, dim: int = -1) -> Tensor:
    """exp(entropy) of non-negative numbers as shares: how many of them matter; NaN if all are 0.

    Args:
        shares: Non-negative; they need not add up to 1.
        dim: Along which they are compared.

    >>> effective_number(torch.tensor([[1.0, 1.0, 1.0, 1.0], [5.0, 0.0, 0.0, 0.0]]))
    tensor([4., 1.])
    """
    share = shares / shares.sum(dim=dim, keepdim=True)
    return torch.special.entr(share).sum(dim=dim).exp()


def squared_writes(written: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What heads write to right outputs, and to wrong ones above and below 0: sums of squares, `[...]` each.

    Args:
        written: What a cause adds to the output before the non-linearity, `[..., n_outputs]`.
        target: 0 at the wrong outputs, the same shape.

    >>> squared_writes(torch.tensor([2.0, 1.0, -3.0]), torch.tensor([1.0, 0.0, 0.0]))
    (tensor(4.), tensor(1.), tensor(9.))
    """
    right, wrong = (written.where(mask, 0.0) for mask in (target != 0, target == 0))
    return tuple(part.square().sum(dim=-1) for part in (right, wrong.relu(), (-wrong).relu()))  # type: ignore[return-value]
