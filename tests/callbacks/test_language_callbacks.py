"""The loss by genre, the induction score and the weights along the way, on a real run."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn

from sup_lightning.callbacks import GenreLoss, InductionScore, Throughput, WeightCheckpoints, weight_checkpoints
from sup_lightning.data.language import TextBatch, TextData
from sup_lightning.data.text import LocalText
from sup_lightning.errors import UserError
from sup_lightning.modules import ToyModel
from sup_lightning.modules.language import LanguageModel
from sup_lightning.snapshot_io import load_snapshot
from tests.helpers import toy_data, toy_model

STDLIB = Path(json.__file__).parents[1]


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def data(cache_dir: str) -> TextData:
    sources = [LocalText(str(STDLIB / folder / "*.py"), genre=folder) for folder in ("asyncio", "email")]
    return TextData(
        sources,
        n_ctx=16,
        d_vocab=300,
        batch_size=8,
        steps_per_epoch=6,
        val_windows=40,
        val_fraction=0.3,
        min_documents_per_genre=2,
        cache_dir=cache_dir,
    )


def make_model() -> LanguageModel:
    return LanguageModel(n_layers=1, d_model=16, n_heads=2, n_ctx=16, d_vocab=300)


def make_trainer(folder: Path, *callbacks: Callback, **options: Any) -> Trainer:
    return Trainer(
        accelerator="cpu", callbacks=list(callbacks), logger=CSVLogger(folder), log_every_n_steps=2,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, **options,
    )  # fmt: skip


class Rows(Callback):
    """Keeps the validation batches and what the module says of them."""

    def __init__(self) -> None:
        self.rows: list[tuple[TextBatch, Tensor]] = []

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *rest: Any) -> None:
        if not trainer.sanity_checking:
            self.rows.append((batch, outputs))


def test_genres_add_up_to_the_loss(tmp_path: Path, data: TextData) -> None:
    rows, trainer = Rows(), make_trainer(tmp_path, GenreLoss(), max_epochs=1)
    trainer.callbacks.append(rows)  # type: ignore[attr-defined]
    trainer.fit(make_model(), data)
    logged = trainer.callback_metrics
    assert data.genres == ["asyncio", "email"]
    nats, tokens = torch.zeros(2).double(), torch.zeros(2).double()
    for batch, outputs in rows.rows:
        for genre in (0, 1):
            chosen = (batch.genres == genre) & (batch.weights > 0)
            nats[genre] += outputs[chosen].sum()
            tokens[genre] += chosen.sum() * 16
    for genre, name in enumerate(data.genres):
        assert float(logged[f"val/loss/{name}"]) == pytest.approx(float(nats[genre] / tokens[genre]), rel=1e-6)
    assert float(logged["val/loss"]) == pytest.approx(float(nats.sum() / tokens.sum()), rel=1e-6)


class Copier(nn.Module):
    """Gives 0.9 to what followed the same token before, if it came before, and the rest to all tokens alike."""

    n_ctx, d_vocab = 16, 10**6  # no token comes twice by chance

    def token_losses(self, tokens: Tensor, targets: Tensor) -> Tensor:
        losses = torch.full(targets.shape, math.log(self.d_vocab))
        for row, sequence in enumerate(tokens.tolist()):
            for t, token in enumerate(sequence):
                if token in sequence[:t] and sequence[sequence.index(token) + 1] == targets[row, t]:
                    losses[row, t] = -math.log(0.9)
        return losses


class Copying(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = Copier()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        pass


def test_induction_is_found_in_a_copier_and_not_before_training(tmp_path: Path, data: TextData) -> None:
    trainer = make_trainer(tmp_path, InductionScore(seed=1))
    trainer.validate(Copying(), data, verbose=False)
    assert float(trainer.callback_metrics["induction/loss_repeated"]) == pytest.approx(-math.log(0.9), abs=1e-3)
    gain = math.log(10**6) + math.log(0.9)
    assert float(trainer.callback_metrics["induction/gain"]) == pytest.approx(gain, abs=1e-3)
    trainer = make_trainer(tmp_path, InductionScore())
    trainer.validate(make_model(), data, verbose=False)
    assert abs(float(trainer.callback_metrics["induction/gain"])) < 0.1


def test_weights_are_kept_at_log_spaced_steps(tmp_path: Path, data: TextData) -> None:
    trainer = make_trainer(tmp_path, WeightCheckpoints(per_decade=2, first_step=3), max_steps=14)
    model = make_model()
    before = {name: value.clone() for name, value in model.net.state_dict().items()}
    trainer.fit(model, data)
    kept = weight_checkpoints(str(trainer.logger.log_dir))  # type: ignore[union-attr]
    assert list(kept) == [0, 3, 10, 14]
    first, last = load_snapshot(kept[0]), load_snapshot(kept[14])
    assert all(torch.equal(value, before[name]) for name, value in first.state_dict().items())
    assert all(torch.equal(value, model.net.state_dict()[name]) for name, value in last.state_dict().items())


def test_speed_is_compared_with_the_device(tmp_path: Path, data: TextData) -> None:
    throughput, model = Throughput(), make_model()
    trainer = make_trainer(tmp_path, throughput, max_epochs=1)
    trainer.fit(model, data)
    assert 0 < throughput.rates["throughput/mfu"] < 1.2
    assert throughput.rates["throughput/tokens_per_second"] > 0
    logged = (Path(str(trainer.logger.log_dir)) / "metrics.csv").read_text()  # type: ignore[union-attr]
    assert "memory/peak_gigabytes" in logged
    assert "estimate/gigabytes" in logged


@pytest.mark.parametrize("callback", [GenreLoss, InductionScore, WeightCheckpoints])
def test_other_models_are_refused(tmp_path: Path, callback: type[Callback]) -> None:
    model: ToyModel = toy_model()
    with pytest.raises(UserError, match=f"{callback.__name__} needs .*; remove it"):
        make_trainer(tmp_path, callback(), max_steps=1).fit(model, toy_data())


def test_too_long_repetitions_are_refused(tmp_path: Path, data: TextData) -> None:
    with pytest.raises(UserError, match="n_tokens is 9; allowed: 2 to 8, half of n_ctx"):
        make_trainer(tmp_path, InductionScore(n_tokens=9), max_steps=1).fit(make_model(), data)
