"""Random orthonormal bases: what a basis without meaning would show."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sup_lightning.errors import require_positive
from sup_lightning.functional.keyed_random import keyed_normal, keyed_uniform

FULL_ROTATION = 4096
"""Up to this many neurons the whole space is rotated at once."""
BLOCK = 1024
"""Beyond, so many neurons at most are rotated together."""


def haar(gaussian: Tensor) -> Tensor:
    """Orthonormal columns, uniformly distributed, from standard normal draws `[..., n, k]` with k ≤ n.

    >>> q = haar(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)))
    >>> bool(torch.allclose(q.T @ q, torch.eye(3), atol=1e-6))
    True
    """
    q, r = torch.linalg.qr(gaussian)
    return q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)  # signs as in Mezzadri 2007: else not uniform


@dataclass(frozen=True)
class Rotation:
    """An orthogonal map of activations, from `random_rotation`.

    Attributes:
        order: `[n_neurons]` int64, the neurons in the order in which the blocks take them.
        blocks: Orthogonal matrices `[size, size]` float32, whose sizes add up to n_neurons.
    """

    order: Tensor
    blocks: tuple[Tensor, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """Rotate the last dimension: `x @ Q` for `[..., n_neurons]`.

        Weights turn with the activations: what neurons write, `W_out [n_neurons, d_model]`, is `rotation(W_out.T).T` in
        the new basis, so that `rotation(x) @ rotation(W_out.T).T == x @ W_out`.
        """
        if len(self.blocks) == 1:
            return x @ self.blocks[0].to(x)
        parts = x[..., self.order.to(x.device)].split([len(block) for block in self.blocks], dim=-1)
        return torch.cat([part @ block.to(x) for part, block in zip(parts, self.blocks, strict=True)], dim=-1)


def random_rotation(n_neurons: int, seed: int = 0) -> Rotation:
    """A random rotation of all neurons, uniformly distributed (Haar).

    Beyond `FULL_ROTATION` neurons, where it would cost more than the model, they are dealt at random into blocks of at
    most `BLOCK`, and each block has a rotation of its own: every direction still mixes hundreds of neurons. Up to there
    its directions are those of `selectivity.random_directions`.

    Args:
        n_neurons: Dimensions of the space.
        seed: Picks the rotation.

    >>> rotation, x = random_rotation(8, seed=1), torch.ones(2, 8)
    >>> torch.linalg.vector_norm(rotation(x), dim=-1) / torch.linalg.vector_norm(x, dim=-1)
    tensor([1., 1.])
    """
    require_positive(n_neurons=n_neurons)
    if n_neurons <= FULL_ROTATION:
        order, sizes = torch.arange(n_neurons), [n_neurons]
    else:
        order = keyed_uniform("rotation/order", [seed], 0, [n_neurons])[0].argsort(stable=True)
        sizes = [len(part) for part in order.tensor_split(-(-n_neurons // BLOCK))]
    gaussians = (keyed_normal("rotation", [seed], number, [size, size])[0] for number, size in enumerate(sizes))
    return Rotation(order, tuple(haar(gaussian.double()).float() for gaussian in gaussians))
