"""Dropout on a hidden layer, exactly: the expected loss over all masks instead of a sample of them."""

from typing import Any

import torch
from torch import Tensor

from sup_lightning.errors import reject
from sup_lightning.functional.expected_loss import ExpectedLoss, expected_loss

MAX_HIDDEN = 8
"""Most hidden dimensions: 256 masks."""


def dropout_masks(n_hidden: int, rate: Tensor) -> tuple[Tensor, Tensor]:
    """Every mask of inverted dropout with its probability.

    Args:
        n_hidden: Dimensions of the hidden layer, each kept with probability 1 - rate.
        rate: q in [0, 1), `[...]`.

    Returns:
        Factors on the hidden layer, 0 or 1 / (1 - q), `[..., 2^n_hidden, n_hidden]`, and `[..., 2^n_hidden]`.

    >>> factors, probability = dropout_masks(1, torch.tensor(0.2))
    >>> factors.flatten(), probability
    (tensor([0.0000, 1.2500]), tensor([0.2000, 0.8000]))
    """
    if n_hidden > MAX_HIDDEN:
        reject("n_hidden", n_hidden, f"at most {MAX_HIDDEN} to enumerate the masks of dropout")
    if not bool(((rate >= 0) & (rate < 1)).all()):
        reject("rate", rate.tolist(), "numbers in [0, 1)")
    codes = torch.arange(2**n_hidden, device=rate.device)
    kept = (codes[:, None] >> torch.arange(n_hidden, device=rate.device)) % 2 == 1  # [2^n_hidden, n_hidden]
    q = rate[..., None, None]
    factors = torch.where(kept, 1 / (1 - q), 0.0)
    return factors, torch.where(kept, 1 - q, q).prod(dim=-1)


def dropout_expected_loss(
    W: Tensor,
    b: Tensor,
    rate: Tensor,
    supports: Tensor,
    probability: Tensor,
    W_out: Tensor | None = None,
    importance: Tensor | float = 1.0,
    **settings: Any,
) -> ExpectedLoss:
    """`expected_loss` of the bottleneck x' = f(W_out (mask * W^T x) + b), averaged over the masks of inverted dropout.

    Args:
        W: Feature directions `[..., n_features, n_hidden]`.
        b: `[..., n_features]`.
        rate: q, `[...]`.
        supports: As in `expected_loss`.
        probability: As in `expected_loss`.
        W_out: `[..., n_features, n_hidden]`; W if left out.
        importance: I, broadcastable to `[..., n_features]`.
        settings: Other arguments of `expected_loss`.

    One feature on one neuron, always active: with probability q nothing arrives, E x² = 1/3 (here its double):

    >>> law = torch.tensor([[True]]), torch.ones(1)
    >>> rate = torch.tensor(0.5)
    >>> dropout_expected_loss(torch.tensor([[0.5**0.5]]), torch.zeros(1), rate, *law).loss * 2
    tensor(0.3333)
    """
    factors, chance = dropout_masks(W.shape[-1], rate.to(W))
    read = (W if W_out is None else W_out).unsqueeze(-3) * factors.unsqueeze(-2)  # [..., n_masks, n_features, n_hidden]
    weight = torch.as_tensor(importance, dtype=W.dtype, device=W.device)
    if weight.ndim > 1:
        weight = weight.unsqueeze(-2)
    of_masks = expected_loss(
        read @ W.unsqueeze(-3).mT,
        b.unsqueeze(-2),
        supports,
        probability.unsqueeze(-2),
        importance=weight,
        **settings,
    )
    return ExpectedLoss(
        (of_masks.loss * chance).sum(-1),
        (of_masks.given_active * chance.unsqueeze(-1)).sum(-2),
        (of_masks.error * chance).sum(-1),
    )
