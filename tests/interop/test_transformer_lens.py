import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from transformer_lens import ActivationCache

from sup_lightning.data.language import TextData
from sup_lightning.data.text import LocalText
from sup_lightning.errors import UserError
from sup_lightning.interop.transformer_lens import to_bridge
from sup_lightning.modules.language import LanguageModel
from sup_lightning.nn.activations import ACTIVATIONS
from sup_lightning.nn.transformer import Transformer

TOKENS = torch.randint(0, 300, (2, 24), generator=torch.Generator().manual_seed(0))


def noisy(**options: Any) -> Transformer:
    """A transformer whose every parameter matters, biases and LayerNorms too; logits of standard deviation 2 to 4."""
    arguments: dict[str, Any] = {"n_layers": 2, "d_model": 64, "n_heads": 4, "d_vocab": 300, "n_ctx": 32}
    model = Transformer(**(arguments | options)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.25)
    return model


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"positions": "rotary", "d_head": 8}, {"tied": True}])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_logits_agree(activation: str, options: dict[str, Any]) -> None:
    model = noisy(activation=activation, **options)
    logits = model(TOKENS)
    assert logits.std() > 1.5
    assert (to_bridge(model)(TOKENS) - logits).abs().max() < 5e-5


@torch.no_grad()
@pytest.mark.parametrize(
    "options", [{"attn_only": True}, {"ln_eps": 0.1}, {"activation": "solu_ln", "mid_ln_eps": 0.1}]
)
def test_logits_agree_with_other_layers(options: dict[str, Any]) -> None:
    model = noisy(**options)
    assert (model(TOKENS) - noisy(activation=model.activation)(TOKENS)).abs().max() > 1e-2  # the option matters
    assert (to_bridge(model)(TOKENS) - model(TOKENS)).abs().max() < 5e-5


@torch.no_grad()
def test_hooks_are_those_of_transformer_lens() -> None:
    model = noisy(activation="solu_ln")
    kept: list[torch.Tensor] = []
    model.layers[1].get_submodule("mlp.hook_post").register_forward_hook(lambda module, x, out: kept.append(out))
    model(TOKENS)
    cache: ActivationCache = to_bridge(model).run_with_cache(TOKENS)[1]
    torch.testing.assert_close(cache["blocks.1.mlp.hook_post"], kept[0], rtol=1e-5, atol=5e-5)
    for name in ("blocks.0.hook_resid_pre", "blocks.0.attn.hook_pattern", "blocks.1.mlp.hook_pre"):
        assert name in cache


@torch.no_grad()
def test_the_bridge_is_a_copy() -> None:
    model = noisy()
    bridge, before = to_bridge(model), model(TOKENS)
    for parameter in bridge.parameters():
        parameter.zero_()
    assert torch.equal(model(TOKENS), before)


@torch.no_grad()
def test_a_checkpoint_becomes_a_bridge_that_reads_text(tmp_path: Path) -> None:
    data = TextData([LocalText(f"{Path(json.__file__).parent}/*.py")], 16, 300, 4, 2, val_fraction=0.3)
    model = LanguageModel(1, 16, 2, n_ctx=16, d_vocab=300)
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    trainer.fit(model, data)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    bridge = to_bridge(tmp_path / "model.ckpt")
    tokens = bridge.to_tokens("import json")
    assert tokens[0].tolist() == [0, *data.tokenizer.encode("import json").ids]  # 0 is the end of text
    assert (bridge(tokens) - model.eval()(tokens)).abs().max() < 5e-5


def test_a_missing_checkpoint_is_named() -> None:
    with pytest.raises(UserError, match=r"'none\.ckpt', which does not exist"):
        to_bridge("none.ckpt")
