"""The team of a feature: the fewest neurons, in the order of their effects, without which it is mostly gone."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sup_lightning.functional.keyed_random import keyed_uniform
from sup_lightning.functional.teams import (
    least_size,
    patch_curve,
    patch_sizes,
    path_effects,
    path_gradient,
    removed_share,
)
from sup_lightning.studies.neurons.features import CLEAN, SECOND, KnownFeature

LEAST_GAIN = 1.0
"""Nats that a before b adds to log p(c) where the model knows the trigram."""
LEAST_CARRIED = 0.5
"""Share of that which the neurons carry."""
SHARE = 0.9
"""Of what patching all neurons removes, that patching a team removes."""
N_DRAWS = 5
"""Random teams, orders and bases."""


@dataclass(frozen=True)
class Team:
    """Neurons that hold a feature: chosen on half of its contexts, measured on the other half.

    Attributes:
        known: The feature.
        carried: Share of the model's gain that is gone if all neurons are patched.
        gradient: Of log p(c) by each activation, along the way to the patched ones, `[N, d_mlp]`.
        effects: What each neuron adds to log p(c), `[d_mlp]`.
        sizes: Numbers of patched neurons, from 0 to all.
        removed: Share of what patching all removes that is gone at each size, `[n_sizes]`, largest effects first.
        members: The fewest neurons in this order that remove `SHARE`, `[d_mlp]` bool.
    """

    known: KnownFeature
    carried: float
    gradient: Tensor
    effects: Tensor
    sizes: Sequence[int]
    removed: Tensor
    members: Tensor

    @property
    def order(self) -> Tensor:
        """Neurons by effect, `[d_mlp]` int64."""
        return self.effects.argsort(descending=True)


def team_of(known: KnownFeature) -> Team:
    """Find the team of a feature."""
    choose, measure = known.chosen_on, known.measured_on
    held, other = choose.post[CLEAN], choose.post[SECOND]
    gradient = path_gradient(choose.score, held, other)
    effects = path_effects(held, other, gradient)
    sizes, order = patch_sizes(held.shape[1]), effects.argsort(descending=True)
    curve = patch_curve(measure.score, measure.post[CLEAN], measure.post[SECOND], order, sizes)
    removed = removed_share(curve)
    members = torch.zeros(len(effects), dtype=torch.bool)
    members[order[: int(least_size(removed, sizes, SHARE))]] = True
    return Team(known, float(curve[0] - curve[-1]) / measure.gain, gradient, effects, sizes, removed, members)


def random_teams(teams: Sequence[Tensor], draw: int) -> Tensor:
    """Teams of the same sizes dealt at random, `[n_teams, d_mlp]` bool.

    Args:
        teams: Each `[d_mlp]` bool.
        draw: Which draw.
    """
    sizes = torch.tensor([int(team.sum()) for team in teams])
    random = keyed_uniform("random team", range(len(teams)), draw, teams[0].shape)
    return random.argsort(dim=1).argsort(dim=1) < sizes[:, None]
