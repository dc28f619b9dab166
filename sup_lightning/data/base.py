"""What every DataModule of the project shares."""

from lightning.pytorch import LightningDataModule


class SupData(LightningDataModule):
    """A DataModule that is printed by its name.

    Lightning's own text form builds every loader and looks into its batches, which here would draw data.

    Attributes:
        item_name: What a step consumes (`samples`, `tokens`).
        items_per_step: How many of them, over all ranks and instances.
    """

    item_name = "items"
    items_per_step = 1

    def __str__(self) -> str:
        return type(self).__name__
