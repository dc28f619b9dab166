"""What attention patterns look for: places so many tokens back, or what came before the present token.

Patterns are `[B, n_heads, T, T]`, query before key, rows adding up to 1. Scores are given for each row, so that rows
can be resampled.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Matches(NamedTuple):
    """Attention to keys whose token δ places before is the query's token, for some offsets δ.

    Attributes:
        attention: Mean over the queries that have such a key, `[B, n_heads, n_offsets]`; NaN for a row without one.
        uniform: The same of attention to all earlier places alike, `[B, n_offsets]`.
    """

    attention: Tensor
    uniform: Tensor

    @property
    def excess(self) -> Tensor:
        """Above uniform attention, mean over rows, `[n_heads, n_offsets]`."""
        return (self.attention - self.uniform.unsqueeze(1)).nanmean(dim=0)


def back_profile(pattern: Tensor, n_back: int) -> Tensor:
    """Attention to the token k places back, k = 0 to n_back, mean over the queries that have one.

    Args:
        pattern: `[B, n_heads, T, T]`.
        n_back: Farthest place, below T.

    Returns:
        `[B, n_heads, n_back + 1]`.

    >>> back_profile(torch.eye(3).expand(1, 1, 3, 3), 1)
    tensor([[[1., 0.]]])
    """
    means = [pattern.diagonal(-k, dim1=-2, dim2=-1).mean(dim=-1) for k in range(n_back + 1)]
    return torch.stack(means, dim=-1)


def match_scores(pattern: Tensor, tokens: Tensor, offsets: Sequence[int]) -> Matches:
    """How much attention goes to what came after, at or before earlier copies of the present token.

    At offset 1 this is the prefix-matching score (Olsson et al. 2022): attention to the tokens that followed earlier
    copies. Offset 0 is attention to earlier copies themselves; 2, to the next but one after them, which is as good for
    a head that reads the answer from what the token before wrote there.

    Args:
        pattern: `[B, n_heads, T, T]`.
        tokens: `[B, T]` int64.
        offsets: Each 0 or more.

    >>> tokens = torch.tensor([[3, 4, 3]])
    >>> looks_at_the_second = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 1, 0]]).expand(1, 1, 3, 3)
    >>> match_scores(looks_at_the_second, tokens, [0, 1])
    Matches(attention=tensor([[[0., 1.]]]), uniform=tensor([[0.3333, 0.3333]]))
    """
    n_tokens = tokens.shape[1]
    place = torch.arange(n_tokens, device=tokens.device)
    scores = []
    for offset in offsets:
        earlier = (place - offset).clamp(min=0)
        match = tokens.unsqueeze(2) == tokens[:, earlier].unsqueeze(1)  # [B, query, key]
        match &= (place >= offset) & (place <= place[:, None]) & (earlier < place[:, None])
        queries = match.any(dim=2)
        n = queries.sum(dim=1).to(pattern.dtype)
        uniform = (match.sum(dim=2) / (place + 1)).sum(dim=1) / n
        attention = (pattern * match.unsqueeze(1)).sum(dim=(2, 3)) / n.unsqueeze(1)
        scores.append((attention, uniform))
    attentions, uniforms = zip(*scores, strict=True)
    return Matches(torch.stack(attentions, dim=-1), torch.stack(uniforms, dim=-1))
