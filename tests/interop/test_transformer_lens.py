from pathlib import Path
from typing import Any

import pytest
import torch
from transformer_lens import TransformerBridge, TransformerBridgeConfig
from transformer_lens.model_bridge.sources import native

from sup_lightning.errors import UserError
from sup_lightning.interop.transformer_lens import from_bridge, from_tl_state_dict, to_bridge
from sup_lightning.nn.activations import ACTIVATIONS
from tests.helpers import same_weights, weights
from tests.interop.networks import TOKENS, WIDE, noisy

LAYERS: list[dict[str, Any]] = [
    {"attn_only": True},
    {"n_layers": 1},
    {"n_layers": 4},
    {"ln_eps": 0.1},
    {"activation": "solu_ln", "mid_ln_eps": 0.1},
    {"d_mlp": [640, 64]},
    WIDE,
]


def boot(**options: Any) -> TransformerBridge:
    """A model of TransformerLens' own making."""
    sizes = {"d_model": 16, "d_head": 8, "n_heads": 2, "n_layers": 2, "n_ctx": 32, "d_vocab": 300, "act_fn": "gelu"}
    return native.boot(TransformerBridgeConfig(**(sizes | {"normalization_type": "LN"} | options))).eval()


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"positions": "rotary", "d_head": 8}, {"tied": True}])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_both_ways_for_every_activation(activation: str, options: dict[str, Any]) -> None:
    model = noisy(activation=activation, **options)
    logits, bridge = model(TOKENS), to_bridge(model)
    assert logits.std() > 1.5
    assert (bridge(TOKENS) - logits).abs().max() < 5e-5
    back = from_bridge(bridge)
    assert same_weights(weights(model), weights(back))
    assert torch.equal(back(TOKENS), logits)
    assert (back.head.weight is back.tok_embed.weight) == model.tied


@torch.no_grad()
@pytest.mark.parametrize("options", LAYERS, ids=str)
def test_both_ways_for_other_layers(options: dict[str, Any]) -> None:
    model = noisy(**options)
    logits, bridge = model(TOKENS), to_bridge(model)
    assert (logits - noisy(activation=model.activation)(TOKENS)).abs().max() > 1e-2  # the option matters
    assert (bridge(TOKENS) - logits).abs().max() < 5e-5
    back = from_bridge(bridge)
    assert same_weights(weights(model), weights(back))
    assert torch.equal(back(TOKENS), logits)  # epsilons too


@torch.no_grad()
@pytest.mark.parametrize(
    "options", [{"act_fn": "solu_ln"}, {"attn_only": True}, {"positional_embedding_type": "rotary"}]
)
def test_models_of_transformer_lens_become_ours(options: dict[str, Any]) -> None:
    bridge = boot(**options)
    assert (from_bridge(bridge)(TOKENS) - bridge(TOKENS)).abs().max() < 5e-5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"normalization_type": "RMS"}, "normalization_type is 'RMS'; allowed: LN"),
        ({"normalization_type": "LNPre"}, "normalization_type is 'LNPre'; allowed: LN"),
        ({"gated_mlp": True}, "gated_mlp is True; allowed: False"),
        ({"n_key_value_heads": 1}, "n_key_value_heads is 1; allowed: None or 2"),
        ({"attn_scores_soft_cap": 5.0}, r"attn_scores_soft_cap is 5\.0; allowed: -1\.0"),
        ({"attention_dir": "bidirectional"}, "attention_dir is 'bidirectional'; allowed: causal"),
        ({"attn_scale": 2.0}, r"attn_scale is 2\.0; allowed: -1\.0 or 2\.8"),
        ({"positional_embedding_type": "rotary", "rotary_dim": 4}, "rotary_dim is 4; allowed: None or 8"),
    ],
)
def test_a_model_that_ours_cannot_be_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=f"TransformerLens' {said}"):
        from_bridge(boot(**options))


def test_parallel_attention_is_refused() -> None:
    bridge = boot()
    bridge.cfg.parallel_attn_mlp = True
    with pytest.raises(UserError, match="parallel_attn_mlp is True; allowed: False"):
        from_bridge(bridge)


def test_folded_weights_are_refused() -> None:
    bridge = to_bridge(noisy())
    bridge.enable_compatibility_mode()
    with pytest.raises(UserError, match="the bridge's weights are folded; allowed: a bridge before enable_compat"):
        from_bridge(bridge)


def old_names(d_model: int = 16, n_heads: int = 2, d_vocab: int = 300, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    """A state dict as TransformerLens wrote it up to version 3."""
    generator = torch.Generator().manual_seed(0)
    d_head, d_mlp = d_model // n_heads, 4 * d_model
    shapes: dict[str, tuple[int, ...]] = {"embed.W_E": (d_vocab, d_model), "pos_embed.W_pos": (32, d_model)}
    for layer in ("blocks.0", "blocks.1"):
        shapes |= {f"{layer}.attn.W_{part}": (n_heads, d_model, d_head) for part in "QKV"}
        shapes |= {f"{layer}.attn.b_{part}": (n_heads, d_head) for part in "QKV"}
        shapes |= {f"{layer}.attn.W_O": (n_heads, d_head, d_model), f"{layer}.attn.b_O": (d_model,)}
        shapes |= {f"{layer}.{ln}.{part}": (d_model,) for ln in ("ln1", "ln2") for part in "wb"}
        shapes |= {f"{layer}.mlp.W_in": (d_model, d_mlp), f"{layer}.mlp.b_in": (d_mlp,)}
        shapes |= {f"{layer}.mlp.W_out": (d_mlp, d_model), f"{layer}.mlp.b_out": (d_model,)}
    shapes |= {"ln_final.w": (d_model,), "ln_final.b": (d_model,), "unembed.W_U": (d_model, d_vocab)}
    made = {name: 0.5 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return made | {"unembed.b_U": torch.zeros(d_vocab), "blocks.0.attn.mask": torch.ones(32, 32).bool()} | more


@torch.no_grad()
def test_a_state_dict_under_the_older_names() -> None:
    state = old_names()
    model = from_tl_state_dict(state, "gelu_new")
    bridge = boot(act_fn="gelu_new")
    from transformer_lens.utilities.tl_checkpoint_conversion import convert_tl_checkpoint

    bridge.load_state_dict(convert_tl_checkpoint(state, bridge.cfg), strict=True)
    logits = bridge(TOKENS)
    assert logits.std() > 0.5
    assert (model(TOKENS) - logits).abs().max() < 5e-5
    assert (from_tl_state_dict(state, "relu")(TOKENS) - logits).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("state", "activation", "said"),
    [
        (old_names(), "gelo", "activation is 'gelo'; allowed: gelu, "),
        (old_names(), "solu_ln", r"the weights are not those of such a transformer .*layers\.0\.mlp\.ln\.weight"),
        ({}, "gelu", r"not the names and shapes of TransformerLens \('blocks\.0\.attn\.W_Q'\)"),
        (
            old_names(**{"unembed.b_U": torch.full((300,), 2.0)}),
            "gelu",
            r"unembed\.bias has entries up to 2; allowed: ",
        ),
    ],
)
def test_a_state_dict_that_does_not_fit_is_refused(state: dict[str, torch.Tensor], activation: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        from_tl_state_dict(state, activation)


@torch.no_grad()
def test_hooks_change_a_wider_layer() -> None:
    """Layers that were put in by hand are hooked as the others are."""
    bridge = to_bridge(noisy(**WIDE))
    assert bridge.run_with_cache(TOKENS)[1]["blocks.1.mlp.hook_post"].shape == (2, 24, 640)
    for layer in (0, 1):
        ablated = bridge.run_with_hooks(TOKENS, fwd_hooks=[(f"blocks.{layer}.mlp.hook_post", lambda x, hook: 0 * x)])
        assert (ablated - bridge(TOKENS)).abs().max() > 0.1


@torch.no_grad()
def test_the_bridge_is_a_copy() -> None:
    model = noisy()
    bridge, before = to_bridge(model), model(TOKENS)
    for parameter in bridge.parameters():
        parameter.zero_()
    assert torch.equal(model(TOKENS), before)


@pytest.mark.parametrize("path", ["none.ckpt", "runs/of/none"])
def test_a_missing_checkpoint_is_named(path: str) -> None:
    with pytest.raises(UserError, match=f"checkpoint is '{path}', which does not exist"):
        to_bridge(Path(path))
