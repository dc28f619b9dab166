"""Our transformers as TransformerLens models, and back. The only module that imports TransformerLens."""

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from sup_lightning.data.tokenizer import END_OF_TEXT
from sup_lightning.errors import UserError, reject
from sup_lightning.interop.exports import ModelAndTokenizer
from sup_lightning.interop.models import load
from sup_lightning.modules.language import LanguageModel
from sup_lightning.nn.activations import ACTIVATIONS
from sup_lightning.nn.transformer import Transformer

if TYPE_CHECKING:
    from transformer_lens import TransformerBridge, TransformerBridgeConfig

PARAMETER_NAMES = {
    r"^embed\.": "tok_embed.",
    r"^pos_embed\.": "pos.",
    r"^blocks\.": "layers.",
    r"\.mlp\.in\.": ".mlp.fc_in.",
    r"\.mlp\.out\.": ".mlp.fc_out.",
    r"^ln_final\.": "ln_out.",
    r"^unembed\.": "head.",
}
"""From a bridge's names to those of its `NativeModel`, which are ours."""

SUPPORTED: dict[str, tuple[Any, ...]] = {
    "architecture": (None, "TransformerLensNative"),
    "normalization_type": ("LN",),
    "final_rms": (False,),
    "parallel_attn_mlp": (False,),
    "gated_mlp": (False,),
    "num_experts": (None,),
    "attention_dir": ("causal",),
    "use_attn_scale": (True,),
    "attn_scores_soft_cap": (-1.0,),
    "output_logits_soft_cap": (-1.0,),
    "positional_embedding_type": ("standard", "rotary"),
    "rotary_base": (10000,),
    "act_fn": tuple(ACTIVATIONS),
}
"""What a TransformerLens configuration may say if it is to become one of our transformers."""


def to_bridge(
    model: Transformer | LanguageModel | str | Path, tokenizer: Tokenizer | None = None
) -> "TransformerBridge":
    """A copy of a model as a TransformerBridge: hooks, caches and analyses run on it as on any TransformerLens model.

    Logits agree to 5e-5 in float32. Weights are not folded; `bridge.enable_compatibility_mode()` does that (for plain
    `solu`, TransformerLens 4.3 needs `fold_ln=False`). Where layers differ in width, `bridge.cfg.d_mlp` is that of the
    first one, and properties that stack all layers (`bridge.W_in`) have no meaning.

    Args:
        model: A transformer, its LightningModule, or what `load` takes: a checkpoint, run directory or export.
        tokenizer: Lets the bridge take strings, after an end of text unless `prepend_bos=False`. What is loaded brings
            its own.

    Returns:
        The bridge, in evaluation mode, on the model's device and in its dtype.
    """
    if isinstance(model, str | Path):
        loaded = load(model)
        model, tokenizer = loaded.net, tokenizer or loaded.tokenizer
    net = model.net if isinstance(model, LanguageModel) else model

    from transformer_lens import TransformerBridgeConfig
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
    from transformer_lens.model_bridge.sources.native import NativeMLP, NativeModel

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
    native = NativeModel(config)
    for layer, d_mlp in zip(native.layers, net.d_mlps, strict=True):
        if d_mlp != config.d_mlp and not net.attn_only:
            own = copy.deepcopy(config)
            own.d_mlp = d_mlp
            layer.mlp = NativeMLP(own)
    native.to(net.head.weight)
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


def _hub_tokenizer(tokenizer: Tokenizer, n_ctx: int) -> Any:
    from transformers import PreTrainedTokenizerFast

    # TransformerLens prepends the end of text, as it precedes every document here; a tokenizer with a token for the
    # beginning it would reload from the hub.
    special = dict.fromkeys(("eos_token", "pad_token", "unk_token"), END_OF_TEXT)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=n_ctx, **special)


def from_name(name: str) -> ModelAndTokenizer:
    """A model that TransformerLens knows by name, as our transformer, from the Hugging Face hub.

    Args:
        name: Of a model in TransformerLens' own format, such as `gelu-1l`, `solu-2l` or `attn-only-4l`.

    Raises:
        UserError: If TransformerLens does not know it, it cannot be had, or it is none that ours can be.
    """
    from transformer_lens import TransformerBridge
    from transformer_lens.model_bridge.sources.tl_legacy import TL_LEGACY_PREFIXES, boot
    from transformer_lens.supported_models import get_official_model_name

    try:
        official = get_official_model_name(name)
    except ValueError:
        reject("model", name, "a run directory, a checkpoint, an export, or a name that TransformerLens knows")
    start = boot if official.startswith(TL_LEGACY_PREFIXES) else TransformerBridge.boot_transformers
    try:
        bridge = start(official)
    except Exception as error:  # the libraries below raise their own, their clients' and plain ones
        raise UserError(f"{official} cannot be had from the hub ({str(error).strip().splitlines()[0]})") from None
    return ModelAndTokenizer(from_bridge(bridge), bridge.tokenizer.backend_tokenizer)


def from_bridge(bridge: "TransformerBridge") -> Transformer:
    """A copy of a TransformerLens model as our transformer, if it is one that ours can be.

    Bridges of `to_bridge`, `boot_native` and `boot_tl_legacy` are, with weights that are not folded. The way back from
    `to_bridge` gives the same parameters bit for bit; the unembedding is tied if it equals the embedding bit for bit.

    Returns:
        The transformer, in evaluation mode, on the bridge's device and in its dtype.

    Raises:
        UserError: If the model has a part that ours has not, or its weights are folded.
    """
    config, weights = bridge.cfg, {name: value.detach() for name, value in bridge.state_dict().items()}
    if getattr(bridge, "_weights_processed", False):
        raise UserError("the bridge's weights are folded; allowed: a bridge before enable_compatibility_mode()")
    _check_config(config)
    mid_ln_eps = config.eps
    if config.act_fn == "solu_ln" and not config.attn_only:
        mid_ln_eps = [block.get_submodule("mlp.ln").config.eps for block in bridge.blocks]  # type: ignore[union-attr]
    return _assemble(weights, config, mid_ln_eps)


def from_tl_state_dict(
    state_dict: Mapping[str, Tensor], activation: str, ln_eps: float = 1e-5, mid_ln_eps: float = 1e-5
) -> Transformer:
    """The transformer of a state dict under TransformerLens' older names (`embed.W_E`, `blocks.0.attn.W_Q`).

    Sizes are read off the weights. Positions must be learned.

    Args:
        state_dict: As `HookedTransformer.state_dict()` gave it, not folded.
        activation: A name of `sup_lightning.nn.activations`; the weights do not tell gelu from relu.
        ln_eps: Epsilon of the LayerNorms on the residual stream.
        mid_ln_eps: Epsilon of the LayerNorm over the neurons (`solu_ln`).

    Raises:
        UserError: If the state dict is not that of such a model.
    """
    if activation not in ACTIVATIONS:
        reject("activation", activation, ", ".join(ACTIVATIONS))
    from transformer_lens import TransformerBridgeConfig
    from transformer_lens.utilities.tl_checkpoint_conversion import convert_tl_checkpoint

    try:
        n_heads, d_model, d_head = state_dict["blocks.0.attn.W_Q"].shape
        config = TransformerBridgeConfig(
            d_model=d_model,
            d_head=d_head,
            n_heads=n_heads,
            n_layers=len([name for name in state_dict if name.endswith(".attn.W_Q")]),
            n_ctx=len(state_dict["pos_embed.W_pos"]),
            d_vocab=len(state_dict["embed.W_E"]),
            act_fn=activation,
            attn_only="blocks.0.mlp.W_in" not in state_dict,
            eps=ln_eps,
            normalization_type="LN",
        )
        weights = convert_tl_checkpoint(dict(state_dict), config)
    except (KeyError, ValueError) as error:
        raise UserError(f"the state dict has not the names and shapes of TransformerLens ({error})") from None
    return _assemble(weights, config, mid_ln_eps)


def _check_config(config: "TransformerBridgeConfig") -> None:
    """Refuse a configuration of which our transformer would be another function."""
    for name, supported in SUPPORTED.items():
        if (value := getattr(config, name, supported[0])) not in supported:
            reject(f"TransformerLens' {name}", value, ", ".join(map(str, supported)))
    only: dict[str, tuple[Any, ...]] = {
        "n_key_value_heads": (None, config.n_heads),
        "d_vocab_out": (-1, config.d_vocab),
        "rotary_dim": (None, config.d_head),
        "rope_scaling": (None,),
        "attn_scale": (-1.0, config.d_head**0.5),
    }
    for name, supported in only.items():
        if (value := getattr(config, name, supported[0])) not in supported:
            reject(f"TransformerLens' {name}", value, " or ".join(map(str, supported)))


def _assemble(
    weights: dict[str, Tensor], config: "TransformerBridgeConfig", mid_ln_eps: float | list[float]
) -> Transformer:
    """Our transformer with weights under a bridge's names."""
    bias = weights.pop("unembed.bias", None)
    if bias is not None and bias.any():
        raise UserError(f"unembed.bias has entries up to {bias.abs().max():.2g}; allowed: zeros, as ours has no bias")
    embed, unembed = weights["embed.weight"], weights["unembed.weight"]
    widths = [len(weights[f"blocks.{index}.mlp.in.weight"]) for index in range(config.n_layers) if not config.attn_only]
    net = Transformer(
        n_layers=config.n_layers,
        d_model=config.d_model,
        n_heads=config.n_heads,
        d_vocab=config.d_vocab,
        n_ctx=config.n_ctx,
        d_head=config.d_head,
        d_mlp=widths or config.d_mlp,
        activation=config.act_fn or "gelu",
        attn_only=config.attn_only,
        positions="rotary" if config.positional_embedding_type == "rotary" else "learned",
        tied=torch.equal(embed, unembed),
        ln_eps=config.eps,
        mid_ln_eps=mid_ln_eps,
    )
    renamed = {_our_name(name): value for name, value in weights.items()}
    try:
        net.to(embed).load_state_dict(renamed)
    except RuntimeError as error:
        raise UserError(f"the weights are not those of such a transformer ({' '.join(str(error).split())})") from None
    return net.eval()


def _our_name(name: str) -> str:
    for theirs, ours in PARAMETER_NAMES.items():
        name = re.sub(theirs, ours, name)
    return name
