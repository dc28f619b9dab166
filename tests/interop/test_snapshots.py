from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sup_lightning.errors import UserError
from sup_lightning.nn.transformer import Transformer
from sup_lightning.snapshot_io import load_snapshot, save_snapshot, snapshot_metadata
from tests.helpers import same_weights, weights

SIZES: dict[str, Any] = {"n_layers": 2, "d_model": 8, "n_heads": 2, "d_vocab": 11, "n_ctx": 4}


@pytest.mark.parametrize("options", [{}, {"tied": True}, {"activation": "solu_ln", "d_mlp": [8, 80]}])
def test_a_snapshot_comes_back_bit_for_bit(options: dict[str, Any], tmp_path: Path) -> None:
    net, path = Transformer(**SIZES, **options), tmp_path / "checkpoints" / "step-12.safetensors"
    save_snapshot(net.state_dict(), {**SIZES, **options, "optimizer": "of no use"}, path, step=12, tokens=3456)
    back = load_snapshot(path)
    assert same_weights(weights(net), weights(back))
    assert not back.training
    assert (back.head.weight is back.tok_embed.weight) == net.tied
    metadata = snapshot_metadata(path)
    assert (metadata["step"], metadata["tokens"]) == ("12", "3456")
    assert [each.name for each in path.parent.iterdir()] == [path.name]  # nothing half-written


def test_a_snapshot_keeps_its_precision(tmp_path: Path) -> None:
    net = Transformer(**SIZES).bfloat16()
    save_snapshot(net.state_dict(), SIZES, tmp_path / "a.safetensors", step=0, tokens=0)
    assert load_snapshot(tmp_path / "a.safetensors").head.weight.dtype == torch.bfloat16


def test_what_is_not_a_snapshot_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no")
    save_file({"a": torch.zeros(2)}, tmp_path / "bare")
    save_snapshot({"a": torch.zeros(2)}, SIZES, tmp_path / "other", step=0, tokens=0)
    for name, said in {
        "missing": "missing cannot be read as safetensors",
        "text": "text cannot be read as safetensors",
        "bare": "bare is not a snapshot",
        "other": "other does not hold the weights that its settings describe",
    }.items():
        with pytest.raises(UserError, match=said):
            load_snapshot(tmp_path / name)
