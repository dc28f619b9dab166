"""What trained models do with many features in few dimensions, over the density: for the questions about value laws."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sup_lightning.experiment import Run
from sup_lightning.functional.dimensionality import feature_dimensionality, represented_features
from sup_lightning.functional.intervals import of_best_seed

SPARSE = 0.2
"""Up to here features are sparse, and the geometries are to be the same."""
AT = 0.05
"""Density at which losses are compared."""
N_ACTIVE = 3
"""Losses are given for up to so many active features."""


@dataclass(frozen=True)
class Geometry:
    """Features in a few dimensions, over the density; `[n_points, n_seeds]`, and more axes after these.

    Attributes:
        p: Falling.
        W: Directions `[..., n_features, n_hidden]`.
        loss: On the validation rows.
        fvu: Unexplained variance there.
        given_active: Loss given 0, 1, 2, 3 active features, `[..., 4]`.
        mean_square: E x² of an active feature.
    """

    p: list[float]
    W: Tensor
    loss: Tensor
    fvu: Tensor
    given_active: Tensor
    mean_square: float

    @classmethod
    def of(cls, run: Run) -> "Geometry":
        """Measure a finished run."""
        sweep, final = run.toy.sweep, run.final
        shape = (sweep.n_points, sweep.n_seeds)

        def column(name: str) -> Tensor:
            return torch.tensor(final[name].to_numpy(), dtype=torch.float64).view(shape)

        pieces = run.data.features.values.pieces  # type: ignore[attr-defined]
        return cls(
            sweep.axes["feature_probability"],
            run.toy.feature_directions().detach().unflatten(0, shape),
            column("loss"),
            column("fvu"),
            torch.stack([column(f"loss_{k}_active") for k in range(N_ACTIVE + 1)], dim=-1),
            sum(weight * (low**2 + low * high + high**2) / 3 for weight, low, high in pieces),
        )

    @property
    def count(self) -> Tensor:
        """Represented features."""
        return represented_features(self.W).sum(-1).double()

    @property
    def median_dimensionality(self) -> Tensor:
        """Median D_i of the represented features; 0 if there is none."""
        D = torch.where(represented_features(self.W), feature_dimensionality(self.W), torch.nan)
        return D.nanquantile(0.5, dim=-1).nan_to_num(0).double()

    @property
    def sparse(self) -> Tensor:
        """Points at which features are sparse, bool."""
        return torch.tensor(self.p) <= SPARSE + 1e-9

    @property
    def at(self) -> int:
        """The point at which losses are compared."""
        return min(range(len(self.p)), key=lambda point: abs(self.p[point] - AT))

    def best(self, values: Tensor) -> Tensor:
        """What belongs to the seed of the lowest loss at each point."""
        return of_best_seed(self.loss, values)
