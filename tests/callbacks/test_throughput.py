from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import CSVLogger

from sup_lightning.callbacks import throughput
from sup_lightning.callbacks.throughput import Throughput


class Chunked(BoringModel):
    """Three optimiser steps for each training batch, 0.25 seconds each on the fake clock."""

    def __init__(self, clock: list[float]) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.clock = clock

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers()
        for _ in range(3):
            self.clock[0] += 0.25
            optimizer.step()  # type: ignore[union-attr]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.clock[0] += 100.0

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Data(LightningDataModule):
    items_per_step = 8
    item_name = "samples"

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(torch.zeros(4, 32))  # type: ignore[arg-type]

    val_dataloader = train_dataloader


@pytest.mark.parametrize("validate", [True, False])
def test_rates_count_optimiser_steps_and_leave_validation_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, validate: bool
) -> None:
    clock = [0.0]
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: clock[0])
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        log_every_n_steps=6,
        val_check_interval=1,
        limit_val_batches=1.0 if validate else 0,
        logger=CSVLogger(tmp_path),
        callbacks=[Throughput()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Chunked(clock), datamodule=Data())
    rows = (Path(trainer.logger.log_dir) / "metrics.csv").read_text().splitlines()  # type: ignore[union-attr, arg-type]
    table = [dict(zip(rows[0].split(","), row.split(","), strict=True)) for row in rows[1:]]
    assert sum(bool(row["memory/peak_gigabytes"]) for row in table) == 2  # at the end of each epoch
    logged = [{k: float(v) for k, v in row.items() if v} for row in table if row["throughput/steps_per_second"]]
    assert [row["step"] for row in logged] == [5, 11, 17, 23]
    for row in logged:
        assert row["throughput/steps_per_second"] == pytest.approx(4.0)
        assert row["throughput/samples_per_second"] == pytest.approx(32.0)
