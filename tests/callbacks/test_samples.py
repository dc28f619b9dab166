import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.optim import AdamW

from sup_lightning.callbacks.samples import TextSamples
from sup_lightning.data.language import TextData
from sup_lightning.data.text import LocalText
from sup_lightning.errors import UserError
from sup_lightning.modules.language import LanguageModel


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


def fit(cache_dir: str, tmp_path: Path, callbacks: list[Any]) -> tuple[LanguageModel, EventAccumulator]:
    data = TextData(
        [LocalText(f"{Path(json.__file__).parent}/*.py")],
        16,
        300,
        4,
        3,
        val_fraction=0.3,
        min_documents_per_genre=2,
        cache_dir=cache_dir,
    )
    model = LanguageModel(1, 16, 2, 16, 300, dropout=0.2, optimizer=partial(AdamW, lr=1e-2))
    logger = TensorBoardLogger(tmp_path)
    Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=logger,
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(model, data)
    return model, EventAccumulator(logger.log_dir, size_guidance={"tensors": 0}).Reload()


def texts(events: EventAccumulator) -> list[str]:
    return [event.tensor_proto.string_val[0].decode() for event in events.Tensors("samples/text_summary")]


def test_samples_are_written_and_reproducible(cache_dir: str, tmp_path: Path) -> None:
    sampler = TextSamples(["import ", "def "], n_tokens=40)  # longer than the context
    _, events = fit(cache_dir, tmp_path, [sampler])
    assert [event.step for event in events.Tensors("samples/text_summary")] == [2, 5]
    first, second = texts(events)[-1].split("\n\n---\n\n")
    assert first.startswith("    import ")
    assert second.startswith("    def ")
    assert len(first) > 40
    assert texts(fit(cache_dir, tmp_path, [sampler])[1]) == texts(events)


def test_they_do_not_change_the_run(cache_dir: str, tmp_path: Path) -> None:
    with_samples, _ = fit(cache_dir, tmp_path, [TextSamples(n_tokens=3)])
    without, _ = fit(cache_dir, tmp_path, [])
    for one, other in zip(with_samples.parameters(), without.parameters(), strict=True):
        assert torch.equal(one, other)
    assert [module.training for module in with_samples.modules()] == [module.training for module in without.modules()]


def test_bad_settings_are_named() -> None:
    with pytest.raises(UserError, match="n_tokens is 0"):
        TextSamples(n_tokens=0)
    with pytest.raises(UserError, match=r"temperature is 0\.0; allowed: a positive number"):
        TextSamples(temperature=0.0)
    with pytest.raises(UserError, match="TextSamples needs data with a tokenizer"):
        TextSamples().setup(Trainer(accelerator="cpu", logger=False), BoringModel(), "fit")
