"""Language models as the subjects of a study, with the text that they are measured on and their initial weights."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from sup_lightning.callbacks.weight_checkpoints import weight_checkpoints
from sup_lightning.data.language import TextData
from sup_lightning.data.ngram import Baselines, ngram_baselines
from sup_lightning.data.tokenizer import tokenizer_hash
from sup_lightning.errors import reject
from sup_lightning.experiment import Run
from sup_lightning.interop.hook_names import activations
from sup_lightning.interop.models import load
from sup_lightning.nn.transformer import Transformer
from sup_lightning.snapshot_io import load_snapshot

BATCH_TOKENS = 4096
"""Tokens that a model reads at a time."""
SHAPE = (
    *("n_layers", "d_model", "n_heads", "d_head", "d_vocab", "n_ctx"),
    *("activation", "attn_only", "positions", "tied", "ln_eps", "init"),
)
"""Arguments of a transformer that are its attributes as well."""


class Windows(NamedTuple):
    """N windows of held-out text.

    Attributes:
        number: `[N]` int64, which window of the held-out text each is: the same for every model of a tokenizer.
        tokens: `[N, n_ctx]` int64.
        targets: `[N, n_ctx]` int64, the token that follows each.
        genres: `[N]` int64, of the document at the middle.
        documents: `[N, n_ctx]` int64, the document that each token is from.
    """

    number: Tensor
    tokens: Tensor
    targets: Tensor
    genres: Tensor
    documents: Tensor

    def split(self, size: int) -> Iterator["Windows"]:
        """The windows, `size` at a time."""
        return (Windows(*parts) for parts in zip(*(each.split(size) for each in self), strict=True))


@dataclass(frozen=True)
class Subject:
    """A language model that is measured.

    Attributes:
        net: The model, in evaluation mode.
        initial: The same at its initial weights: the null of whatever is said of training.
        data: Its text, set up.
        run: Where it was trained, if that was here.
    """

    net: Transformer
    initial: Transformer
    data: TextData
    run: Path | None = None

    @classmethod
    def of_run(cls, run: Run) -> "Subject":
        """The model of a finished run."""
        data = cast(TextData, run.data)
        data.prepare_data()
        data.setup()
        net = cast(Transformer, run.model.net).eval()
        saved = weight_checkpoints(run.directory) if run.directory is not None else {}
        initial = load_snapshot(saved[0]) if 0 in saved else untrained_twin(net, cast(int, run.model.hparams["seed"]))
        return cls(net, initial, data, run.directory)

    def windows(self, n_windows: int) -> Windows:
        """Held-out windows, all if there are fewer: of each genre its share, spread evenly over its text."""
        text, n_ctx = self.data.val, self.data.n_ctx
        number = self.data.validation_index(min(n_windows, text.n_windows(n_ctx)))
        tokens = text.windows(number, n_ctx)
        places = number[:, None] * n_ctx + np.arange(n_ctx)
        parts = (number, tokens[:, :-1], tokens[:, 1:], text.window_genres(number, n_ctx), text.documents_at(places))
        return Windows(*(torch.from_numpy(np.ascontiguousarray(part)) for part in parts))

    @cached_property
    def baselines(self) -> Baselines:
        """What counting tokens achieves on the validation windows."""
        return ngram_baselines(self.data)

    @cached_property
    def loss(self) -> float:
        """Nats per token on the validation windows."""
        nats, n = 0.0, 0
        for batch in self.data.val_dataloader():
            real = batch.weights > 0
            losses = self.net.token_losses(batch.tokens[real], batch.targets[real])
            nats, n = nats + float(losses.double().sum()), n + losses.numel()
        return nats / n


def stream(net: Transformer, windows: Windows, names: Sequence[str]) -> Iterator[tuple[Windows, dict[str, Tensor]]]:
    """Activations of a model, a few windows at a time.

    Args:
        net: The model.
        windows: What it reads.
        names: Of activations, as TransformerLens names them.
    """
    size = max(1, BATCH_TOKENS // windows.tokens.shape[1])
    for batch in windows.split(size):
        yield batch, activations(net, batch.tokens, names)


def given_subject(model: str, data: TextData) -> Subject:
    """A model that was not trained for the study, and a text in that model's tokens.

    Args:
        model: What `interop.load` takes: a run directory, checkpoint, export, its name on the hub, or the name of a
            TransformerLens model.
        data: The text; its tokenizer, vocabulary and the length of its windows become the model's.

    Raises:
        UserError: If there is no such model, or it has no tokenizer.
    """
    net, tokenizer = load(model)
    if tokenizer is None:
        reject("model", model, "a model with a tokenizer: a run directory or an export has one")
    file = data.cache_dir / f"tokenizer-{tokenizer_hash(tokenizer)}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(file))
    own = TextData(
        list(data.corpus.sources),
        n_ctx=min(data.n_ctx, net.n_ctx),
        d_vocab=net.d_vocab,
        val_fraction=data.corpus.val_fraction,
        val_windows=data.val_windows,
        cache_dir=str(data.cache_dir),
        tokenizer=str(file),
        min_documents_per_genre=data.min_documents_per_genre,
    )
    own.prepare_data()
    own.setup()
    return Subject(net.eval(), untrained_twin(net), own)


def untrained_twin(net: Transformer, seed: int = 0) -> Transformer:
    """A model of the same shape at initial weights."""
    shape: dict[str, Any] = {name: getattr(net, name) for name in SHAPE}
    mid_layernorms: list[Any] = [getattr(layer.mlp, "ln", None) for layer in net.layers]
    eps = [ln.eps for ln in mid_layernorms if ln is not None]
    return Transformer(**shape, d_mlp=net.d_mlps, mid_ln_eps=eps or 1e-5, seed=seed).eval()
