"""How a callback sees the geometry of a module: through one method, which any LightningModule can define."""

from typing import Protocol, runtime_checkable

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from sup_lightning.errors import UserError
from sup_lightning.sweep import Sweep


@runtime_checkable
class HasFeatureDirections(Protocol):
    """A module that says where its features are.

    Optional attributes: `sweep`, which names the instances; `instance_values`, a dict of the newest validation
    results, `[n_instances]` each; `measured_at_step`, the optimiser step of these.
    """

    def feature_directions(self) -> Tensor:
        """`[n_instances, n_features, n_hidden]`, or `[n_features, n_hidden]` for a single model."""


def directions_of(module: LightningModule, who: str) -> Tensor:
    """The module's feature directions, `[n_instances, n_features, n_hidden]`, detached."""
    if not isinstance(module, HasFeatureDirections):
        raise UserError(f"{who} needs a module with a method feature_directions(); {type(module).__name__} has none")
    W = module.feature_directions().detach()
    return W if W.ndim == 3 else W.unsqueeze(0)


def instance_values_of(module: LightningModule, trainer: Trainer) -> dict[str, Tensor]:
    """The module's validation results, if they belong to the present step, not to older weights."""
    if getattr(module, "measured_at_step", trainer.global_step) != trainer.global_step:
        return {}
    return {name: value.detach() for name, value in getattr(module, "instance_values", {}).items()}


def sweep_of(module: LightningModule, n_instances: int) -> Sweep:
    """The module's sweep; plain numbering if it has none that fits."""
    sweep = getattr(module, "sweep", None)
    return sweep if isinstance(sweep, Sweep) and sweep.n_instances == n_instances else Sweep(seed=n_instances)


def feature_probability_of(trainer: Trainer) -> Tensor | None:
    """How often each feature fires, `[n_instances, n_features]`, if the DataModule tells it."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    p = getattr(data, "marginal_probability", getattr(data, "feature_probability", None))
    return p if isinstance(p, Tensor) else None
