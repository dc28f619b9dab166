"""A language run does not depend on the number of processes: its batches, its weights, what is measured."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from sup_lightning.callbacks import GenreLoss, InductionScore, LastCheckpoint, NeuronMonitor
from sup_lightning.callbacks.checkpoint import LAST
from sup_lightning.data.language import TextData
from sup_lightning.data.text import LocalText
from sup_lightning.modules.language import LanguageModel
from tests.helpers import toy_trainer, weights

STDLIB = Path(json.__file__).parents[1]


class Sums(Callback):
    """Writes the sums over all ranks, in full precision; what is logged is rounded to float32."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        sums = [total.compute() for total in (pl_module.nats, pl_module.tokens, pl_module.bytes)]
        if trainer.is_global_zero:
            self.path.write_text(json.dumps([float(value) for value in sums]))


class Rows(Callback):
    """Writes the windows that this rank was given, by optimiser step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.folder.mkdir(exist_ok=True)
        name = f"{batch.step}-{trainer.global_rank}-{batch_idx}.json"
        (self.folder / name).write_text(json.dumps(batch.tokens.tolist()))

    def by_step(self) -> dict[int, list[list[int]]]:
        """The windows of each step, of all ranks and micro-batches, sorted."""
        rows: dict[int, list[list[int]]] = {}
        for path in self.folder.iterdir():
            rows.setdefault(int(path.name.split("-")[0]), []).extend(json.loads(path.read_text()))
        return {step: sorted(windows) for step, windows in rows.items()}


def text_data(folder: Path, **settings: Any) -> TextData:
    sources = [LocalText(str(STDLIB / name / "*.py"), genre=name) for name in ("asyncio", "email")]
    return TextData(sources, d_vocab=300, batch_size=8, val_fraction=0.4, cache_dir=str(folder / "cache"), **settings)


def trained(
    folder: Path, name: str, steps: int, devices: int = 1, accumulate: int = 1, resume: bool = False
) -> tuple[dict[str, torch.Tensor], dict[int, list[list[int]]]]:
    """Final weights, and the windows of each step of the run so called."""
    model, rows = LanguageModel(n_layers=1, d_model=16, n_heads=2, n_ctx=32, d_vocab=300), Rows(folder / f"{name}.rows")
    trainer = toy_trainer(
        folder / name, LastCheckpoint(every_n_steps=10), rows, max_steps=steps, devices=devices,
        strategy="auto" if devices == 1 else "ddp_fork", accumulate_grad_batches=accumulate,
        limit_val_batches=0, num_sanity_val_steps=0,
    )  # fmt: skip
    data = text_data(folder, n_ctx=32, steps_per_epoch=8, val_windows=8)
    trainer.fit(model, data, ckpt_path=folder / name / LAST if resume else None)
    return weights(model), rows.by_step()


def test_training_is_the_same_on_two_ranks_and_resumes_on_one(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    reference, windows = trained(tmp_path, "one", 20)
    of_two, windows_of_two = trained(tmp_path, "two", 20, devices=2)
    assert sorted(windows) == list(range(20))
    assert windows_of_two == windows
    trained(tmp_path, "moved", 10, devices=2)
    moved, windows_moved = trained(tmp_path, "moved", 20, accumulate=2, resume=True)
    assert windows_moved == windows
    for name, weight in reference.items():
        for other in (of_two, moved):
            torch.testing.assert_close(other[name], weight, rtol=1e-5, atol=1e-5, msg=name)


def measured(folder: Path, devices: int) -> tuple[dict[str, float], list[float]]:
    data = text_data(folder, n_ctx=64, val_windows=333)
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
