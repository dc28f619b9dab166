"""Features that have two descriptions: blocks of two coordinates, sparse in one basis or in another, equally often."""

from typing import NamedTuple

import torch
from torch import Tensor

from sup_lightning.data.features import MOST_SUPPORTS, FeatureSets
from sup_lightning.data.values import SignedValues, ValueLaw
from sup_lightning.errors import UserError, reject

R = 0.5**0.5
BASES = torch.tensor([[[1, 0], [0, 1]], [[R, R], [R, -R]]], dtype=torch.float64)
"""Unit vectors of a block's bases A and B, `[2 bases, 2 vectors, 2 coordinates]` float64."""

SWAP = BASES[1]
"""The reflection that takes the vectors of A to those of B and back, `[2, 2]`."""


class Outcomes(NamedTuple):
    """A law with finitely many outcomes.

    Attributes:
        x: `[n_outcomes, n_features]` the outcomes, all different.
        probability: `[..., n_outcomes]` of each.
    """

    x: Tensor
    probability: Tensor


class TwoBases(FeatureSets):
    """Each block of two coordinates fires along one vector of basis A or of basis B, with probability p.

    A is the block's two axes a and b; B is (a + b) / √2 and (a - b) / √2. A block that fires takes basis A with
    probability `share_of_a`, then either vector of the basis equally often, times a value. At a share of 1/2 the law
    is the same in both bases: reflecting any block by `SWAP` changes nothing, so that a network has no reason to
    prefer one.

    Both coordinates of a block have the same p, the probability of the block. The coordinates of a vector of B are
    equal but for the sign, so who fires does not say all (`supports`); `outcomes` does, for finitely many values.

    Args:
        share_of_a: How often a block that fires takes basis A.
        values: How strongly; uniform on [-1, 1] if left out.
    """

    def __init__(self, share_of_a: float = 0.5, values: ValueLaw | None = None) -> None:
        super().__init__(2, values or SignedValues())
        if not 0 <= share_of_a <= 1:
            reject("share_of_a", share_of_a, "a number in [0, 1]")
        self.share_of_a = share_of_a

    def n_draws(self, n_features: int) -> int:
        return n_features

    def sample(self, uniform: Tensor, feature_probability: Tensor) -> Tensor:
        block_fires, which = uniform.tensor_split(2, dim=-2)
        active = block_fires >= 1 - self._of_sets(feature_probability, -2)
        share = self.share_of_a
        in_a = which < share
        # The place of `which` in its part of [0, 1) is uniform again: its upper half is the basis' second vector, and
        # the place in the half is the quantile of the value.
        scaled = torch.where(in_a, which / max(share, 1e-30), (which - share) / max(1 - share, 1e-30)) * 2
        second = scaled >= 1
        value = torch.where(active, self.values.quantile((scaled - second.to(scaled)).clamp_(0, 1 - 2**-24)), 0.0)
        half = value * R
        of_a = torch.stack([torch.where(second, 0.0, value), torch.where(second, value, 0.0)], dim=-2)
        of_b = torch.stack([half, torch.where(second, -half, half)], dim=-2)
        return torch.where(in_a.unsqueeze(-2), of_a, of_b).flatten(-3, -2)

    def marginals(self, feature_probability: Tensor, n_features: int) -> Tensor:
        return super().marginals(feature_probability, n_features) * (1 - self.share_of_a / 2)

    def supports(self, n_features: int, feature_probability: Tensor) -> tuple[Tensor, Tensor]:
        raise UserError(
            "the coordinates of a TwoBases block depend on each other, so an exact loss over supports would be wrong; "
            "outcomes() lists the whole law of values that are atoms"
        )

    def outcomes(self, n_features: int, feature_probability: Tensor) -> Outcomes:
        """All rows that can be drawn, and how often each is, in float64.

        Args:
            n_features: Number of coordinates.
            feature_probability: The setting p, `[..., n_features]`.

        Raises:
            UserError: If values are continuous, or there are more than 65,536 (`MOST_SUPPORTS`) outcomes.
        """
        pieces = self.values.pieces
        if any(low != high for _, low, high in pieces):
            reject("values", type(self.values).__name__, "a law of finitely many values, to list all outcomes")
        p = self._of_sets(feature_probability.double().expand(*feature_probability.shape[:-1], n_features), -1)
        chance, levels = torch.tensor([(weight, low) for weight, low, _ in pieces], dtype=torch.float64).unbind(1)
        vectors = BASES.flatten(0, 1)
        of_vector = torch.tensor([self.share_of_a / 2] * 2 + [(1 - self.share_of_a) / 2] * 2, dtype=torch.float64)
        block = torch.cat([torch.zeros(1, 2, dtype=torch.float64), (vectors[:, None] * levels[:, None]).flatten(0, 1)])
        fires = (of_vector[:, None] * chance).flatten()
        n_blocks = n_features // 2
        if len(block) ** n_blocks > MOST_SUPPORTS:
            allowed = f"so few that there are at most {MOST_SUPPORTS:,} outcomes (here {len(block) ** n_blocks:,})"
            reject("n_features", n_features, allowed)
        choice = torch.cartesian_prod(*[torch.arange(len(block))] * n_blocks).view(-1, n_blocks)
        of_block = torch.cat([(1 - p).unsqueeze(-1), p.unsqueeze(-1) * fires], dim=-1)  # [..., n_blocks, n_choices]
        probability = of_block.new_ones(())
        for number in range(n_blocks):
            probability = probability * of_block[..., number, choice[:, number]]
        return Outcomes(block[choice].flatten(1), probability)
