"""What is left of a feature as more and more of its neurons are patched, and of the same for other orders and bases."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sup_lightning.functional.keyed_random import keyed_uniform
from sup_lightning.functional.probing import probe_auc, probe_weights
from sup_lightning.functional.teams import least_size, patch_curve, path_effects, path_gradient, removed_share
from sup_lightning.studies.neurons.features import CLEAN, FIRST, NEITHER, SECOND, Feature, KnownFeature
from sup_lightning.studies.neurons.teams import N_DRAWS, SHARE, Team, team_of


@dataclass(frozen=True)
class Removal:
    """How a feature goes when neurons are patched.

    Attributes:
        team: Its neurons, and the share that is gone at each size.
        kept: Share that comes back if the first neurons alone are restored, `[n_sizes]`.
        rotated: Share removed by directions of random bases, `[n_draws, n_sizes]`.
        shuffled: Share removed by neurons in random orders, `[n_draws, n_sizes]`.
        probed: Share removed by neurons in the order of a probe's weights, `[n_sizes]`.
        and_share: Part of what the team does that needs both tokens.
        left: AUC of a probe for the feature on all other neurons.
    """

    team: Team
    kept: Tensor
    rotated: Tensor
    shuffled: Tensor
    probed: Tensor
    and_share: float
    left: float

    @property
    def removed(self) -> Tensor:
        """Share removed by neurons in the order of their effects, `[n_sizes]`."""
        return self.team.removed

    def size(self, of: str = "removed", share: float = SHARE) -> float:
        """Fewest neurons (or directions) that reach a share; mean over draws."""
        return float(least_size(getattr(self, of), self.team.sizes, share).double().mean())

    @property
    def gain(self) -> float:
        """Nats that a before b adds to log p(c), in the contexts that are measured on."""
        return self.team.known.measured_on.gain


def removal_of(known: KnownFeature, bases: Tensor) -> Removal:
    """Patch neurons of a feature: chosen on half of the contexts, measured on the other half.

    Args:
        known: The feature.
        bases: Random ones, `[n_draws, d_mlp, d_mlp]`.
    """
    team, choose, measure = team_of(known), known.chosen_on, known.measured_on
    held, other = choose.post[CLEAN], choose.post[SECOND]

    def share(order: Tensor, basis: Tensor | None = None) -> Tensor:
        return removed_share(
            patch_curve(measure.score, measure.post[CLEAN], measure.post[SECOND], order, team.sizes, basis)
        )

    rotated = [(path_effects(held, other, team.gradient, basis).argsort(descending=True), basis) for basis in bases]
    restored = patch_curve(measure.score, measure.post[SECOND], measure.post[CLEAN], team.order, team.sizes)
    probe = probe_weights(torch.cat([held, other]), torch.arange(2 * len(held)) < len(held))
    return Removal(
        team=team,
        kept=removed_share(restored),
        rotated=torch.stack([share(order, basis) for order, basis in rotated]),
        shuffled=torch.stack([share(order) for order in random_orders(len(team.effects))]),
        probed=share(probe.abs().argsort(descending=True)),
        and_share=and_share(measure, team.members),
        left=feature_auc(known, ~team.members),
    )


def random_orders(n_neurons: int, n_draws: int = N_DRAWS) -> Tensor:
    """Neurons in random orders, `[n_draws, n_neurons]` int64."""
    return keyed_uniform("neuron order", range(n_draws), 0, (n_neurons,)).argsort(dim=1)


def and_share(feature: Feature, neurons: Tensor) -> float:
    """What neurons add to log p(c) only if both tokens are there, over all that they add.

    Args:
        feature: In its contexts.
        neurons: `[d_mlp]` bool.
    """
    post = feature.post
    gradient = path_gradient(feature.score, post[CLEAN], post[SECOND])
    both = (post[CLEAN] - post[FIRST] - post[SECOND] + post[NEITHER]) * gradient
    whole = (post[CLEAN] - post[SECOND]) * gradient
    return float(both[:, neurons].sum() / whole[:, neurons].sum())


def feature_auc(known: KnownFeature, neurons: Tensor) -> float:
    """AUC of a probe that tells clean contexts from those with the second token only, by some neurons.

    Args:
        known: The probe is trained on the contexts to choose by.
        neurons: `[d_mlp]` bool.
    """
    parts = []
    for feature in (known.chosen_on, known.measured_on):
        rows = torch.cat([feature.post[CLEAN], feature.post[SECOND]])[:, neurons]
        parts += [rows, torch.arange(len(rows)) < len(rows) // 2]
    return probe_auc(*parts) if bool(neurons.any()) else 0.5
