"""A metric of weights: its value is that of the last update, and ranks, whose weights are equal, agree on it."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class WeightMetric(Metric):
    """Base of the metrics that look at feature directions alone."""

    full_state_update = False
    is_differentiable = True
    value: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("value", default=torch.tensor(float("nan")), dist_reduce_fx="mean")

    def measure(self, W: Tensor) -> Tensor:
        """The quantity, from directions `[..., n_features, n_hidden]`."""
        raise NotImplementedError

    def update(self, W: Tensor) -> None:
        self.value = self.measure(W)

    def compute(self) -> Tensor:
        return self.value
