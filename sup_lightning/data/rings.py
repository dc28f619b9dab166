"""A feature that is not one of a number: a bump somewhere on a ring, which the inputs only sample."""

import torch
from torch import Tensor

from sup_lightning.data.features import FeatureDistribution
from sup_lightning.errors import reject


class RingBumps(FeatureDistribution):
    """One bump at a random place on a ring, seen by n_features inputs evenly spread around it; or nothing.

    With probability p there is a bump, at a place that is uniform on the ring. Input j, at j / n_features of the way
    round, is 1 at the bump's centre and falls linearly to 0 at a distance of `width`. So each input alone is a sparse
    feature like any other: active with probability 2 · width · p, and then uniform on [0, 1]. All that is special is
    how the inputs depend on each other: what there is to tell is one place, and there are as many as one cares to see.

    Args:
        width: From a bump's centre to its end, as a share of the way round.
    """

    def __init__(self, width: float = 0.125) -> None:
        if not 0 < width <= 0.5:
            reject("width", width, "a number in (0, 0.5], as a share of the way round the ring")
        self.width = width

    def n_draws(self, n_features: int) -> int:
        return 1

    def check(self, n_features: int, feature_probability: Tensor) -> None:
        if bool((feature_probability != feature_probability[..., :1]).any()):
            values = [round(value, 6) for value in feature_probability.flatten().tolist()]
            reject("feature_probability", values, "the same for all features: it is that of the bump")

    def sample(self, uniform: Tensor, feature_probability: Tensor) -> Tensor:
        """As in the base class; p has to be given for each feature, `[..., n_features, 1]`, as it tells their number.

        One draw says both whether there is a bump and where: given u ≥ 1 - p, (u - (1 - p)) / p is uniform again.
        """
        p = feature_probability[..., :1, :]
        place = (uniform - (1 - p)) / p
        return torch.where(place >= 0, self.bumps(place, feature_probability.shape[-2]), 0.0)

    def bumps(self, place: Tensor, n_features: int) -> Tensor:
        """What the inputs see of a bump at each place in [0, 1), `[..., n_features, batch]` for `[..., 1, batch]`.

        >>> RingBumps(width=0.25).bumps(torch.tensor([[0.0, 0.125]]), n_features=4).T
        tensor([[1.0000, 0.0000, 0.0000, 0.0000],
                [0.5000, 0.5000, 0.0000, 0.0000]])
        """
        inputs = torch.arange(n_features, dtype=place.dtype, device=place.device).unsqueeze(-1) / n_features
        apart = (inputs - place).abs()
        return (1 - torch.minimum(apart, 1 - apart) / self.width).relu()

    def marginals(self, feature_probability: Tensor, n_features: int) -> Tensor:
        return super().marginals(feature_probability, n_features) * (2 * self.width)
