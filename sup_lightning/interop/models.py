"""Trained language models, wherever they are kept."""

import re
from pathlib import Path

from sup_lightning.interop.checkpoints import read_model
from sup_lightning.interop.exports import CONFIG, ModelAndTokenizer, load_export
from sup_lightning.interop.hub import fetch


def load(source: str | Path) -> ModelAndTokenizer:
    """A trained language model and its tokenizer.

    Args:
        source: An export, a checkpoint, a run directory, `owner/name` of an export on the Hugging Face hub, or the name
            of a model that TransformerLens knows (`gelu-1l`).

    Returns:
        The model in evaluation mode, and the tokenizer, or None if a checkpoint has none.

    Raises:
        UserError: If there is no such model.
    """
    path = Path(source)
    if not path.exists() and path.suffix != ".ckpt" and re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)):
        path = fetch(str(source))
    if not path.exists() and re.fullmatch(r"[\w-]+", str(source)):
        from sup_lightning.interop.transformer_lens import from_name

        return from_name(str(source))
    if (path / CONFIG).is_file():
        return load_export(path)
    model = read_model(path)
    return ModelAndTokenizer(model.net, model.tokenizer)
