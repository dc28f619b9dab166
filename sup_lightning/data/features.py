"""Synthetic sparse features: who fires, and how strongly.

A distribution is a map from uniform draws to features. The draws are made elsewhere, keyed by seed and step, so every
distribution has common random numbers, exact resume and rank-independent batches without doing anything for it.
Tensors here are `[..., n_features, batch]`: long rows make fast kernels. Modules see the transposed view.

Who can fire together is also told in words that exact computation understands: `supports`, the sets of features that
can be active at once, and the probability of each.
"""

from abc import ABC, abstractmethod
from itertools import combinations
from math import comb
from typing import Literal

import torch
from torch import Tensor

from sup_lightning.data.values import UniformValues, ValueLaw
from sup_lightning.errors import UserError, reject, require_positive

MOST_SUPPORTS = 2**16
"""Most supports that are enumerated: 16 independent features, or 16 sets of correlated ones."""


class FeatureDistribution(ABC):
    """A law of sparse feature vectors, as a map from uniform draws."""

    @abstractmethod
    def n_draws(self, n_features: int) -> int:
        """Uniform numbers needed for one row."""

    @abstractmethod
    def sample(self, uniform: Tensor, feature_probability: Tensor) -> Tensor:
        """Map uniform draws to features; 0 is a feature that does not fire.

        Args:
            uniform: `[..., n_draws, batch]` on [0, 1).
            feature_probability: p, broadcastable to `[..., n_features, batch]`.

        Returns:
            `[..., n_features, batch]`.
        """

    def fixed_probability(self, n_features: int) -> float | None:
        """The probability p of each feature where the law leaves no choice; None where p is a setting."""
        return None

    def check(self, n_features: int, feature_probability: Tensor) -> None:  # noqa: B027 - most laws take anything
        """Reject a number of features, or probabilities `[..., n_features]`, that the law cannot have."""

    def marginals(self, feature_probability: Tensor, n_features: int) -> Tensor:
        """The probability that each feature fires, `[..., n_features]`: the setting itself, if not overridden.

        Args:
            feature_probability: The setting p, `[..., n_features]`.
            n_features: Number of features.
        """
        return feature_probability.expand(*feature_probability.shape[:-1], n_features)

    def supports(self, n_features: int, feature_probability: Tensor) -> tuple[Tensor, Tensor]:
        """All sets of features that can fire together, and how often each is exactly the set that does.

        Args:
            n_features: Number of features.
            feature_probability: The setting p, `[..., n_features]`.

        Returns:
            The supports `[n_supports, n_features]` as booleans, and their probabilities `[..., n_supports]`.

        Raises:
            UserError: If there are more than 65,536 (`MOST_SUPPORTS`), or the law does not tell.
        """
        raise UserError(f"{type(self).__name__} does not say which features fire together; give it a method supports()")


class IndependentFeatures(FeatureDistribution):
    """Each feature fires on its own, with its probability p.

    One draw gives both whether a feature fires and how strongly: given u ≥ 1 - p, (u - (1 - p)) / p is uniform again.

    Args:
        values: How strongly a feature fires; uniform on [0, 1] if left out.
    """

    def __init__(self, values: ValueLaw | None = None) -> None:
        self.values = values or UniformValues()

    def n_draws(self, n_features: int) -> int:
        return n_features

    def sample(self, uniform: Tensor, feature_probability: Tensor) -> Tensor:
        quantile = (uniform - (1 - feature_probability)).mul_(1 / feature_probability)
        if isinstance(self.values, UniformValues) and self.values.low == 0:
            return self.values.quantile(quantile.relu_())
        return torch.where(quantile >= 0, self.values.quantile(quantile), 0.0)

    def supports(self, n_features: int, feature_probability: Tensor) -> tuple[Tensor, Tensor]:
        p = feature_probability.expand(*feature_probability.shape[:-1], n_features)
        return _independent_sets(torch.tensor([[False], [True]]), torch.stack([1 - p, p], dim=-1))


class FeatureSets(FeatureDistribution):
    """Base of laws in which consecutive sets of `set_size` features are independent of each other.

    Args:
        set_size: Features in a set.
        values: How strongly a feature fires; uniform on [0, 1] if left out.
    """

    def __init__(self, set_size: int = 2, values: ValueLaw | None = None) -> None:
        require_positive(set_size=set_size)
        self.set_size = set_size
        self.values = values or UniformValues()

    def check(self, n_features: int, feature_probability: Tensor) -> None:
        if n_features % self.set_size:
            reject("n_features", n_features, f"a multiple of set_size, which is {self.set_size}")
        p = feature_probability.reshape(-1, self.set_size)
        differ = (p != p[:, :1]).any(dim=1)
        if bool(differ.any()):
            values = [round(value, 6) for value in p[differ][0].tolist()]
            reject("feature_probability", values, f"the same for the {self.set_size} features of a set")

    def _of_sets(self, feature_probability: Tensor, dim: int) -> Tensor:
        """One p for each set from one for each feature; a p that broadcasts over features as it is."""
        if feature_probability.ndim < -dim or feature_probability.shape[dim] == 1:
            return feature_probability
        n_sets = feature_probability.shape[dim] // self.set_size
        index = torch.arange(n_sets, device=feature_probability.device) * self.set_size
        return feature_probability.index_select(dim, index)


class CorrelatedSets(FeatureSets):
    """The features of a set all fire together, with probability p, or not at all; their values are independent.

    Elhage et al. 2022, "Organization of correlated features". All features of a set must have the same p.

    Args:
        set_size: Features in a set; n_features must be a multiple of it.
        values: How strongly a feature fires; uniform on [0, 1] if left out.
    """

    def n_draws(self, n_features: int) -> int:
        return n_features // self.set_size + n_features

    def sample(self, uniform: Tensor, feature_probability: Tensor) -> Tensor:
        n_sets = uniform.shape[-2] // (1 + self.set_size)
        fires = uniform[..., :n_sets, :] >= 1 - self._of_sets(feature_probability, -2)
        values = self.values.quantile(uniform[..., n_sets:, :]).unflatten(-2, (n_sets, self.set_size))
        return torch.where(fires.unsqueeze(-2), values, 0.0).flatten(-3, -2)

    def supports(self, n_features: int, feature_probability: Tensor) -> tuple[Tensor, Tensor]:
        p = self._of_sets(feature_probability.expand(*feature_probability.shape[:-1], n_features), -1)
        patterns = torch.tensor([[False], [True]]).expand(2, self.set_size)
        return _independent_sets(patterns, torch.stack([1 - p, p], dim=-1))


class AnticorrelatedSets(FeatureSets):
    """At most one feature of a set fires, each equally often. Two conventions of what p is are in use.

    `set` (Elhage et al. 2022, "Organization of correlated features"): the set is active with probability p, then one of
    its features fires, so each does with probability p / set_size. `feature` (ARENA's exercises): each feature fires
    with probability p, so the set is active with probability set_size · p, which must be at most 1.

    Args:
        set_size: Features in a set; n_features must be a multiple of it.
        probability_of: Whether p is the probability of the set or of each feature.
        values: How strongly a feature fires; uniform on [0, 1] if left out.
    """

    def __init__(
        self, set_size: int = 2, probability_of: Literal["set", "feature"] = "set", values: ValueLaw | None = None
    ) -> None:
        super().__init__(set_size, values)
        if probability_of not in ("set", "feature"):
            reject("probability_of", probability_of, "set or feature")
        self.probability_of = probability_of

    def n_draws(self, n_features: int) -> int:
        return 2 * (n_features // self.set_size)

    def check(self, n_features: int, feature_probability: Tensor) -> None:
        super().check(n_features, feature_probability)
        most = 1 / self.set_size
        if self.probability_of == "feature" and bool((feature_probability > most * (1 + 1e-6)).any()):
            allowed = f"at most 1/{self.set_size}, as only one of the {self.set_size} features of a set fires"
            reject("feature_probability", round(float(feature_probability.max()), 6), allowed)

    def sample(self, uniform: Tensor, feature_probability: Tensor) -> Tensor:
        set_fires, which = uniform.tensor_split(2, dim=-2)
        active = set_fires >= 1 - self._set_probability(feature_probability, -2)
        scaled = which * self.set_size  # its whole part says which feature fires, the rest is uniform again
        place = scaled.floor().clamp_(max=self.set_size - 1)
        values = self.values.quantile(scaled - place)
        members = torch.arange(self.set_size, device=uniform.device).unsqueeze(-1)
        fires = active.unsqueeze(-2) & (place.unsqueeze(-2) == members)
        return torch.where(fires, values.unsqueeze(-2), 0.0).flatten(-3, -2)

    def marginals(self, feature_probability: Tensor, n_features: int) -> Tensor:
        p = super().marginals(feature_probability, n_features)
        return p / self.set_size if self.probability_of == "set" else p

    def supports(self, n_features: int, feature_probability: Tensor) -> tuple[Tensor, Tensor]:
        p = self._set_probability(feature_probability.expand(*feature_probability.shape[:-1], n_features), -1)
        one = (p / self.set_size).unsqueeze(-1).expand(*p.shape, self.set_size)
        patterns = torch.cat([torch.zeros(1, self.set_size), torch.eye(self.set_size)]).bool()
        return _independent_sets(patterns, torch.cat([(1 - p).unsqueeze(-1), one], dim=-1))

    def _set_probability(self, feature_probability: Tensor, dim: int) -> Tensor:
        p = self._of_sets(feature_probability, dim)
        return p if self.probability_of == "set" else (p * self.set_size).clamp(max=1)


class CoactiveSets(FeatureSets):
    """The features of a set fire together more or less often: when a set is active, all of it is, or just one feature.

    p is the probability of each feature. Given that a set is active, all its features fire with probability `together`,
    else one, each equally often: 0 is anticorrelated sets, 1 correlated ones, and p does not depend on it.

    Args:
        set_size: Features in a set, at least 2; n_features must be a multiple of it.
        together: Probability that all fire, given that any does.
        values: How strongly a feature fires; uniform on [0, 1] if left out.
    """

    def __init__(self, set_size: int = 2, together: float = 0.5, values: ValueLaw | None = None) -> None:
        super().__init__(set_size, values)
        if set_size < 2:
            reject("set_size", set_size, "at least 2")
        if not 0 <= together <= 1:
            reject("together", together, "a number in [0, 1]")
        self.together = together
        self._share = together + (1 - together) / set_size  # of its set's activity that a feature takes part in

    def n_draws(self, n_features: int) -> int:
        return n_features // self.set_size + n_features

    def check(self, n_features: int, feature_probability: Tensor) -> None:
        super().check(n_features, feature_probability)
        if bool((feature_probability > self._share * (1 + 1e-6)).any()):
            allowed = f"at most {self._share:g}, as a feature fires in that share of the rows in which its set does"
            reject("feature_probability", round(float(feature_probability.max()), 6), allowed)

    def sample(self, uniform: Tensor, feature_probability: Tensor) -> Tensor:
        n_sets = uniform.shape[-2] // (1 + self.set_size)
        p = (self._of_sets(feature_probability, -2) / self._share).clamp(max=1)
        # One draw says whether the set is active, whether all of it is, and which feature if not.
        active = (uniform[..., :n_sets, :] - (1 - p)) / p
        place = ((active - self.together) / max(1 - self.together, 1e-12) * self.set_size).floor()
        place = place.clamp(max=self.set_size - 1)
        members = torch.arange(self.set_size, device=uniform.device).unsqueeze(-1)
        alone = place.unsqueeze(-2) == members
        fires = (active >= 0).unsqueeze(-2) & ((active < self.together).unsqueeze(-2) | alone)
        values = self.values.quantile(uniform[..., n_sets:, :]).unflatten(-2, (n_sets, self.set_size))
        return torch.where(fires, values, 0.0).flatten(-3, -2)

    def supports(self, n_features: int, feature_probability: Tensor) -> tuple[Tensor, Tensor]:
        p = self._of_sets(feature_probability.expand(*feature_probability.shape[:-1], n_features), -1)
        p = (p / self._share).clamp(max=1)  # of a set to be active
        one = (p * (1 - self.together) / self.set_size).unsqueeze(-1).expand(*p.shape, self.set_size)
        patterns = torch.cat([torch.zeros(1, self.set_size), torch.eye(self.set_size), torch.ones(1, self.set_size)])
        none, all_of_it = (1 - p).unsqueeze(-1), (p * self.together).unsqueeze(-1)
        return _independent_sets(patterns.bool(), torch.cat([none, one, all_of_it], dim=-1))


class ExactlyKActive(FeatureDistribution):
    """Exactly k features fire in each row, every k of them equally often.

    p is then k / n_features: leave `feature_probability` out (null), as any other value is refused.

    Args:
        k: Features that fire.
        values: How strongly a feature fires; uniform on [0, 1] if left out.
    """

    def __init__(self, k: int = 1, values: ValueLaw | None = None) -> None:
        require_positive(k=k)
        self.k = k
        self.values = values or UniformValues()

    def n_draws(self, n_features: int) -> int:
        return n_features

    def fixed_probability(self, n_features: int) -> float:
        if self.k > n_features:
            reject("k", self.k, f"at most n_features, which is {n_features}")
        return self.k / n_features

    def check(self, n_features: int, feature_probability: Tensor) -> None:
        wrong = (feature_probability - self.fixed_probability(n_features)).abs() > 1e-6
        if bool(wrong.any()):
            allowed = f"k / n_features = {self.k}/{n_features}, or nothing (null)"
            reject("feature_probability", round(float(feature_probability[wrong][0]), 6), allowed)

    def sample(self, uniform: Tensor, feature_probability: Tensor) -> Tensor:
        # Selection sampling (Knuth, The Art of Computer Programming, 3.4.2, algorithm S): with r still to choose among
        # the last l features, the next one fires with probability r / l; given u below that, its share is uniform.
        n_features = uniform.shape[-2]
        chance, fires = torch.empty_like(uniform), torch.empty_like(uniform, dtype=torch.bool)
        missing = torch.full_like(uniform[..., 0, :], self.k)
        for i in range(n_features):
            torch.div(missing, n_features - i, out=chance[..., i, :])
            torch.lt(uniform[..., i, :], chance[..., i, :], out=fires[..., i, :])
            missing -= fires[..., i, :].to(missing)
        return torch.where(fires, self.values.quantile(uniform / chance), 0.0)

    def marginals(self, feature_probability: Tensor, n_features: int) -> Tensor:
        return torch.full_like(super().marginals(feature_probability, n_features), self.k / n_features)

    def supports(self, n_features: int, feature_probability: Tensor) -> tuple[Tensor, Tensor]:
        _require_few(n_supports := comb(n_features, self.k), n_features)
        supports = torch.zeros(n_supports, n_features, dtype=torch.bool)
        supports.scatter_(1, torch.tensor(list(combinations(range(n_features), self.k))), True)
        return supports, feature_probability.new_full((*feature_probability.shape[:-1], n_supports), 1 / n_supports)


def _independent_sets(patterns: Tensor, probability: Tensor) -> tuple[Tensor, Tensor]:
    """The supports of independent sets of features.

    Args:
        patterns: `[n_patterns, set_size]`, who fires in a set.
        probability: `[..., n_sets, n_patterns]` of each.
    """
    n_sets, n_patterns = probability.shape[-2:]
    _require_few(n_patterns**n_sets, n_sets * patterns.shape[1])
    choice = torch.cartesian_prod(*[torch.arange(n_patterns)] * n_sets).view(-1, n_sets)
    product = probability.new_ones(*probability.shape[:-2], 1)
    for number in range(n_sets):
        product = (product.unsqueeze(-1) * probability[..., number, :].unsqueeze(-2)).flatten(-2)
    return patterns[choice].flatten(1), product


def _require_few(n_supports: int, n_features: int) -> None:
    if n_supports > MOST_SUPPORTS:
        allowed = f"so few that at most {MOST_SUPPORTS:,} sets of them can fire (here {n_supports:,}) to enumerate them"
        reject("n_features", n_features, allowed)
