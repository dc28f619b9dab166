"""Our transformers as TransformerLens models. The only module that imports TransformerLens."""

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from sup_lightning.checkpoint_io import read_checkpoint
from sup_lightning.data.tokenizer import END_OF_TEXT
from sup_lightning.modules.language import LanguageModel
from sup_lightning.nn.transformer import Transformer

if TYPE_CHECKING:
    from transformer_lens import TransformerBridge


def to_bridge(
    model: Transformer | LanguageModel | str | Path, tokenizer: Tokenizer | None = None
) -> "TransformerBridge":
    """A copy of a model as a TransformerBridge: hooks, caches and analyses run on it as on any TransformerLens model.

    Logits agree to 5e-5 in float32. Weights are not folded; `bridge.enable_compatibility_mode()` does that (for plain
    `solu`, TransformerLens 4.3 needs `fold_ln=False`).

    Args:
        model: A transformer, its LightningModule, or the path of a checkpoint of it.
        tokenizer: Lets the bridge take strings, after an end of text unless `prepend_bos=False`. A checkpoint brings
            its own.

    Returns:
        The bridge, in evaluation mode, on the model's device and in its dtype.
    """
    if isinstance(model, str | Path):
        tokenizer = tokenizer or _tokenizer_in(model)
        model = LanguageModel.load_from_checkpoint(model, map_location="cpu")
    net = model.net if isinstance(model, LanguageModel) else model

    from transformer_lens import TransformerBridgeConfig
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
    from transformer_lens.model_bridge.sources.native import NativeModel

    config = TransformerBridgeConfig(
        d_model=net.d_model,
        d_head=net.d_head,
        n_heads=net.n_heads,
        n_layers=net.n_layers,
        n_ctx=net.n_ctx,
        d_vocab=net.d_vocab,
        d_mlp=net.d_mlps[0],
        act_fn=net.activation,
        attn_only=net.attn_only,
        eps=net.ln_eps,
        normalization_type="LN",
        positional_embedding_type="standard" if net.positions == "learned" else "rotary",
        tokenizer_prepends_bos=False,
        dtype=net.head.weight.dtype,
    )
    native = NativeModel(config).to(net.head.weight)
    native.load_state_dict(net.state_dict(), strict=True)
    bridge = build_bridge_from_module(
        native,
        architecture="TransformerLensNative",
        tl_config=config,
        tokenizer=None if tokenizer is None else _hub_tokenizer(tokenizer, net.n_ctx),
        dtype=config.dtype,
        device=net.head.weight.device,
        model_name="sup_lightning",
    )
    _set_mid_ln_eps(bridge, net)
    return bridge.eval()


def _set_mid_ln_eps(bridge: "TransformerBridge", net: Transformer) -> None:
    """TransformerLens has one epsilon for all LayerNorms; ours over the neurons may have another in each layer."""
    for layer, block in zip(net.layers, bridge.blocks, strict=True):
        ours: Any = getattr(layer.mlp, "ln", None)
        if ours is None:
            continue
        ln: Any = block.get_submodule("mlp.ln")
        ln.config = copy.copy(ln.config)
        object.__setattr__(ln.config, "eps", ours.eps)  # past the setter that would change the shared config
        ln.original_component.eps = ours.eps


def _tokenizer_in(path: str | Path) -> Tokenizer | None:
    saved = read_checkpoint(path).get("TextData", {}).get("tokenizer")
    return None if saved is None else Tokenizer.from_str(saved)


def _hub_tokenizer(tokenizer: Tokenizer, n_ctx: int) -> Any:
    from transformers import PreTrainedTokenizerFast

    # TransformerLens prepends the end of text, as it precedes every document here; a tokenizer with a token for the
    # beginning it would reload from the hub.
    special = dict.fromkeys(("eos_token", "pad_token", "unk_token"), END_OF_TEXT)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=n_ctx, **special)
