"""torchmetrics twins of `functional.geometry`."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from sup_lightning.functional import geometry


class PolytopeShares(Metric):
    """Share of the represented features in each polytope, over all models seen: a dict of scalars by name.

    The shares add up to 1; all are NaN if no feature was represented. Named polytopes without an entry of their own
    (simplices and polygons with more vertices) are `other`.

    Args:
        signed: As in `functional.geometry.find_polytopes`.
        kwargs: Arguments of `torchmetrics.Metric`.

    >>> metric = PolytopeShares()
    >>> metric.update(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]))
    >>> {name: round(float(share), 3) for name, share in metric.compute().items() if share > 0}
    {'single': 0.333, 'digon': 0.667}
    """

    NAMES = (
        "single",
        "digon",
        "triangle",
        "tetrahedron",
        "pentagon",
        "hexagon",
        "square antiprism",
        "other",
        "unnamed",
    )
    full_state_update = False
    is_differentiable = False
    higher_is_better = None
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    features: Tensor

    def __init__(self, signed: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.signed = signed
        self.add_state("features", torch.zeros(len(self.NAMES), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, W: Tensor) -> None:
        """Add models `[..., n_features, n_hidden]`."""
        models = W.reshape(-1, *W.shape[-2:])
        for polytope in (each for model in models for each in geometry.find_polytopes(model, self.signed)):
            name = polytope.name if polytope.name in self.NAMES else "other" if polytope.is_named else "unnamed"
            self.features[self.NAMES.index(name)] += polytope.size

    def compute(self) -> dict[str, Tensor]:
        """Shares over everything seen."""
        return dict(zip(self.NAMES, (self.features / self.features.sum()).float(), strict=True))
