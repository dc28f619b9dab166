import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.optim import SGD, AdamW

from sup_lightning.data.language import TextData
from sup_lightning.data.text import LocalText
from sup_lightning.errors import UserError
from sup_lightning.modules.language import LanguageModel
from sup_lightning.modules.schedule import WarmupCosine
from sup_lightning.modules.widened import WidenedLanguageModel

TEXT = f"{Path(json.__file__).parent}/*.py"
ACTIVATIONS = ("gelu", "solu", "solu_ln")


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


def data_in(cache_dir: str, **options: Any) -> TextData:
    arguments: dict[str, Any] = {"n_ctx": 16, "d_vocab": 300, "batch_size": 16, "steps_per_epoch": 10}
    arguments |= {"val_fraction": 0.3, "val_windows": 32, "cache_dir": cache_dir}
    return TextData([LocalText(TEXT)], min_documents_per_genre=2, **(arguments | options))


@pytest.fixture
def make_data(cache_dir: str) -> Any:
    return partial(data_in, cache_dir)


def make_trainer(**options: Any) -> Trainer:
    arguments: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "max_epochs": 2, "logger": False}
    arguments |= {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    return Trainer(**(arguments | options))


@pytest.fixture(scope="module")
def sources(cache_dir: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Checkpoints of small models after 30 steps, and their validation losses beside them."""
    folder = tmp_path_factory.mktemp("sources")
    for activation in ACTIVATIONS:
        sizes: dict[str, Any] = {"n_layers": 1, "d_model": 32, "n_heads": 2, "d_mlp": 64, "n_ctx": 16, "d_vocab": 300}
        model = LanguageModel(**sizes, activation=activation, optimizer=partial(AdamW, lr=1e-2))
        trainer = make_trainer(max_epochs=3)
        trainer.fit(model, data_in(cache_dir))
        trainer.save_checkpoint(folder / f"{activation}.ckpt")
        (folder / f"{activation}.txt").write_text(str(trainer.callback_metrics["val/loss"].item()))
    return {activation: str(folder / f"{activation}.ckpt") for activation in ACTIVATIONS}


def loss_of(source: str) -> float:
    return float(Path(source).with_suffix(".txt").read_text())


def make_model(source: str | None, **options: Any) -> WidenedLanguageModel:
    arguments: dict[str, Any] = {"k": 4, "noise": "zero_sum", "n_ctx": 16, "d_vocab": 300}
    arguments |= {
        "optimizer": partial(AdamW, lr=1e-2, weight_decay=0.1, fused=True),
        "lr_scheduler": partial(WarmupCosine, total_steps=20, warmup_steps=3),
    }
    return WidenedLanguageModel(source=source, **(arguments | options))


@pytest.mark.parametrize(
    ("activation", "noise"),
    [
        *((activation, noise) for activation in ACTIVATIONS for noise in ("none", "zero_sum")),
        ("gelu", "cancelling_pairs"),
    ],
)
def test_the_loss_starts_where_the_source_ended(
    sources: dict[str, str], make_data: Any, activation: str, noise: str
) -> None:
    model = make_model(sources[activation], noise=noise)
    (measured,) = make_trainer().validate(model, make_data(), verbose=False)
    assert measured["val/loss"] == pytest.approx(loss_of(sources[activation]), abs=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_widened_mlp_alone_learns(sources: dict[str, str], make_data: Any, activation: str) -> None:
    model = make_model(sources[activation], optimizer=partial(AdamW, lr=3e-3, weight_decay=0.1))
    before = {name: value.detach().clone() for name, value in model.state_dict().items()}
    trainer = make_trainer()
    trainer.fit(model, make_data())
    assert trainer.callback_metrics["val/loss"] < loss_of(sources[activation]) - 0.01
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) != name.startswith("net.layers.0.mlp."), name


def test_nothing_is_recorded_below_the_mlp(sources: dict[str, str]) -> None:
    model = make_model(sources["gelu"])
    recorded: dict[str, bool] = {}
    for name in ("ln2", "mlp"):
        model.net.layers[0].get_submodule(name).register_forward_hook(
            lambda module, x, out, name=name: recorded.__setitem__(name, out.requires_grad)
        )
    model(torch.zeros(1, 16, dtype=torch.int64)).sum().backward()
    assert recorded == {"ln2": False, "mlp": True}
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == name.startswith("net.layers.0.mlp."), name


@pytest.mark.parametrize(("activation", "factor"), [("gelu", 1 / 4), ("solu", 1.0), ("solu_ln", 1 / 4)])
def test_output_weights_have_the_rate_of_their_scale(sources: dict[str, str], activation: str, factor: float) -> None:
    model = make_model(sources[activation])
    of_source = 4 * 32 / 64  # initialised `by_width`
    configured = model.configure_optimizers()
    assert isinstance(configured, dict)
    names = {id(p): name.removeprefix("net.layers.0.mlp.") for name, p in model.named_parameters()}
    groups = {
        names[id(p)]: (group["initial_lr"], group["weight_decay"])
        for group in configured["optimizer"].param_groups
        for p in group["params"]
    }
    norm: dict[str, Any] = {"ln.weight": (1e-2, 0.0), "ln.bias": (1e-2, 0.0)} if activation == "solu_ln" else {}
    expected = {"fc_in.weight": (1e-2, 0.1), "fc_in.bias": (1e-2, 0.0), "fc_out.bias": (1e-2, 0.0)} | norm
    assert groups == expected | {"fc_out.weight": (pytest.approx(1e-2 * of_source * factor), 0.1)}


def test_clones_move_the_output_as_one_neuron_does(sources: dict[str, str], make_data: Any) -> None:
    """One step of Adam on the output weights alone: the rates make it the same step at every width."""
    results = []
    for k in (1, 4):
        optimizer = partial(AdamW, lr=1e-3, weight_decay=0.0, eps=1e-30)
        model = make_model(sources["gelu"], k=k, noise="none", optimizer=optimizer, lr_scheduler=None)
        model.mlp.fc_in.requires_grad_(False)
        trainer = make_trainer(max_steps=1, max_epochs=-1)
        trainer.fit(model, make_data())
        W, V = model.neuron_copies()[0]
        assert W.shape == V.shape == (64, k, 32)
        results.append(V.detach().sum(dim=1))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=2e-6)


def test_a_resumed_run_is_bitwise_the_uninterrupted_one(
    sources: dict[str, str], make_data: Any, tmp_path: Path
) -> None:
    def run(ckpt_path: Path | None = None) -> dict[str, torch.Tensor]:
        saver = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=4, save_top_k=-1)
        trainer = make_trainer(max_epochs=-1, max_steps=15, callbacks=[saver], enable_checkpointing=True)
        model = make_model(sources["gelu"], noise="cancelling_pairs", seed=3)
        trainer.fit(model, make_data(), ckpt_path=ckpt_path, weights_only=True)
        return model.state_dict()

    whole, resumed = run(), run(tmp_path / "step=8.ckpt")
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())
    with pytest.raises(UserError, match=r"the checkpoint was made with noise='cancelling_pairs', but .* 'zero_sum'"):
        make_trainer().fit(make_model(sources["gelu"], seed=3), make_data(), ckpt_path=tmp_path / "step=8.ckpt")


def test_two_processes_equal_one(sources: dict[str, str], make_data: Any) -> None:
    states = []
    for devices in (1, 2):
        model = make_model(sources["gelu"], noise="cancelling_pairs", optimizer=partial(SGD, lr=0.5))
        make_trainer(devices=devices, strategy="auto" if devices == 1 else "ddp_fork").fit(model, make_data())
        states.append(model.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize("activation", ["gelu", "solu_ln"])
def test_the_checkpoint_is_a_language_models(
    sources: dict[str, str], make_data: Any, tmp_path: Path, activation: str
) -> None:
    source = tmp_path / "source.ckpt"
    source.write_bytes(Path(sources[activation]).read_bytes())
    model, trainer = make_model(str(source)), make_trainer(max_epochs=1)
    trainer.fit(model, make_data())
    trainer.save_checkpoint(tmp_path / "widened.ckpt")
    again = WidenedLanguageModel.load_from_checkpoint(tmp_path / "widened.ckpt")
    assert again.hparams == model.hparams
    source.unlink()
    plain = LanguageModel.load_from_checkpoint(tmp_path / "widened.ckpt")
    assert plain.hparams["d_mlp"] == [256]
    assert plain.tokenizer_hash == model.tokenizer_hash is not None
    for loaded in (again, plain):
        for name, value in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], value)
    tokens = torch.arange(16)[None]
    assert torch.equal(plain.eval()(tokens), model.eval()(tokens))
    saved = torch.load(tmp_path / "widened.ckpt", weights_only=True)["hyper_parameters"]
    widening = {"source": str(source), "layer": 0, "k": 4, "noise": "zero_sum", "noise_scale": 1.0, "seed": 0}
    assert widening.items() <= saved.items()


def test_a_widened_model_can_be_a_source(sources: dict[str, str], make_data: Any, tmp_path: Path) -> None:
    model, trainer = make_model(sources["solu_ln"]), make_trainer(max_epochs=1)
    trainer.fit(model, make_data())
    trainer.save_checkpoint(tmp_path / "widened.ckpt")
    again = make_model(str(tmp_path / "widened.ckpt"), k=2)
    assert again.hparams["d_mlp"] == [512]
    assert again.hparams["mid_ln_eps"] == pytest.approx([1e-5 / 64])
    (measured,) = make_trainer().validate(again, make_data(), verbose=False)
    assert measured["val/loss"] == pytest.approx(trainer.callback_metrics["val/loss"].item(), abs=1e-6)


def test_one_layer_of_several_is_widened(make_data: Any, tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"n_layers": 2, "d_model": 16, "n_heads": 2, "n_ctx": 16, "d_vocab": 300, "d_mlp": 48}
    trainer = make_trainer(max_steps=1, max_epochs=-1)
    trainer.fit(LanguageModel(**sizes, activation="solu_ln", mid_ln_eps=1e-3, init="published"), make_data())
    trainer.save_checkpoint(tmp_path / "source.ckpt")
    model = make_model(str(tmp_path / "source.ckpt"), layer=0)
    assert (model.hparams["d_mlp"], model.hparams["mid_ln_eps"]) == ([192, 48], [pytest.approx(1e-3 / 16), 1e-3])
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        f"net.layers.0.mlp.{part}.{kind}" for part in ("fc_in", "ln", "fc_out") for kind in ("weight", "bias")
    }
    assert [group["lr_scale"] for group in model.parameter_groups()] == [1.0, 1.0, 1 / 4]  # published: no rule of width
    assert model.neuron_copies()[0][0].shape == (48, 4, 16)


def test_the_tokenizer_is_the_sources(sources: dict[str, str], make_data: Any) -> None:
    with pytest.raises(UserError, match=r"data's tokenizer is .*, but the weights were trained with"):
        make_trainer().fit(make_model(sources["gelu"]), make_data(val_fraction=0.6))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": None}, "source is None; allowed: the path of a checkpoint of a LanguageModel"),
        ({"source": "no.ckpt"}, "source is 'no.ckpt', which does not exist"),
        ({"n_ctx": 8}, "n_ctx is 8; allowed: 16, as in the source "),
        ({"d_vocab": 400}, "d_vocab is 400; allowed: 300, as in the source "),
        ({"layer": 1}, "layer is 1; allowed: 0 to n_layers - 1 = 0"),
        ({"k": 0}, "k is 0; allowed: a positive integer"),
        ({"k": 1}, "k is 1; allowed: 2 or more with noise zero_sum, or noise none"),
    ],
)
def test_bad_settings_are_named(sources: dict[str, str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_model(**{"source": sources["gelu"]} | options)


def test_another_kind_of_checkpoint_is_named(tmp_path: Path) -> None:
    torch.save({"state_dict": {"net.W": torch.zeros(2)}}, tmp_path / "toy.ckpt")
    with pytest.raises(UserError, match=r"source is '.*toy\.ckpt'; allowed: a checkpoint of a LanguageModel"):
        make_model(str(tmp_path / "toy.ckpt"))
    (tmp_path / "broken.ckpt").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"source is '.*broken\.ckpt', which is not a readable checkpoint"):
        make_model(str(tmp_path / "broken.ckpt"))
