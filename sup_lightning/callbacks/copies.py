"""Whether the copies of a widened layer's neurons come apart."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from sup_lightning.errors import UserError
from sup_lightning.functional.copies import mean_cosine_of_others, sibling_cosines

ALIKE = 0.99
"""Copies whose cosine is larger count as one neuron still."""


@runtime_checkable
class HasNeuronCopies(Protocol):
    """A module some of whose neurons are copies of one another."""

    def neuron_copies(self) -> Mapping[int, tuple[Tensor, Tensor]]:
        """Input and output weights of the copies, `[n_neurons, k, d_model]` each, by layer."""


class CopyDivergence(Callback):
    """Measures how alike the copies of each neuron are, by their weights: exact, without data.

    Logs before the first step and at each validation, for the widened layer l and for `input` and `output` weights:
    `copies/L<l>/input_cosine` (mean cosine of copies of the same neuron), `input_cosine_others` (of copies of different
    neurons, as a control) and `input_share_alike` (pairs of copies of the same neuron with a cosine above .99). Nothing
    for a layer with one copy of each neuron. Any module with `neuron_copies()` will do.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not isinstance(pl_module, HasNeuronCopies):
            raise UserError(
                f"CopyDivergence needs a module with a method neuron_copies(); {type(pl_module).__name__} has none"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step == 0:
            for logger in trainer.loggers:
                logger.log_metrics({name: value.item() for name, value in measure(pl_module).items()}, step=0)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            pl_module.log_dict(measure(pl_module), sync_dist=True, reduce_fx="max")  # equal on all ranks


def measure(module: LightningModule) -> dict[str, Tensor]:
    """The scalars of all layers."""
    assert isinstance(module, HasNeuronCopies)
    measured: dict[str, Tensor] = {}
    for layer, weights in module.neuron_copies().items():
        for side, W in zip(("input", "output"), weights, strict=True):
            if W.shape[1] > 1:
                cosines = sibling_cosines(W.detach())
                measured[f"copies/L{layer}/{side}_cosine"] = cosines.mean()
                measured[f"copies/L{layer}/{side}_cosine_others"] = mean_cosine_of_others(W.detach())
                measured[f"copies/L{layer}/{side}_share_alike"] = (cosines > ALIKE).float().mean()
    return measured
