"""A forward pass in which activations are changed on the way."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from sup_lightning.errors import did_you_mean, reject
from sup_lightning.interop.hook_names import Place, as_is, canonical, places
from sup_lightning.nn.transformer import Transformer

Edit = Callable[[Tensor], Tensor]


@contextmanager
def edited(net: Transformer, edits: Mapping[str, Edit]) -> Iterator[None]:
    """Within this context the named activations are what the edits make of them.

    Args:
        net: The model.
        edits: By the name that TransformerLens gives an activation: from the activation, in the shape that
            `activations` gives, to what takes its place.

    Raises:
        UserError: If there is no such activation, or the forward pass does not go through it, as with patterns.

    >>> import torch
    >>> net, tokens = Transformer(n_layers=1, d_model=8, n_heads=2, d_vocab=5, n_ctx=4), torch.zeros(1, 4).long()
    >>> with edited(net, {"blocks.0.hook_attn_out": torch.zeros_like, "blocks.0.hook_mlp_out": torch.zeros_like}):
    ...     without = net.hidden(tokens)
    >>> bool((without == net.ln_out(net.tok_embed(tokens) + net.pos.weight)).all())
    True
    """
    known = places(net)
    hooks = []
    try:
        for name, edit in edits.items():
            place = known.get(canonical(name))
            if place is None:
                reject("activation", name, f"one of the model's{did_you_mean(name, known)}")
            if place.read is not as_is and not isinstance(place.read, partial):
                reject(
                    "activation", name, "one that the forward pass goes through: residual stream, q, k, v, z, neurons"
                )
            module = net.get_submodule(place.module)
            if place.side == "input":
                hooks.append(module.register_forward_pre_hook(_on_input(place, edit)))
            else:
                hooks.append(module.register_forward_hook(_on_output(place, edit)))
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _on_input(place: Place, edit: Edit) -> Callable[..., tuple[Tensor, ...]]:
    def hook(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, ...]:
        x, *others = inputs
        return (edit(place.read(module, x)).reshape(x.shape), *others)

    return hook


def _on_output(place: Place, edit: Edit) -> Callable[..., Tensor]:
    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return edit(place.read(module, output)).reshape(output.shape)

    return hook
