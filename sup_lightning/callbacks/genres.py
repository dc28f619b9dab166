"""The validation loss of each kind of text."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from sup_lightning.errors import UserError


class GenreLoss(Callback):
    """Logs `val/loss/<genre>`, the mean nats per token of the validation windows of each genre, over all ranks.

    It needs data with `genres`, such as TextData, and a module whose validation step returns the nats of each row.
    """

    def __init__(self) -> None:
        self.sums = torch.zeros(0)
        """`[2, n_genres]` float64: nats and tokens."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage in ("fit", "validate") and not hasattr(getattr(trainer, "datamodule", None), "genres"):
            raise UserError("GenreLoss needs data with genres, such as TextData; remove it")

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        n_genres = len(trainer.datamodule.genres)  # type: ignore[attr-defined]
        self.sums = torch.zeros(2, n_genres, dtype=torch.float64, device=pl_module.device)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor | Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        weights = batch.weights.double()
        self.sums[0].index_add_(0, batch.genres, outputs * weights)
        self.sums[1].index_add_(0, batch.genres, weights * batch.targets.shape[1])

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        nats, tokens = trainer.strategy.reduce(self.sums, reduce_op="sum")  # type: ignore[misc]
        for genre, loss, n in zip(trainer.datamodule.genres, nats / tokens, tokens, strict=True):  # type: ignore[attr-defined]
            if n > 0:
                pl_module.log(f"val/loss/{genre}", loss.float(), sync_dist=True, reduce_fx="max")  # equal on all ranks
