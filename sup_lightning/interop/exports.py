"""Exports: a folder with the weights, the tokenizer and all that is needed to use them anywhere."""

import importlib.metadata
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor

from sup_lightning.callbacks.run_record import read_record
from sup_lightning.data.tokenizer import load_tokenizer, tokenizer_hash
from sup_lightning.errors import UserError
from sup_lightning.interop.checkpoints import TrainedModel, read_model
from sup_lightning.interop.gate import check_bridge
from sup_lightning.nn.transformer import Transformer
from sup_lightning.snapshot_io import load_weights, save_weights

WEIGHTS, CONFIG, TOKENIZER, CARD = "model.safetensors", "config.json", "tokenizer.json", "README.md"
FORMAT = 1
"""Raised when an older reader would misread a newer export."""
PACKAGES = ("sup_lightning", "torch", "tokenizers", "transformer-lens")
TEXT = "The window of a small room looks out on the river; def read(path): return open(path).read()  # 1, 2, 3\n"
"""What an export is checked on, repeated up to `n_ctx` tokens."""


class ModelAndTokenizer(NamedTuple):
    """A language model and, if it came with one, its tokenizer."""

    net: Transformer
    tokenizer: Tokenizer | None


def export(checkpoint: str | Path, folder: str | Path, check: bool = True, overwrite: bool = False) -> Path:
    """Write a trained language model as a folder that `load` and `to_bridge` read.

    `model.safetensors` has the weights under the names of TransformerLens' `NativeModel`, `config.json` the arguments
    of `Transformer` and where the model is from; `tokenizer.json` and a model card are beside them. The folder is there
    whole or not at all.

    Args:
        checkpoint: A checkpoint, or a run directory.
        folder: Where to write; must not exist.
        check: Whether to compare the exported model as a TransformerBridge with the checkpoint's, on text.
        overwrite: Whether `folder` may be an older export, which is replaced.

    Returns:
        The folder.

    Raises:
        UserError: If there is no such model, the folder may not be written, or the check fails.
    """
    folder = Path(folder)
    if folder.exists() and not overwrite:
        raise UserError(f"{folder} exists; choose another folder, or replace it with --overwrite")
    if folder.exists() and not (folder / CONFIG).is_file():
        raise UserError(f"{folder} is no export; allowed with --overwrite: a folder with {CONFIG}")
    model = read_model(checkpoint)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        _write(model, partial)
        if check:
            _check(model, partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def load_export(folder: str | Path) -> ModelAndTokenizer:
    """The model of an export, in evaluation mode.

    Raises:
        UserError: If a file is missing or damaged, or the export is of a newer format.
    """
    folder = Path(folder)
    config = read_config(folder)
    tokenizer = load_tokenizer(str(folder / TOKENIZER)) if (folder / TOKENIZER).is_file() else None
    present = None if tokenizer is None else tokenizer_hash(tokenizer)
    if present != config["tokenizer_hash"]:
        raise UserError(f"the tokenizer of {folder} is {present}; its weights need {config['tokenizer_hash']}")
    return ModelAndTokenizer(load_weights(config["model"], folder / WEIGHTS), tokenizer)


def read_config(folder: Path) -> dict[str, Any]:
    """What an export says of itself.

    Raises:
        UserError: If it cannot be read, or is of a newer format.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error})") from None
    if not isinstance(config, dict) or not {"format", "model", "tokenizer_hash"} <= config.keys():
        raise UserError(f"{path} is not the {CONFIG} of an export")
    if config["format"] != FORMAT:
        raise UserError(f"{path} has format {config['format']}; this version reads format {FORMAT}")
    return config


def _write(model: TrainedModel, folder: Path) -> None:
    folder.mkdir(parents=True)
    config = _config(model)
    save_weights(model.net.state_dict(), model.net.tied, folder / WEIGHTS, {"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n")
    if model.tokenizer is not None:
        model.tokenizer.save(str(folder / TOKENIZER), pretty=False)
    (folder / CARD).write_text(_card(config))


def _config(model: TrainedModel) -> dict[str, Any]:
    record = read_record(model.run)
    measured = record.get("metrics", {}) if record.get("steps") == model.step else {}  # of these weights, no others
    return {
        "format": FORMAT,
        "model": model.settings,
        "tokenizer_hash": model.tokenizer_hash if model.tokenizer is not None else None,
        "step": model.step,
        "metrics": {name: value for name, value in measured.items() if name.startswith("val/")},
        "run": {name: record[name] for name in ("commit", "seed") if name in record},
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def _check(model: TrainedModel, folder: Path) -> None:
    """The gate, on what was written: the weights in the file, as a bridge, against those of the checkpoint."""
    from sup_lightning.interop.transformer_lens import to_bridge

    check_bridge(model.net, to_bridge(load_export(folder).net), _tokens(model))


def _tokens(model: TrainedModel) -> Tensor:
    """`[1, n_ctx]`, of text if there is a tokenizer."""
    n_ctx, d_vocab = model.net.n_ctx, model.net.d_vocab
    ids = range(d_vocab) if model.tokenizer is None else model.tokenizer.encode(TEXT).ids
    return torch.tensor(ids).repeat(-(-n_ctx // len(ids)))[None, :n_ctx]


def _card(config: Mapping[str, Any]) -> str:
    """The model card, as the hub shows it."""
    settings, metrics = config["model"], config["metrics"]
    sizes = "".join(f"| {name} | {value} |\n" for name, value in {**settings, **metrics}.items() if value is not None)
    return f"""---
library_name: sup_lightning
tags: [superposition, mechanistic-interpretability, transformer-lens]
---
# A small language model

Trained with sup_lightning for {config["step"]} optimiser steps.

| | |
|---|---|
{sizes}
```python
from sup_lightning.interop import load, to_bridge

net, tokenizer = load("<this folder, or owner/name on the hub>")
bridge = to_bridge("<the same>")  # a TransformerBridge of TransformerLens
```

The weights are named as those of TransformerLens' `NativeModel`.
"""
