"""The path of a code as one feature grows from nothing: straight and even if features are directions."""

from collections.abc import Callable

import torch
from torch import Tensor


def code_paths(encode: Callable[[Tensor], Tensor], n_features: int, n_steps: int = 101) -> Tensor:
    """The codes z(t e_i) of each feature alone, `[..., n_features, n_steps, n_hidden]`, for t from 0 to 1.

    Args:
        encode: From features `[rows, n_features]` to codes `[..., rows, n_hidden]`.
        n_features: Number of features.
        n_steps: Values of t, evenly spread.
    """
    t = torch.linspace(0, 1, n_steps)
    rows = torch.eye(n_features).unsqueeze(1) * t.view(1, -1, 1)
    return encode(rows.flatten(0, 1)).unflatten(-2, (n_features, n_steps))


def path_nonlinearity(path: Tensor) -> Tensor:
    """Share of a path's motion that is not "t times a direction", `[...]` in [0, 1]; 0 for a linear code.

    The path less its start is compared with t d, for the direction d that fits best: the sum of squares that is left,
    over that of the path. A line that jumps at its start and then goes on evenly has up to 1/4, one that goes up and
    back down 7/16. NaN where nothing moves.

    Args:
        path: `[..., n_steps, n_hidden]`, for t evenly spread from 0 to 1.

    >>> t = torch.linspace(0, 1, 1001).unsqueeze(1)
    >>> paths = torch.stack([t, t.square(), 1 - (2 * t - 1).abs()])
    >>> path_nonlinearity(paths).round(decimals=2).abs()
    tensor([0.0000, 0.0600, 0.4400])
    """
    moved = (path - path[..., :1, :]).double()
    t = torch.linspace(0, 1, path.shape[-2], dtype=torch.float64, device=path.device).unsqueeze(-1)
    direction = (t * moved).sum(dim=-2, keepdim=True) / t.square().sum()
    left = (moved - t * direction).square().sum(dim=(-2, -1))
    return (left / moved.square().sum(dim=(-2, -1))).to(path.dtype)


def path_turning(path: Tensor) -> Tensor:
    """By how much a path turns from its start to its end, `[...]` radians; each reversal on a line counts as pi.

    Steps shorter than a millionth of the path are left out, as they have no direction.

    Args:
        path: `[..., n_steps, n_hidden]`.

    >>> angle = torch.linspace(0, torch.pi, 200)
    >>> path_turning(torch.stack([angle.cos(), angle.sin()], dim=1))
    tensor(3.1258)
    """
    steps = path.double().diff(dim=-2)
    lengths = steps.norm(dim=-1)
    moves = lengths > 1e-6 * lengths.sum(dim=-1, keepdim=True)
    turned = torch.zeros_like(lengths[..., 0])
    before, known = steps[..., 0, :], moves[..., 0]
    for step, move in zip(steps.unbind(-2)[1:], moves.unbind(-1)[1:], strict=True):
        unit, last = (torch.nn.functional.normalize(each, dim=-1) for each in (step, before))
        # Half-chord form: exact for small angles, where the arc cosine is not.
        angle = 2 * torch.atan2((unit - last).norm(dim=-1), (unit + last).norm(dim=-1))
        turned = turned + torch.where(move & known, angle, 0.0)
        before, known = torch.where(move.unsqueeze(-1), step, before), known | move
    return turned.to(path.dtype)
