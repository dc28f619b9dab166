"""A toy model that trains on the expected loss over the law of its data, in place of a sample of it."""

from typing import Any, Protocol

import torch
from torch import Tensor

from sup_lightning.errors import UserError, reject
from sup_lightning.functional.expected_loss import Pieces, Target
from sup_lightning.modules.toy import Batch, ToyModel
from sup_lightning.nn.bottleneck import BottleneckModel
from sup_lightning.nn.exact_loss import ExactLoss
from sup_lightning.nn.objectives import SquaredError


class _Values(Protocol):
    pieces: Pieces


class _Features(Protocol):
    values: _Values

    def supports(self, n_features: int, feature_probability: Tensor) -> tuple[Tensor, Tensor]: ...


class _Data(Protocol):
    """What the law is taken from; `SyntheticFeatures` is one."""

    features: _Features
    feature_probability: Tensor
    task: Any


TARGETS: dict[str, Target] = {"Identity": "identity", "AbsoluteValue": "abs"}
"""Tasks of the data that the expected loss knows."""


class ExactToyModel(ToyModel):
    """A `ToyModel` of a bottleneck whose training loss is exact: no noise, whatever the batch size.

    The law of the features is the data's: who fires together, with which probabilities, how strongly, and the task.
    Batches of the data are drawn but not looked at, so a batch size of 1 is right. Validation is on rows, as for every
    toy model, and so checks the exact loss.

    Args:
        args: Arguments of `ToyModel`; there is no dropout.
        tolerance: Absolute error of the loss aimed at; weights in float32 carry 1e-7 at best.
        kwargs: Arguments of `ToyModel`.
    """

    def __init__(self, *args: Any, tolerance: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not tolerance > 0:
            reject("tolerance", tolerance, "a positive number")
        if not isinstance(self.net, BottleneckModel):
            raise UserError(f"the exact loss knows BottleneckModel, not {type(self.net).__name__}")
        if not isinstance(self.objective, SquaredError):
            reject("objective", type(self.objective).__name__, "SquaredError for the exact loss")
        if any(self.dropout):
            reject("dropout", max(self.dropout), "0 for the exact loss")
        self.tolerance = tolerance
        self.exact_loss: ExactLoss | None = None
        """The loss of the data's law, known once training starts."""

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self.exact_loss = self.exact_loss_of(self.trainer.datamodule)  # type: ignore[attr-defined]

    def exact_loss_of(self, data: _Data) -> ExactLoss:
        """The exact loss of a law, with this module's importance."""
        task = type(data.task).__name__
        if task not in TARGETS:
            raise UserError(f"data.task is {task}; allowed: {' or '.join(TARGETS)} for the exact loss")
        probability = data.feature_probability.double()
        supports, chance = data.features.supports(probability.shape[-1], probability)
        pieces, target = data.features.values.pieces, TARGETS[task]
        return ExactLoss(supports, chance, pieces, self.importance, target, self.tolerance)

    def instance_losses(self, batch: Batch) -> Tensor:
        assert self.exact_loss is not None
        assert isinstance(self.net, BottleneckModel)
        return self.exact_loss(self.net)

    def exact_losses(self) -> Tensor:
        """The expected loss of each instance, `[n_instances]`."""
        assert self.exact_loss is not None
        assert isinstance(self.net, BottleneckModel)
        with torch.no_grad():
            return self.exact_loss(self.net)
