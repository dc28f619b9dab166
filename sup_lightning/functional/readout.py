"""What can be read from a layer, and how many functions a network computes. Rows are `[..., batch, n]`.

Leading axes are instances; each has its own readout.
"""

from collections.abc import Callable

import torch
from torch import Tensor

RECOVERED = 0.9
"""Share of a function's variance from which on it counts as computed."""


def explained_variance(output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """R² of each output: 1 less the squared error over the variance of the target, `[..., n_outputs]`.

    NaN where the target does not vary.

    Args:
        output: `[..., batch, n_outputs]`.
        target: Broadcastable to the same.
        weight: Of each row, or of each row and output, `[..., batch, 1 or n_outputs]`; equal if left out.

    >>> target = torch.tensor([[0.0, 1.0], [2.0, 1.0]])
    >>> explained_variance(torch.tensor([[0.0, 1.0], [1.0, 1.0]]), target)
    tensor([0.5000,    nan])
    """
    if weight is None:
        variance = target.var(dim=-2, correction=0)
        left = (output - target).square().mean(dim=-2)
    else:
        weight = weight / weight.sum(dim=-2, keepdim=True)
        mean = (weight * target).sum(dim=-2, keepdim=True)
        variance = (weight * (target - mean).square()).sum(dim=-2)
        left = (weight * (output - target).square()).sum(dim=-2)
    return torch.where(variance > 0, 1 - left / variance, torch.nan)


def fit_readout(
    hidden: Tensor, target: Tensor, weight: Tensor | None = None, ridge: float = 1e-6
) -> tuple[Tensor, Tensor]:
    """The affine readout with the least squared error, by ridge regression in float64.

    Args:
        hidden: `[..., batch, n_hidden]`.
        target: Broadcastable to `[..., batch, n_outputs]`.
        weight: Of each row, `[batch]`; equal if left out.
        ridge: Penalty on the weights, in units of the mean variance of the hidden layer.

    Returns:
        Weights `[..., n_hidden, n_outputs]` and bias `[..., n_outputs]`, so that the fit is `hidden @ weights + bias`.

    >>> x = torch.tensor([[0.0], [1.0], [2.0]])
    >>> weights, bias = fit_readout(x, 3 * x - 1)
    >>> round(weights.item(), 3), round(bias.item(), 3)
    (3.0, -1.0)
    """
    hidden, target = hidden.double(), target.double()
    share = torch.ones(hidden.shape[-2], 1).to(hidden) if weight is None else weight.to(hidden).unsqueeze(-1)
    share = share / share.sum()
    centre, mean = (share * hidden).sum(dim=-2, keepdim=True), (share * target).sum(dim=-2, keepdim=True)
    moved = hidden - centre
    gram = (share * moved).mT @ moved
    size = gram.diagonal(dim1=-2, dim2=-1).mean(dim=-1)[..., None, None]
    # A layer of which nothing fires has no variance: then the weights are 0 and the mean is all that is left.
    penalty = ridge * torch.where(size > 0, size, 1.0)
    eye = torch.eye(hidden.shape[-1], dtype=torch.float64, device=hidden.device)
    weights = torch.linalg.solve(gram + penalty * eye, (share * moved).mT @ (target - mean))
    return weights, (mean - centre @ weights).squeeze(-2)


def train_readout(
    hidden: Tensor,
    target: Tensor,
    activation: Callable[[Tensor], Tensor],
    weight: Tensor | None = None,
    n_steps: int = 150,
    lr: float = 0.1,
) -> tuple[Tensor, Tensor]:
    """A readout activation(hidden @ weights + bias), trained on the squared error by Adam; the layer itself is fixed.

    What a network reaches that does not train its hidden layer. The problem is not convex: this is a good readout, not
    the best.

    Args:
        hidden: `[..., batch, n_hidden]`.
        target: `[batch, n_outputs]`.
        activation: Of the outputs.
        weight: Of each row, `[batch]`; equal if left out.
        n_steps: Steps on all rows, the rate falling to 0 along a half cosine.
        lr: Learning rate, for a hidden layer that is scaled to unit variance.

    Returns:
        As `fit_readout`, which is where it starts.
    """
    share = torch.ones(len(target), 1) if weight is None else weight.unsqueeze(-1)
    share = (share / share.sum()).to(hidden)
    size = hidden.std(dim=-2, keepdim=True).clamp_min(1e-6)
    scaled = hidden / size
    with torch.enable_grad():
        weights, bias = (each.to(hidden).requires_grad_() for each in fit_readout(scaled, target, weight))
        optimizer = torch.optim.Adam([weights, bias], lr=lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
        for _ in range(n_steps):
            optimizer.zero_grad()
            output = activation(scaled @ weights + bias.unsqueeze(-2))
            (share * (output - target).square()).sum().backward()
            optimizer.step()
            schedule.step()
    return (weights / size.mT).detach(), bias.detach()


def kinked_features(rows: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Random ReLU neurons whose kinks lie where the data are: the hidden layer of a random-feature model.

    Neuron k has random weights and starts to fire at row k, so no neuron is dead or linear on all rows.

    Args:
        rows: `[n_hidden, n_features]`, one row of the data for each neuron.
        directions: `[..., n_features, n_hidden]`, random.

    Returns:
        The weights `[..., n_features, n_hidden]` and biases `[..., n_hidden]`.
    """
    return directions, -torch.einsum("kf,...fk->...k", rows, directions)
