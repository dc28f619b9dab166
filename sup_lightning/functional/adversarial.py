"""How vulnerable superposition is (Elhage et al. 2022, "Superposition & Adversarial Examples").

A feature's output is moved by all features that interfere with it, so a small input along all of them moves it much.
The attack is analytic because gradients of a ReLU model vanish where outputs are off.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from sup_lightning.functional.reconstruction import weighted_squared_error

STRENGTH = 0.1
"""Length of the paper's attack, in mean lengths of the input."""


def attack_directions(W: Tensor, W_out: Tensor | None = None) -> Tensor:
    """The unit inputs that move each output most, (W_out W^T)_i / |(W_out W^T)_i|, `[..., n_outputs, n_features]`.

    Args:
        W: `[..., n_features, n_hidden]`.
        W_out: `[..., n_outputs, n_hidden]`; W if the readout is tied.

    Returns:
        Row i attacks output i; 0 for an output that nothing moves.

    >>> attack_directions(torch.tensor([[1.0], [-1.0]]))
    tensor([[ 0.7071, -0.7071],
            [-0.7071,  0.7071]])
    """
    readin = (W if W_out is None else W_out) @ W.mT
    length = torch.linalg.vector_norm(readin, dim=-1, keepdim=True)
    return torch.where(length > 0, readin / length.clamp_min(torch.finfo(W.dtype).tiny), 0.0)


def attack_strength(features: Tensor, relative: float = STRENGTH) -> Tensor:
    """Length of the attack, a tenth of the mean length of the inputs, `[...]`.

    Args:
        features: `[..., batch, n_features]`.
        relative: The part of the mean length.
    """
    return relative * torch.linalg.vector_norm(features, dim=-1).mean(dim=-1)


def attacked_loss(
    forward: Callable[[Tensor], Tensor],
    features: Tensor,
    target: Tensor,
    importance: Tensor,
    W: Tensor,
    strength: Tensor | float,
    W_out: Tensor | None = None,
) -> Tensor:
    """Loss of each instance under the worst attack: one direction and sign, added to every row, `[...]`.

    The target stays that of the clean input. Costs two forward passes for each output.

    Args:
        forward: The network, `[..., batch, n_features]` to `[..., batch, n_outputs]`.
        features: Clean inputs `[..., batch, n_features]`.
        target: `[..., batch, n_outputs]`.
        importance: Broadcastable to `[..., n_outputs]`.
        W: Feature directions `[..., n_features, n_hidden]`.
        strength: L2 length of the attack, broadcastable to `[...]`; see `attack_strength`.
        W_out: Readout `[..., n_outputs, n_hidden]` if it is not tied.

    >>> one_each = torch.eye(2)
    >>> attacked_loss(torch.relu, torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([1.0, 0.5]), one_each, 0.1)
    tensor(0.0100)
    """
    strength = torch.as_tensor(strength, dtype=features.dtype, device=features.device)
    attacks = strength[..., None, None] * attack_directions(W, W_out)
    losses = [
        weighted_squared_error(forward(features + sign * attacks[..., i, None, :]), target, importance)
        for i in range(attacks.shape[-2])
        for sign in (1, -1)
    ]
    return torch.stack(losses).amax(dim=0)


def vulnerability(
    loss_clean: Tensor, loss_attacked: Tensor, reference_clean: Tensor, reference_attacked: Tensor
) -> Tensor:
    """How much more an attack costs than it costs a reference model, (L' - L) / (L'_0 - L_0), `[...]`.

    Args:
        loss_clean: L.
        loss_attacked: L'.
        reference_clean: L_0, of a model without superposition (trained at p = 1, or with only n_hidden features).
        reference_attacked: L'_0, the same under an attack of the same strength.

    >>> vulnerability(torch.tensor(0.1), torch.tensor(0.4), torch.tensor(0.2), torch.tensor(0.3))
    tensor(3.0000)
    """
    return (loss_attacked - loss_clean) / (reference_attacked - reference_clean)
