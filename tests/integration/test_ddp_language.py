"""What is measured on the validation text does not depend on the number of processes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from sup_lightning.callbacks import GenreLoss, InductionScore, NeuronMonitor
from sup_lightning.data.language import TextData
from sup_lightning.data.text import LocalText
from sup_lightning.modules.language import LanguageModel

STDLIB = Path(json.__file__).parents[1]


class Sums(Callback):
    """Writes the sums over all ranks, in full precision; what is logged is rounded to float32."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        sums = [total.compute() for total in (pl_module.nats, pl_module.tokens, pl_module.bytes)]
        if trainer.is_global_zero:
            self.path.write_text(json.dumps([float(value) for value in sums]))


def measured(folder: Path, devices: int) -> tuple[dict[str, float], list[float]]:
    sources = [LocalText(str(STDLIB / name / "*.py"), genre=name) for name in ("asyncio", "email")]
    data = TextData(
        sources, n_ctx=64, d_vocab=300, batch_size=8, val_windows=333, val_fraction=0.4, cache_dir=str(folder / "cache")
    )
    model = LanguageModel(n_layers=2, d_model=32, n_heads=2, n_ctx=64, d_vocab=300, activation="solu_ln")
    trainer = Trainer(
        accelerator="cpu", devices=devices, strategy="auto" if devices == 1 else "ddp_fork", logger=False,
        callbacks=[GenreLoss(), InductionScore(), NeuronMonitor(n_batches=3), Sums(folder / f"{devices}.json")],
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.validate(model, data, verbose=False)
    sums = json.loads((folder / f"{devices}.json").read_text())
    return {name: float(value) for name, value in trainer.callback_metrics.items()}, sums


def test_every_validation_number_is_the_same_on_two_ranks(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    (one, sums), (two, sums_of_two) = measured(tmp_path, 1), measured(tmp_path, 2)
    assert sums_of_two == pytest.approx(sums, rel=1e-9)
    assert {"val/loss", "val/loss/email", "induction/gain", "neurons/L1/kurtosis_median"} <= set(one)
    assert two == pytest.approx(one, rel=1e-9)
