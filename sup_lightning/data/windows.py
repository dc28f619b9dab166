"""What the DataModules of text share: windows as batches, and a fixed validation set."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from sup_lightning.data.base import SupData
from sup_lightning.data.packing import PackedText
from sup_lightning.data.stream import Slot, StepStream
from sup_lightning.data.text import TextSource
from sup_lightning.data.tokenizer import END_OF_TEXT, bytes_per_token, tokenizer_hash
from sup_lightning.errors import UserError, reject, require_positive

FEWEST_WINDOWS = 4
"""Validation windows that each genre has, where the text and `val_windows` allow it."""
VALIDATION_TOKENS = 4096
"""Tokens in a validation batch, whatever the number of ranks."""


class TextBatch(NamedTuple):
    """Windows of text, B of them.

    Attributes:
        step: The optimiser step the batch is for; in validation, its number.
        tokens: `[B, n_ctx]` int64.
        targets: `[B, n_ctx]` int64, the token that follows each.
        weights: `[B]` float32; 0 marks a row that only fills the batch.
        genres: `[B]` int64, the genre at the middle of the window.
        n_bytes: `[B]` int64, the bytes of text that the targets stand for.
    """

    step: int
    tokens: Tensor
    targets: Tensor
    weights: Tensor
    genres: Tensor
    n_bytes: Tensor


class TextModule(SupData):
    """Training windows drawn by optimiser step, and validation on fixed windows of held-out documents.

    A subclass sets `val` and the tokenizer in `setup`, and draws the training batches.

    Args:
        sources: Where the text comes from.
        n_ctx: Tokens in a window.
        d_vocab: Size of the vocabulary.
        batch_size: Windows in an optimiser step, over all ranks and accumulated micro-batches.
        steps_per_epoch: Optimiser steps in an epoch.
        val_fraction: Share of the documents held out for validation.
        val_windows: Validation windows.
    """

    item_name = "tokens"
    val: PackedText

    def __init__(
        self,
        sources: list[TextSource],
        n_ctx: int,
        d_vocab: int,
        batch_size: int,
        steps_per_epoch: int,
        val_fraction: float,
        val_windows: int,
    ) -> None:
        super().__init__()
        require_positive(
            n_ctx=n_ctx,
            d_vocab=d_vocab,
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            val_windows=val_windows,
        )
        if not 0 < val_fraction < 1:
            reject("val_fraction", val_fraction, "a number in (0, 1)")
        if not sources:
            reject("sources", sources, "at least one source of text")
        self.n_ctx, self.d_vocab, self.batch_size, self.steps_per_epoch = n_ctx, d_vocab, batch_size, steps_per_epoch
        self.val_windows = val_windows
        self.items_per_step = batch_size * n_ctx

    def draw(self, slot: Slot) -> TextBatch:
        """The training batch of a slot."""
        raise NotImplementedError

    def train_dataloader(self) -> StepStream[TextBatch]:
        assert self.trainer is not None
        ranks, micro = self.trainer.world_size, self.trainer.accumulate_grad_batches
        if self.batch_size % (ranks * micro):
            reject("batch_size", self.batch_size, f"a multiple of {ranks} ranks x {micro} accumulated batches")
        return StepStream(self.draw, self.trainer, self.steps_per_epoch)

    def val_dataloader(self) -> "WindowLoader":
        return self._window_loader(self.validation_index(self.val_windows))

    def test_dataloader(self) -> "WindowLoader":
        return self._window_loader(np.arange(self.val.n_windows(self.n_ctx)))

    def predict_dataloader(self) -> "WindowLoader":
        return self.val_dataloader()

    def validation_index(self, n_windows: int) -> NDArray[np.int64]:
        """The numbers of `n_windows` windows (or all, if there are fewer), in order.

        Each genre has its share, and not less than a few; those of a genre are spread evenly over its text.
        """
        genre_of_window = self.val.window_genres(np.arange(self.val.n_windows(self.n_ctx)), self.n_ctx)
        genres, counts = np.unique(genre_of_window, return_counts=True)
        if n_windows < len(genres):
            reject("val_windows", n_windows, f"{len(genres)} or more, one for each genre of the held-out text")
        index = [
            np.flatnonzero(genre_of_window == genre)[np.arange(share) * count // share]
            for genre, count, share in zip(genres, counts, _shares(counts, n_windows), strict=True)
        ]
        return np.sort(np.concatenate(index))

    def use_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Set what depends on the tokenizer."""
        self.tokenizer = tokenizer
        self.tokenizer_hash = tokenizer_hash(tokenizer)
        self.end_of_text: int | None = tokenizer.token_to_id(END_OF_TEXT)
        self.bytes_per_token = bytes_per_token(tokenizer, self.d_vocab)

    def use_validation_text(self, text: PackedText) -> None:
        """Set the text whose windows are validated on.

        Raises:
            UserError: A genre has no window, so that nothing would be known of it.
        """
        if text.n_windows(self.n_ctx) == 0:
            n_tokens = len(text.tokens)
            reject("n_ctx", self.n_ctx, f"at most {n_tokens - 1}, as the validation text has {n_tokens} tokens")
        measured = np.unique(text.window_genres(np.arange(text.n_windows(self.n_ctx)), self.n_ctx))
        for number, genre in enumerate(text.genres):
            if number not in measured:
                raise UserError(
                    f"genre {genre!r} has no validation window of n_ctx={self.n_ctx}; allowed: more or longer "
                    "documents of it, document_bytes to cut long files, a larger val_fraction or a smaller n_ctx"
                )
        self.val, self.genres = text, text.genres

    # The tokenizer travels with the weights: without it a checkpoint's tokens mean nothing.
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "tokenizer": self.tokenizer.to_str()}

    def batch(
        self, step: int, windows: NDArray[np.int64], genres: NDArray[np.int64], n_real: int | None = None
    ) -> TextBatch:
        """Windows `[B, n_ctx + 1]` and their genres `[B]` as a batch, of which the first `n_real` rows count."""
        targets = windows[:, 1:]
        return TextBatch(
            step=step,
            tokens=torch.from_numpy(windows[:, :-1].copy()),
            targets=torch.from_numpy(targets.copy()),
            weights=(torch.arange(len(windows)) < (len(windows) if n_real is None else n_real)).float(),
            genres=torch.from_numpy(genres),
            n_bytes=torch.from_numpy(self.bytes_per_token[targets].sum(axis=1)),
        )

    def _window_loader(self, index: NDArray[np.int64]) -> "WindowLoader":
        world_size, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        return WindowLoader(self, index, rank, world_size)


def _shares(counts: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """How many of `n` windows each genre gives: in proportion to its windows, but a few at least, if it has them.

    >>> _shares(np.array([900, 90, 10]), 100), _shares(np.array([5, 3]), 100)
    (array([88,  8,  4]), array([5, 3]))
    """
    n = min(n, int(counts.sum()))
    least = np.minimum(counts, min(FEWEST_WINDOWS, n // len(counts)))
    shares = np.clip(counts * n // counts.sum(), least, counts)
    while (missing := n - shares.sum()) != 0:  # at most one for each genre and step of the minimum
        behind = counts * n / counts.sum() - shares
        free = shares < counts if missing > 0 else shares > least
        behind = np.where(free, behind * np.sign(missing), -np.inf)
        shares[behind.argmax()] += np.sign(missing)
    return shares


class WindowLoader:
    """Each rank's share of fixed windows, in batches.

    The batches are the same for any number of ranks, which take them in turn, so that what is measured on them is too.
    The last one is filled up with rows of weight 0, and a rank that would have a batch less than others gets one of
    such rows alone: a rank that runs out first would leave the others waiting for ever.

    Args:
        data: Whose validation text is read.
        index: `[n_windows]`, the windows of all ranks.
        rank: This rank.
        world_size: Number of ranks.
    """

    def __init__(self, data: TextModule, index: NDArray[np.int64], rank: int, world_size: int) -> None:
        self.data, self.index = data, index
        self.batch_size = min(max(1, VALIDATION_TOKENS // data.n_ctx), len(index))
        n_batches = -(-len(index) // self.batch_size)
        self.numbers = range(rank, -(-n_batches // world_size) * world_size, world_size)

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[TextBatch]:
        text, n_ctx = self.data.val, self.data.n_ctx
        for number in self.numbers:
            real = self.index[number * self.batch_size : (number + 1) * self.batch_size]
            filled = np.concatenate([real, np.zeros(self.batch_size - len(real), dtype=np.int64)])
            windows, genres = text.windows(filled, n_ctx), text.window_genres(filled, n_ctx)
            yield self.data.batch(number, windows, genres, n_real=len(real))
