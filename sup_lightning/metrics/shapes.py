"""Results that keep their shapes."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from torchmetrics import Metric


class _Boxed:
    """Hides a result from torchmetrics, which would take all axes off a tensor of one element."""

    def __init__(self, value: Any) -> None:
        self.value = value


class ShapedMetric(Metric):
    """A metric whose results have the same axes for one neuron, or one example, as for many."""

    def _wrap_compute(self, compute: Callable[[], Any]) -> Callable[[], Any]:
        # As torchmetrics does, tensors are copied: what was computed must not change with later updates.
        boxed = super()._wrap_compute(lambda: _Boxed(deepcopy(compute())))
        return lambda: boxed().value
