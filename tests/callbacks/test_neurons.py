import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.optim import AdamW

from sup_lightning.callbacks.neurons import NeuronMonitor, examples_table
from sup_lightning.data import windows
from sup_lightning.data.language import TextData
from sup_lightning.data.text import LocalText
from sup_lightning.data.tokenizer import train_tokenizer
from sup_lightning.errors import UserError
from sup_lightning.functional.selectivity import dead_fraction, kurtosis, rotated_kurtosis
from sup_lightning.metrics.top_examples import OUTSIDE, Examples
from sup_lightning.modules.language import LanguageModel

NAMES = ("kurtosis_median", "kurtosis_rotated_median", "kurtosis_excess", "dead_fraction")


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


def fit(cache_dir: str, callbacks: list[Any], **options: Any) -> tuple[Trainer, LanguageModel, TextData]:
    text = LocalText(f"{Path(json.__file__).parent}/*.py")
    data = TextData(
        [text], 16, 300, 4, 3, val_fraction=0.3, min_documents_per_genre=2, val_windows=11, cache_dir=cache_dir
    )
    model = LanguageModel(2, 16, 2, 16, 300, activation="relu", dropout=0.1, optimizer=partial(AdamW, lr=1e-2))
    arguments: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 2,
        "logger": False,
        "enable_checkpointing": False,
    }
    arguments |= {"enable_progress_bar": False, "enable_model_summary": False, "callbacks": callbacks}
    trainer = Trainer(**(arguments | options))
    trainer.fit(model, data)
    return trainer, model, data


@torch.no_grad()
def reference(model: LanguageModel, data: TextData, layer: int) -> dict[str, float]:
    kept: list[torch.Tensor] = []
    hook = model.net.layers[layer].get_submodule("mlp.hook_post")
    handle = hook.register_forward_hook(lambda module, x, out: kept.append(out))
    windows = data.val.windows(data.validation_index(11), 16)
    model.eval()(torch.from_numpy(windows[:, :-1]))
    handle.remove()
    neurons, rotated = kurtosis(kept[0]).nanmedian().item(), rotated_kurtosis(kept[0]).nanmedian().item()
    return dict(zip(NAMES, (neurons, rotated, neurons - rotated, dead_fraction(kept[0]).item()), strict=True))


@pytest.mark.parametrize("devices", [1, 2])
def test_values_equal_a_direct_measurement(cache_dir: str, devices: int) -> None:
    monitor = NeuronMonitor(n_batches=100)
    strategy = "auto" if devices == 1 else "ddp_fork"
    trainer, model, data = fit(cache_dir, [monitor], devices=devices, strategy=strategy)
    data.setup()
    for layer in (0, 1):
        for name, value in reference(model, data, layer).items():
            logged = trainer.callback_metrics[f"neurons/L{layer}/{name}"].item()
            assert logged == pytest.approx(value, rel=1e-4, abs=1e-4), name


def test_it_does_not_change_the_run(cache_dir: str) -> None:
    _, with_monitor, _ = fit(cache_dir, [NeuronMonitor()])
    _, without, _ = fit(cache_dir, [])
    for one, other in zip(with_monitor.parameters(), without.parameters(), strict=True):
        assert torch.equal(one, other)
    assert with_monitor.training == without.training
    assert not any(module._forward_hooks for module in with_monitor.modules())


def test_top_tokens_go_to_tensorboard(cache_dir: str, tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="run", version="0")
    fit(cache_dir, [NeuronMonitor(n_batches=100, n_neurons=3, n_examples=2)], logger=logger)
    events = EventAccumulator(logger.log_dir, size_guidance={"tensors": 0}).Reload()
    assert events.Scalars("neurons/L0/kurtosis_excess")[-1].step == 5
    texts = events.Tensors("neurons/L1/top_tokens/text_summary")
    assert [text.step for text in texts] == [2, 5]
    rows = texts[-1].tensor_proto.string_val[0].decode().splitlines()
    assert rows[0] == "| neuron | activation | text |"
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| 0", "| 0", "| 21", "| 21", "| 42", "| 42"]


def test_only_the_first_batches_are_measured(cache_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "VALIDATION_TOKENS", 4 * 16)  # four rows in a batch
    monitor = NeuronMonitor(n_batches=1)
    fit(cache_dir, [monitor])
    assert monitor.layers[0].kurtosis.power_sums[0, 0] == 4 * 16  # and nothing of the sanity check


def test_a_table_shows_text_as_it_is() -> None:
    tokenizer = train_tokenizer(["a|b *c* <d>\n"], 257)
    ids = tokenizer.encode("a|b *c* <d>").ids
    tokens = torch.full((2, 1, 11), OUTSIDE)
    tokens[0, 0, 5:] = torch.tensor(ids[:6])
    examples = Examples(torch.tensor([[1.5], [-torch.inf]]), torch.zeros(2, 1), torch.zeros(2, 1), tokens)
    assert examples_table(examples, [7], tokenizer).splitlines()[2:] == ["| 7 | 1.50 | a&#124;b**·**&#42;c |"]


def test_a_model_without_mlps_is_named(cache_dir: str) -> None:
    trainer = Trainer(
        accelerator="cpu", logger=False, callbacks=[NeuronMonitor()], enable_checkpointing=False, max_epochs=1
    )
    data = TextData(
        [LocalText(f"{Path(json.__file__).parent}/*.py")],
        16,
        300,
        val_fraction=0.3,
        min_documents_per_genre=2,
        cache_dir=cache_dir,
    )
    with pytest.raises(UserError, match="NeuronMonitor finds no MLP in LanguageModel"):
        trainer.fit(LanguageModel(1, 16, 2, 16, 300, attn_only=True), data)
    with pytest.raises(UserError, match="n_batches is 0"):
        NeuronMonitor(n_batches=0)
