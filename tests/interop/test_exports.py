import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tokenizers import Tokenizer

from sup_lightning.errors import UserError
from sup_lightning.interop import exports, hub
from sup_lightning.interop.checkpoints import read_model
from sup_lightning.interop.exports import export
from sup_lightning.interop.models import load
from sup_lightning.interop.transformer_lens import to_bridge
from sup_lightning.modules import LanguageModel
from tests.helpers import same_weights, weights
from tests.interop.golden import train

MIXED: dict[str, Any] = {"n_layers": 2, "d_mlp": [32, 64], "activation": "solu_ln", "mid_ln_eps": [1e-5, 1e-7]}


class Ran:
    """A finished run of a tiny model whose layers differ, in a run directory."""

    def __init__(self, folder: Path) -> None:
        trainer = train(folder, tied=True, **MIXED)
        self.directory, self.net = folder / "run", trainer.lightning_module.net.eval()  # type: ignore[attr-defined]
        self.tokenizer: Tokenizer = trainer.datamodule.tokenizer  # type: ignore[attr-defined]
        self.checkpoint = self.directory / "checkpoints" / "last.ckpt"
        trainer.save_checkpoint(self.checkpoint)
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        record = {"commit": "abc", "seed": 3, "steps": 20, "metrics": metrics}
        (self.directory / "run.yaml").write_text(yaml.safe_dump(record))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return Ran(tmp_path_factory.mktemp("ran"))


@torch.no_grad()
def test_an_export_is_the_model(ran: Ran) -> None:
    folder = export(ran.directory, "models/tiny")
    assert {path.name for path in folder.iterdir()} == {
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "README.md",
    }
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]
    for source in (folder, ran.checkpoint, ran.directory):
        net, tokenizer = load(source)
        assert same_weights(weights(ran.net), weights(net))
        assert net.head.weight is net.tok_embed.weight
        assert (net.d_mlps, net.activation, net.training) == ([32, 64], "solu_ln", False)
        assert tokenizer is not None
        assert tokenizer.encode("the cat <|endoftext|>").ids == ran.tokenizer.encode("the cat <|endoftext|>").ids
    tokens = torch.arange(16)[None]
    assert (to_bridge(folder)(tokens) - ran.net(tokens)).abs().max() < 5e-5


def test_the_config_says_where_a_model_is_from(ran: Ran) -> None:
    config = json.loads((export(ran.checkpoint, "m", check=False) / "config.json").read_text())
    assert (config["format"], config["step"], config["run"]) == (1, 20, {"commit": "abc", "seed": 3})
    assert config["model"] == LanguageModel.load_from_checkpoint(ran.checkpoint).hparams
    assert config["tokenizer_hash"] == read_model(ran.checkpoint).tokenizer_hash
    assert config["versions"]["torch"] == torch.__version__
    assert set(config["metrics"]) == {"val/loss", "val/perplexity", "val/bits_per_byte"}
    assert 0 < config["metrics"]["val/loss"] < 6
    assert "| d_mlp | [32, 64] |" in Path("m/README.md").read_text()


def test_metrics_of_another_step_are_left_out(ran: Ran, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(ran.directory, run)
    record = yaml.safe_load((run / "run.yaml").read_text())
    (run / "run.yaml").write_text(yaml.safe_dump(record | {"steps": 40}))
    assert json.loads((export(run, "m", check=False) / "config.json").read_text())["metrics"] == {}


@torch.no_grad()
def test_a_bridge_of_a_file_reads_text(ran: Ran) -> None:
    bridge = to_bridge(ran.checkpoint)
    tokens = bridge.to_tokens("the cat")
    assert tokens[0].tolist() == [0, *ran.tokenizer.encode("the cat").ids]  # 0 is the end of text
    assert (bridge(tokens) - ran.net(tokens)).abs().max() < 5e-5


def test_a_bridge_of_a_module(ran: Ran) -> None:
    module = LanguageModel.load_from_checkpoint(ran.checkpoint)
    assert torch.equal(to_bridge(module).W_U.T, ran.net.head.weight)


def test_a_folder_is_replaced_on_demand_only(ran: Ran) -> None:
    folder = export(ran.checkpoint, "m", check=False)
    (folder / "leftover").touch()
    with pytest.raises(UserError, match="m exists; choose another folder, or replace it with --overwrite"):
        export(ran.checkpoint, "m")
    export(ran.checkpoint, "m", check=False, overwrite=True)
    assert not (folder / "leftover").exists()
    Path("letters").mkdir()
    with pytest.raises(UserError, match=r"letters is no export; allowed with --overwrite: a folder with config\.json"):
        export(ran.checkpoint, "letters", overwrite=True)


def test_a_failed_check_leaves_no_export(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    written = exports.save_weights

    def damaged(state: dict[str, torch.Tensor], *rest: Any) -> None:
        written({name: value * 1.01 for name, value in state.items()}, *rest)

    monkeypatch.setattr(exports, "save_weights", damaged)
    with pytest.raises(UserError, match=r"log-probabilities in TransformerLens differ by .* allowed: below 0\.0002"):
        export(ran.checkpoint, "models/m")
    assert list(Path("models").iterdir()) == []
    export(ran.checkpoint, "models/m", check=False)  # unless it is not asked for


def test_the_check_covers_every_position(ran: Ran) -> None:
    tokens = exports._tokens(read_model(ran.checkpoint))
    assert tokens.shape == (1, 16)
    assert tokens.unique().numel() > 5


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda folder: (folder / "config.json").write_text("{}"), "config.json is not the config.json of an export"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors cannot be read as safetensors"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "the tokenizer of m is None; its weights need "),
        (lambda folder: _change(folder, format=2), "config.json has format 2; this version reads format 1"),
        (lambda folder: _change(folder, model={}), "does not hold the weights that its settings describe"),
    ],
)
def test_a_damaged_export_is_named(damage: Any, said: str, ran: Ran) -> None:
    damage(export(ran.checkpoint, "m", check=False))
    with pytest.raises(UserError, match=said):
        load("m")


def _change(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_what_is_no_language_model_is_named() -> None:
    torch.save({"state_dict": {"W": torch.zeros(2)}}, "toy.ckpt")
    Path("empty").mkdir()
    for path, said in {
        "toy.ckpt": "toy.ckpt is not a checkpoint of a language model",
        "empty": "empty is no run directory: it has no checkpoints/last.ckpt",
        "a/b/c": "checkpoint is 'a/b/c', which does not exist",
    }.items():
        with pytest.raises(UserError, match=said):
            load(path)


def test_the_hub_both_ways(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a hub that is a folder."""

    class Hub:
        def create_repo(self, repo_id: str, exist_ok: bool) -> None:
            assert exist_ok
            Path("hub", repo_id).mkdir(parents=True)

        def upload_folder(self, repo_id: str, folder_path: Path) -> None:
            shutil.copytree(folder_path, Path("hub", repo_id), dirs_exist_ok=True)

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda repo_id: f"hub/{repo_id}")
    assert hub.push(export(ran.checkpoint, "m", check=False), "me/tiny") == "https://huggingface.co/me/tiny"
    assert same_weights(weights(load("me/tiny").net), weights(ran.net))


def test_a_hub_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """Sockets are blocked here, so this is the real client without a network."""
    for said, call in {
        "cannot be pushed to me/tiny on the hub": lambda: hub.push(tmp_path, "me/tiny"),
        "cannot be pushed to a/b/c on the hub": lambda: hub.push(tmp_path, "a/b/c"),
        "me/tiny is no folder here and cannot be had from the hub": lambda: load("me/tiny"),
    }.items():
        with pytest.raises(UserError, match=said) as caught:
            call()
        assert "\n" not in str(caught.value)
