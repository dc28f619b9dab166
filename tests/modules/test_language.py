import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors.torch import save_file
from torch.optim import SGD, AdamW

from sup_lightning.data.language import TextBatch, TextData
from sup_lightning.data.text import LocalText
from sup_lightning.errors import UserError
from sup_lightning.modules import precision
from sup_lightning.modules.language import LanguageModel
from sup_lightning.modules.schedule import WarmupCosine

TEXT = f"{Path(json.__file__).parent}/*.py"


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def make_data(cache_dir: str) -> Any:
    def make(**options: Any) -> TextData:
        arguments: dict[str, Any] = {
            "n_ctx": 16,
            "d_vocab": 300,
            "batch_size": 4,
            "steps_per_epoch": 6,
            "val_fraction": 0.3,
        }
        return TextData(
            [LocalText(TEXT)],
            cache_dir=cache_dir,
            min_documents_per_genre=2,
            **(arguments | {"val_windows": 11} | options),
        )

    return make


def make_model(**options: Any) -> LanguageModel:
    arguments: dict[str, Any] = {"n_layers": 1, "d_model": 16, "n_heads": 2, "n_ctx": 16, "d_vocab": 300}
    arguments |= {
        "optimizer": partial(AdamW, lr=1e-2, fused=True),
        "lr_scheduler": partial(WarmupCosine, total_steps=20, warmup_steps=3),
    }
    return LanguageModel(**(arguments | options))


def make_trainer(**options: Any) -> Trainer:
    arguments: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "max_epochs": 2, "logger": False}
    arguments |= {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    return Trainer(**(arguments | options))


def assert_same_weights(one: LanguageModel, other: LanguageModel, tolerance: float = 0.0) -> None:
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}")


class Batches(Callback):
    """Keeps what a run is trained on."""

    def __init__(self) -> None:
        self.seen: list[TextBatch] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: TextBatch, batch_idx: int) -> None:
        self.seen.append(batch)


def test_training_lowers_the_loss(make_data: Any) -> None:
    trainer, model = make_trainer(max_epochs=20, log_every_n_steps=5), make_model(lr_scheduler=None)
    trainer.fit(model, make_data())
    assert trainer.callback_metrics["val/loss"] < math.log(300) - 1.0
    assert trainer.callback_metrics["train/loss"] < math.log(300) - 1.0


def test_validation_is_an_exact_mean(make_data: Any) -> None:
    data, model, trainer = make_data(), make_model(), make_trainer()
    (measured,) = trainer.validate(model, data, verbose=False)
    windows = torch.from_numpy(data.val.windows(data.validation_index(11), 16))
    logits = model(windows[:, :-1]).detach().double().numpy()
    targets = windows[:, 1:].numpy()
    log_p = np.take_along_axis(logits, targets[..., None], -1)[..., 0] - np.log(np.exp(logits).sum(-1))
    n_bytes = sum(len(data.tokenizer.id_to_token(t)) for t in targets.ravel().tolist() if t != 0)
    assert measured["val/loss"] == pytest.approx(-log_p.mean(), rel=1e-6)
    assert measured["val/perplexity"] == pytest.approx(np.exp(-log_p.mean()), rel=1e-5)
    assert measured["val/bits_per_byte"] == pytest.approx(-log_p.sum() / n_bytes / np.log(2), rel=1e-6)
    (tested,) = trainer.test(model, data, verbose=False)
    assert set(tested) == {"test/loss", "test/perplexity", "test/bits_per_byte"}


def test_prediction_is_the_log_probability_of_each_target(make_data: Any) -> None:
    data, model = make_data(), make_model()
    batches = make_trainer().predict(model, data)
    assert batches is not None
    log_p = torch.cat([batch for batch in batches if isinstance(batch, torch.Tensor)])
    assert log_p.shape == (11, 16)
    (measured,) = make_trainer().validate(model, data, verbose=False)
    assert -log_p.mean().item() == pytest.approx(measured["val/loss"], rel=1e-6)


def test_a_resumed_run_is_bitwise_the_uninterrupted_one(make_data: Any, tmp_path: Path) -> None:
    def run(steps: int, ckpt_path: Path | None = None) -> LanguageModel:
        torch.manual_seed(steps)  # the state of the global generator must not matter
        saver = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=4, save_top_k=-1)
        trainer = make_trainer(max_epochs=-1, max_steps=steps, callbacks=[saver], enable_checkpointing=True)
        model = make_model(dropout=0.2, seed=3)
        trainer.fit(model, make_data(), ckpt_path=ckpt_path, weights_only=True)
        return model

    whole = run(15)
    for step in (4, 8):  # both in the middle of an epoch of 6
        assert_same_weights(run(15, tmp_path / f"step={step}.ckpt"), whole)


def test_accumulation_equals_one_large_batch(make_data: Any) -> None:
    models = []
    for n_micro in (1, 2):
        models.append(make_model(optimizer=partial(SGD, lr=0.1), lr_scheduler=None))
        seen = Batches()
        make_trainer(accumulate_grad_batches=n_micro, callbacks=[seen]).fit(models[-1], make_data())
        assert [batch.step for batch in seen.seen] == [step for step in range(12) for _ in range(n_micro)]
    assert_same_weights(models[0], models[1], tolerance=1e-6)


def test_two_processes_equal_one(make_data: Any) -> None:
    results = []
    for devices in (1, 2):
        # Adam would blow up the rounding errors of gradients that are zero, as of the keys' biases.
        model = make_model(optimizer=partial(SGD, lr=0.5))
        strategy = "auto" if devices == 1 else "ddp_fork"
        trainer = make_trainer(devices=devices, strategy=strategy)
        trainer.fit(model, make_data())
        results.append((model, trainer.callback_metrics))
    assert_same_weights(results[0][0], results[1][0], tolerance=1e-6)
    for name in ("val/loss", "val/perplexity", "val/bits_per_byte"):
        torch.testing.assert_close(results[0][1][name], results[1][1][name], rtol=1e-5, atol=0)


def test_every_activation_sees_the_same_batches(make_data: Any) -> None:
    runs = []
    for activation in ("gelu", "solu_ln"):
        seen = Batches()
        make_trainer(max_epochs=1, callbacks=[seen]).fit(make_model(activation=activation), make_data())
        runs.append(torch.stack([batch.tokens for batch in seen.seen]))
    assert torch.equal(*runs)


def test_dropout_follows_seed_and_step(make_data: Any) -> None:
    models = [make_model(dropout=0.3, seed=seed) for seed in (0, 0, 1)]
    for number, model in enumerate(models):
        model.net.reset_parameters(0)
        torch.manual_seed(number)
        make_trainer(max_epochs=1).fit(model, make_data())
    assert_same_weights(models[0], models[1])
    assert not torch.equal(models[0].net.head.weight, models[2].net.head.weight)


def test_a_checkpoint_brings_its_model_back(make_data: Any, tmp_path: Path) -> None:
    model, trainer = make_model(activation="solu_ln", mid_ln_eps=1e-3, tied=True), make_trainer(max_epochs=1)
    data = make_data()
    trainer.fit(model, data)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    loaded = LanguageModel.load_from_checkpoint(tmp_path / "model.ckpt")
    assert_same_weights(loaded, model)
    assert loaded.net.head.weight is loaded.net.tok_embed.weight
    assert loaded.hparams == model.hparams
    assert loaded.tokenizer_hash == data.tokenizer_hash
    checkpoint = torch.load(tmp_path / "model.ckpt", weights_only=True)
    assert checkpoint["TextData"]["tokenizer"] == data.tokenizer.to_str()


def test_another_tokenizer_is_named(make_data: Any, tmp_path: Path) -> None:
    trainer, data = make_trainer(max_epochs=1), make_data()
    trainer.fit(make_model(), data)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    other = make_data(val_fraction=0.6)  # trained on other documents
    message = (
        f"data's tokenizer is (?!{data.tokenizer_hash}).*, but the weights were trained with {data.tokenizer_hash}"
    )
    with pytest.raises(UserError, match=message):
        make_trainer().fit(make_model(), other, ckpt_path=tmp_path / "model.ckpt")
    with pytest.raises(UserError, match=message):
        make_trainer().validate(LanguageModel.load_from_checkpoint(tmp_path / "model.ckpt"), other, verbose=False)


@pytest.fixture
def any_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half precision also where it is slow."""
    monkeypatch.setattr("sup_lightning.modules.language.check_precision", lambda precision, device: None)


def test_slow_half_precision_is_refused(make_data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_small_rate", lambda dtype: 1.0 if dtype == torch.bfloat16 else 23.0)
    with pytest.raises(UserError, match=r"trainer.precision is 'bf16-mixed', in which this CPU is 23 times slower"):
        make_trainer(precision="bf16-mixed").fit(make_model(), make_data())
    monkeypatch.setattr(precision, "_small_rate", lambda dtype: 1.0)
    make_trainer(precision="bf16-mixed", max_steps=1).fit(make_model(), make_data())


@pytest.mark.usefixtures("any_precision")
def test_bfloat16_trains(make_data: Any) -> None:
    trainer, model = make_trainer(precision="bf16-mixed", max_epochs=4), make_model(activation="solu_ln")
    trainer.fit(model, make_data())
    assert trainer.callback_metrics["val/loss"] < math.log(300)
    assert model.net.head.weight.dtype == torch.float32


@pytest.mark.usefixtures("any_precision")
def test_gradients_are_clipped_in_bfloat16_too(make_data: Any) -> None:
    """With a fused optimiser, which Lightning refuses: SGD moves by the clipped gradient's length."""
    trainer = make_trainer(precision="bf16-mixed", max_steps=1, gradient_clip_val=1e-3)
    model = make_model(optimizer=partial(torch.optim.SGD, lr=1.0, fused=True), lr_scheduler=None)
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    trainer.fit(model, make_data())
    moved = torch.cat([p.detach().flatten() for p in model.parameters()]) - before
    assert moved.norm().item() == pytest.approx(1e-3, rel=1e-2)


def test_weight_decay_is_for_matrices() -> None:
    model = make_model(activation="solu_ln")
    names = {id(p): name for name, p in model.net.named_parameters()}
    groups = {group.get("weight_decay"): {names[id(p)] for p in group["params"]} for group in model.parameter_groups()}
    decayed, others = groups[None], groups[0.0]
    assert decayed == {
        *(f"layers.0.attn.{map_}.weight" for map_ in "qkvo"),
        "layers.0.mlp.fc_in.weight",
        "layers.0.mlp.fc_out.weight",
        "head.weight",
    }
    assert others == set(names.values()) - decayed
    tied = make_model(tied=True).parameter_groups()
    assert sum(len(group["params"]) for group in tied) == len(list(make_model(tied=True).parameters()))
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert model.parameter_groups() == []


def test_output_weights_of_wide_mlps_learn_more_slowly() -> None:
    def rates(**options: Any) -> dict[str, float]:
        model = make_model(d_model=16, n_layers=2, d_mlp=[64, 640], **options)
        names = {id(p): name for name, p in model.net.named_parameters()}
        groups = model.configure_optimizers()["optimizer"].param_groups  # type: ignore[index,call-overload]
        return {names[id(p)]: group["initial_lr"] for group in groups for p in group["params"]}

    by_width, published = rates(), rates(init="published")
    full = published["head.weight"]
    assert set(published.values()) == {full}
    slow = by_width.pop("layers.1.mlp.fc_out.weight")
    assert slow == pytest.approx(full / 10, rel=1e-12)
    assert set(by_width.values()) == {full}


def test_twins_start_from_one_file(tmp_path: Path) -> None:
    first = make_model(activation="gelu", seed=3)
    save_file(first.net.state_dict(), tmp_path / "init.safetensors")
    twin = make_model(activation="solu_ln", seed=4, init_from=str(tmp_path / "init.safetensors"))
    ours, theirs = first.weight_hashes(), twin.weight_hashes()
    assert {name: theirs[name] for name in ours} == ours
    assert set(theirs) - set(ours) == {"layers.0.mlp.ln.weight", "layers.0.mlp.ln.bias"}
    other = make_model(seed=4).weight_hashes()
    assert other["head.weight"] != ours["head.weight"]


def test_a_file_without_such_weights_is_refused(tmp_path: Path) -> None:
    save_file({"elsewhere": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(
        UserError, match=r"init_from is .*other.safetensors.*; allowed: a file with a weight of the same"
    ):
        make_model(init_from=str(tmp_path / "other.safetensors"))
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"init_from is .*broken.safetensors.*cannot be read"):
        make_model(init_from=str(tmp_path / "broken.safetensors"))


def test_a_loss_that_is_not_finite_stops_the_run(make_data: Any) -> None:
    model = make_model(optimizer=partial(SGD, lr=1e6), lr_scheduler=None)
    with pytest.raises(UserError, match="the loss is not finite at step"):
        make_trainer().fit(model, make_data())


def test_only_due_losses_are_logged(make_data: Any, tmp_path: Path) -> None:
    from lightning.pytorch.loggers import CSVLogger

    trainer = make_trainer(logger=CSVLogger(tmp_path), log_every_n_steps=4)
    trainer.fit(make_model(), make_data())
    rows = (Path(trainer.logger.log_dir) / "metrics.csv").read_text().splitlines()  # type: ignore[union-attr, arg-type]
    header = rows[0].split(",")
    logged = [dict(zip(header, row.split(","), strict=True)) for row in rows[1:]]
    assert [row["step"] for row in logged if row["train/loss"]] == ["3", "7", "11"]
    assert [row["step"] for row in logged if row["val/loss"]] == ["5", "11"]
