"""Weights of a transformer alone, in one safetensors file that says what model they belong to."""

import inspect
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from sup_lightning.errors import UserError
from sup_lightning.nn.transformer import Transformer

TIED = "head.weight"
"""The parameter that is the embedding if they are tied; a file holds it once."""


def transformer_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `Transformer` among a module's hyper-parameters.

    >>> settings = {"n_layers": 1, "d_model": 8, "n_heads": 2, "d_vocab": 5, "n_ctx": 4}
    >>> transformer_settings(settings | {"k": 10}) == settings
    True
    """
    return {name: values[name] for name in inspect.signature(Transformer).parameters if name in values}


def save_weights(state: Mapping[str, Tensor], tied: bool, path: Path, metadata: dict[str, str]) -> None:
    """Write a transformer's state dict beside `path` and rename it; a tied unembedding is left out."""
    tensors = {name: value.detach().contiguous() for name, value in state.items() if not (tied and name == TIED)}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_bytes(save(tensors, metadata))  # `save_file` would make it unreadable for others
    os.replace(partial, path)


def load_weights(settings: Mapping[str, Any], path: Path) -> Transformer:
    """The transformer of `settings` with the weights that `save_weights` wrote, in evaluation mode and in their dtype.

    Raises:
        UserError: If the file is missing, cannot be read, or holds the weights of another model.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read as safetensors ({error})") from None
    try:
        net = Transformer(**settings).to(next(iter(tensors.values())).dtype)
        if net.tied:
            tensors.setdefault(TIED, tensors["tok_embed.weight"])
        net.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError, StopIteration) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} does not hold the weights that its settings describe ({reason})") from None
    return net.eval()


def save_snapshot(
    net_state: Mapping[str, Tensor], config: Mapping[str, Any], path: str | Path, step: int, tokens: int
) -> None:
    """Write the weights of a transformer, without the optimiser: what analyses of training read.

    Args:
        net_state: `Transformer.state_dict()`.
        config: The arguments of `Transformer`; other hyper-parameters among them are left out.
        path: The file, by convention `<run>/checkpoints/step-<n>.safetensors`.
        step: Optimiser steps done.
        tokens: Tokens trained on.
    """
    settings = transformer_settings(config)
    metadata = {"step": str(step), "tokens": str(tokens), "config": json.dumps(settings)}
    save_weights(net_state, settings.get("tied", False), Path(path), metadata)


def load_snapshot(path: str | Path) -> Transformer:
    """The model of a snapshot, in evaluation mode.

    Raises:
        UserError: If the file is missing or is not a snapshot.
    """
    metadata = snapshot_metadata(path)
    return load_weights(json.loads(metadata["config"]), Path(path))


def snapshot_metadata(path: str | Path) -> dict[str, str]:
    """What a snapshot says of itself: `step`, `tokens`, and `config` as JSON.

    Raises:
        UserError: If the file is missing or is not a snapshot.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read as safetensors ({error})") from None
    if "config" not in metadata:
        raise UserError(f"{path} is not a snapshot: it does not say what model its weights belong to")
    return metadata
