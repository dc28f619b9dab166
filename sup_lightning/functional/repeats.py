"""What a sequence has shown before."""

from torch import Tensor


def repeated_pairs(tokens: Tensor, targets: Tensor) -> Tensor:
    """Which targets an induction head can copy: the token was followed by the same target before, `[B, T]` bool.

    Args:
        tokens: `[B, T]` int64.
        targets: `[B, T]` int64, the token that follows each.

    >>> import torch
    >>> row = torch.tensor([[5, 7, 5, 7, 5, 9]])
    >>> repeated_pairs(row[:, :-1], row[:, 1:]).int()
    tensor([[0, 0, 1, 1, 0]], dtype=torch.int32)
    """
    same = (tokens.unsqueeze(2) == tokens.unsqueeze(1)) & (targets.unsqueeze(2) == targets.unsqueeze(1))
    return same.tril(-1).any(dim=2)
