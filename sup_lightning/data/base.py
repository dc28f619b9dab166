"""What every DataModule of the project shares."""

from typing import Any

from lightning.pytorch import LightningDataModule
from lightning.pytorch.trainer.states import TrainerFn

from sup_lightning.errors import UserError


class SupData(LightningDataModule):
    """A DataModule that is printed by its name.

    Lightning's own text form builds every loader and looks into its batches, which here would draw data.

    Attributes:
        item_name: What a step consumes (`samples`, `tokens`).
        items_per_step: How many of them, over all ranks and instances.
    """

    item_name = "items"
    items_per_step = 1

    def settings(self) -> dict[str, Any]:
        """What the training batches depend on, as plain values: they go into the checkpoint."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {"settings": self.settings()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on training with other data than the checkpoint's: it would be another experiment."""
        if self.trainer is None or self.trainer.state.fn != TrainerFn.FITTING:
            return
        saved, present = state_dict.get("settings", {}), self.settings()
        for name in saved.keys() & present.keys():
            if saved[name] != present[name]:
                raise UserError(
                    f"the checkpoint was made with data.{name}={saved[name]!r}, but the config has {present[name]!r}"
                )

    def __str__(self) -> str:
        return type(self).__name__


def describe(part: Any) -> str:
    """A distribution, value law, task or law of sequences with its settings, as text."""
    if not hasattr(part, "__dict__"):
        return repr(part)
    settings = ", ".join(f"{name}={describe(value)}" for name, value in sorted(vars(part).items()))
    return f"{type(part).__name__}({settings})"
