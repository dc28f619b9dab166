"""Files that were written once stay readable, with the same logits."""

import json

import pytest
import torch

from sup_lightning.interop import load
from sup_lightning.interop.hook_names import activations
from sup_lightning.interop.transformer_lens import to_bridge
from sup_lightning.modules import LanguageModel
from tests.interop.golden import CHECKPOINT, EXPORT, LOGITS, PROMPT

KEPT = json.loads(LOGITS.read_text())


@torch.no_grad()
@pytest.mark.parametrize("path", [CHECKPOINT, EXPORT], ids=["checkpoint", "export"])
def test_golden_files_give_the_same_logits(path: str) -> None:
    net, tokenizer = load(path)
    assert tokenizer is not None
    assert tokenizer.encode(PROMPT).ids == KEPT["tokens"]
    tokens, expected = torch.tensor([KEPT["tokens"]]), torch.tensor(KEPT["last_logits"])
    assert expected.std() > 0.3
    torch.testing.assert_close(net(tokens)[0, -1], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(to_bridge(path)(tokens)[0, -1], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        activations(net, tokens, "hook_unembed")["hook_unembed"][0, -1], expected, rtol=0, atol=1e-5
    )


def test_the_golden_checkpoint_loads_as_its_module() -> None:
    module = LanguageModel.load_from_checkpoint(CHECKPOINT).eval()
    assert module.tokenizer_hash == json.loads((EXPORT / "config.json").read_text())["tokenizer_hash"]
    with torch.no_grad():
        logits = module(torch.tensor([KEPT["tokens"]]))[0, -1]
    torch.testing.assert_close(logits, torch.tensor(KEPT["last_logits"]), rtol=0, atol=1e-5)


def test_golden_files_are_small() -> None:
    files = [path for folder in (CHECKPOINT.parent, EXPORT) for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 200_000
