"""Language models out of training checkpoints."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from sup_lightning.callbacks.checkpoint import LAST
from sup_lightning.checkpoint_io import read_checkpoint
from sup_lightning.errors import UserError
from sup_lightning.nn.transformer import Transformer
from sup_lightning.snapshot_io import transformer_settings


@dataclass(frozen=True)
class TrainedModel:
    """What a checkpoint of a language model holds, without the state of training.

    Attributes:
        net: The transformer, in evaluation mode.
        settings: Its arguments.
        tokenizer: The tokenizer of its data, if the checkpoint has one.
        tokenizer_hash: Of that tokenizer.
        step: Optimiser steps done.
        run: The run directory.
    """

    net: Transformer
    settings: dict[str, Any]
    tokenizer: Tokenizer | None
    tokenizer_hash: str | None
    step: int
    run: Path


def read_model(path: str | Path) -> TrainedModel:
    """The language model in a checkpoint, of `LanguageModel` or of a subclass with the same hyper-parameters.

    Args:
        path: A checkpoint, or a run directory, of which the last checkpoint is meant.

    Raises:
        UserError: If there is no checkpoint, or it is not that of a language model.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / LAST).is_file():
            raise UserError(f"{path} is no run directory: it has no {LAST}")
        path = path / LAST
    if not path.exists():
        raise UserError(f"checkpoint is {str(path)!r}, which does not exist")
    checkpoint = read_checkpoint(path)
    settings = transformer_settings(checkpoint.get("hyper_parameters", {}))
    weights = {
        name.removeprefix("net."): value
        for name, value in checkpoint.get("state_dict", {}).items()
        if name.startswith("net.")
    }
    if "tok_embed.weight" not in weights or "d_vocab" not in settings:
        raise UserError(f"{path} is not a checkpoint of a language model")
    net = Transformer(**settings)
    net.load_state_dict(weights)
    return TrainedModel(
        net.eval(),
        settings,
        _tokenizer(checkpoint),
        checkpoint.get("tokenizer_hash"),
        checkpoint.get("global_step", 0),
        path.parents[1] if path.parent.name == LAST.parent.name else path.parent,
    )


def _tokenizer(checkpoint: dict[str, Any]) -> Tokenizer | None:
    """The tokenizer that the data module, whatever its class, keeps among its state."""
    states = [state for state in checkpoint.values() if isinstance(state, dict)]
    saved = [state["tokenizer"] for state in states if isinstance(state.get("tokenizer"), str)]
    if not saved:
        return None
    tokenizer = Tokenizer.from_str(saved[0])
    tokenizer.encode_special_tokens = True  # not saved: text that spells <|endoftext|> is text
    return tokenizer
