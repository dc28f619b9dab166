"""TransformerLens' names of activations, found in our transformer.

One name serves either: `activations(net, tokens, name)[name]` here, `cache[canonical(name)]` on a bridge.
"""

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from sup_lightning.errors import did_you_mean, reject
from sup_lightning.interop.evaluation import evaluating
from sup_lightning.nn.transformer import Attention, Transformer


class Place(NamedTuple):
    """Where an activation is found.

    Attributes:
        module: Path of a module of `Transformer`.
        side: Of that module.
        read: Makes the activation of the module and what is on that side.
    """

    module: str
    side: Literal["input", "output"]
    read: Callable[[Any, Tensor], Tensor]


def as_is(module: nn.Module, x: Tensor) -> Tensor:
    """What is on that side of the module, itself."""
    return x


def _scale(ln: nn.LayerNorm, x: Tensor) -> Tensor:
    """What a LayerNorm divides by, `[..., 1]`."""
    return (x.var(dim=-1, unbiased=False, keepdim=True) + ln.eps).sqrt()


def _normalized(ln: nn.LayerNorm, x: Tensor) -> Tensor:
    """A LayerNorm's output before its weight and bias."""
    return (x - x.mean(dim=-1, keepdim=True)) / _scale(ln, x)


def _heads(module: nn.Module, x: Tensor, n_heads: int) -> Tensor:
    """`[B, T, n_heads * d_head]` to `[B, T, n_heads, d_head]`."""
    return x.unflatten(-1, (n_heads, -1))


def _pattern(attn: Attention, x: Tensor) -> Tensor:
    """`[B, n_heads, T, T]`; fused attention never holds it, so it is made again."""
    q, k = (_heads(attn, part(x), attn.n_heads).transpose(1, 2) for part in (attn.q, attn.k))
    if attn.rotary is not None:
        q, k = attn.rotary(q), attn.rotary(k)
    future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
    return (q @ k.mT / math.sqrt(attn.d_head)).masked_fill(future, -torch.inf).softmax(dim=-1)


def _layernorm(name: str, module: str) -> dict[str, Place]:
    return {
        f"{name}.hook_in": Place(module, "input", as_is),
        f"{name}.hook_scale": Place(module, "input", _scale),
        f"{name}.hook_normalized": Place(module, "input", _normalized),
        f"{name}.hook_out": Place(module, "output", as_is),
    }


def places(net: Transformer) -> dict[str, Place]:
    """Where each activation is, by the name that TransformerLens 4 gives it.

    `hook_pos_embed` has no place: our positions are added without a module of their own.
    """
    heads = partial(_heads, n_heads=net.n_heads)
    found = {"hook_embed": Place("tok_embed", "output", as_is)}
    for index in range(net.n_layers):
        block, layer = f"blocks.{index}", f"layers.{index}"
        found |= {
            f"{block}.hook_resid_pre": Place(layer, "input", as_is),
            **_layernorm(f"{block}.ln1", f"{layer}.ln1"),
            **{f"{block}.attn.hook_{part}": Place(f"{layer}.attn.{part}", "output", heads) for part in "qkv"},
            f"{block}.attn.hook_pattern": Place(f"{layer}.attn", "input", _pattern),
            f"{block}.attn.hook_z": Place(f"{layer}.attn.o", "input", heads),
            f"{block}.hook_attn_out": Place(f"{layer}.attn", "output", as_is),
        }
        if not net.attn_only:
            found |= {
                f"{block}.hook_resid_mid": Place(f"{layer}.ln2", "input", as_is),
                **_layernorm(f"{block}.ln2", f"{layer}.ln2"),
                f"{block}.mlp.hook_pre": Place(f"{layer}.mlp.fc_in", "output", as_is),
                f"{block}.mlp.hook_post": Place(f"{layer}.mlp.hook_post", "output", as_is),
                f"{block}.hook_mlp_out": Place(f"{layer}.mlp", "output", as_is),
            }
        if net.activation == "solu_ln" and not net.attn_only:
            found |= _layernorm(f"{block}.mlp.ln", f"{layer}.mlp.ln")
        found[f"{block}.hook_resid_post"] = Place(layer, "output", as_is)
    return found | _layernorm("ln_final", "ln_out") | {"hook_unembed": Place("head", "output", as_is)}


def canonical(name: str) -> str:
    """The name that TransformerLens 4 gives an activation: SoLU before its LayerNorm was `mlp.hook_mid` up to 3.

    >>> canonical("blocks.0.mlp.hook_mid"), canonical("hook_embed")
    ('blocks.0.mlp.ln.hook_in', 'hook_embed')
    """
    return re.sub(r"\.mlp\.hook_mid$", ".mlp.ln.hook_in", name)


def activations(net: Transformer, tokens: Tensor, names: str | Sequence[str]) -> dict[str, Tensor]:
    """The named activations of a model, as `TransformerBridge.run_with_cache` gives them; evaluation mode, no gradient.

    Args:
        net: Our model.
        tokens: `[B, T]` int64.
        names: One or more names.

    Returns:
        Activations by the name that was asked for: `[B, T, d]` for residual stream and neurons, `[B, T, n_heads,
        d_head]` for q, k, v and z, `[B, n_heads, T, T]` for patterns, `[B, T, 1]` for the scale of a LayerNorm.

    Raises:
        UserError: If the model has no activation of a name.

    >>> net = Transformer(n_layers=1, d_model=8, n_heads=2, d_vocab=5, n_ctx=4)
    >>> activations(net, torch.zeros(1, 4, dtype=torch.int64), "blocks.0.mlp.hook_post")["blocks.0.mlp.hook_post"].shape
    torch.Size([1, 4, 32])
    """
    known = places(net)
    kept: dict[str, Tensor] = {}

    def keep(name: str, place: Place) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            kept[name] = place.read(module, inputs[0] if place.side == "input" else output)

        return hook

    hooks = []
    try:
        for name in [names] if isinstance(names, str) else names:
            place = known.get(canonical(name))
            if place is None:
                allowed = f"the {len(known)} names of interop.hook_names.places(net){did_you_mean(name, known)}"
                reject("activation", name, allowed)
            hooks.append(net.get_submodule(place.module).register_forward_hook(keep(name, place)))
        with evaluating(net):
            net(tokens)
    finally:
        for hook in hooks:
            hook.remove()
    return kept
