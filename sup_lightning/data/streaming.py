"""Text that is read while it is trained on, for corpora that do not fit on the disk."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from lightning.pytorch.trainer.states import TrainerFn
from numpy.typing import NDArray
from tokenizers import Tokenizer

from sup_lightning.data.mixing import assign_rows
from sup_lightning.data.packing import PackedText
from sup_lightning.data.preparation import Corpus
from sup_lightning.data.shards import ShardedTokens, write_atomically
from sup_lightning.data.stream import Slot
from sup_lightning.data.text import Document, TextSource, is_held_out, weights_of
from sup_lightning.data.token_stream import Position, TokenStream
from sup_lightning.data.tokenizer import encode_documents, load_tokenizer
from sup_lightning.data.windows import TextBatch, TextModule
from sup_lightning.errors import UserError, reject, require_positive


class StreamedText(TextModule):
    """Batches of text in the order of the sources, tokenised on the fly; nothing but the tokenizer is kept on disk.

    Use `TextData` where the tokens fit on the disk. Here the order is that of the documents, not shuffled; sources
    follow one another, unless they have weights: then their windows are interleaved in these proportions. Rank r reads
    the documents r, r + world_size, ... A checkpoint says where each rank is, so a resumed run repeats and loses no
    token, but only on the same number of ranks, and it reads the sources up to that place again (without tokenising).
    The batches of another number of ranks, or of micro-batches, hold other windows.

    Args:
        sources: Where the text comes from.
        n_ctx: Tokens in a window.
        d_vocab: Size of the vocabulary.
        batch_size: Windows in an optimiser step, over all ranks and accumulated micro-batches.
        steps_per_epoch: Optimiser steps in an epoch.
        val_fraction: Share of the documents held out for validation, chosen by a hash of their text.
        val_documents: Held-out documents that are validated on: the first of each source.
        val_windows: Validation windows: of each genre its share but a few at least. Testing uses all.
        cache_dir: Where the tokenizer is kept between runs.
        tokenizer: A byte-level tokenizer, as a `tokenizer.json` or a hub name; one is trained on the beginning of each
            source if not given.
    """

    def __init__(
        self,
        sources: list[TextSource],
        n_ctx: int = 256,
        d_vocab: int = 4096,
        batch_size: int = 16,
        steps_per_epoch: int = 100,
        val_fraction: float = 0.05,
        val_documents: int = 100,
        val_windows: int = 256,
        cache_dir: str = ".cache/sup_lightning",
        tokenizer: str | None = None,
    ) -> None:
        super().__init__(sources, n_ctx, d_vocab, batch_size, steps_per_epoch, val_fraction, val_windows)
        require_positive(val_documents=val_documents)
        self.sources, self.val_fraction, self.val_documents = sources, val_fraction, val_documents
        self.cache_dir = Path(cache_dir)
        self.corpus = Corpus(sources, d_vocab, val_fraction, tokenizer)
        self.weights = weights_of(sources)
        self.streams: list[TokenStream] = []
        self._key: str | None = None
        self._next = (0, 0)
        """The step and micro-batch that the streams stand at."""
        self._step_start: tuple[int, list[Position]] = (0, [])
        """The last step that was begun, and where the streams were then."""
        self._resume: tuple[int, list[Position]] | None = None

    @property
    def key(self) -> str:
        """A hash of the text and of the settings that the tokens depend on."""
        if self._key is None:
            self._key = self.corpus.key()
        return self._key

    @property
    def tokenizer_file(self) -> Path:
        """Where the tokenizer is kept."""
        return self.cache_dir / f"tokenizer-{self.key}.json"

    def prepare_data(self) -> None:
        """Train or fetch the tokenizer; Lightning calls it in one process of each machine."""
        self.cache_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(self.tokenizer_file.with_suffix(".lock")):
            if not self.tokenizer_file.is_file():
                write_atomically(self.tokenizer_file, self.corpus.make_tokenizer().to_str(pretty=True))

    def setup(self, stage: str | None = None) -> None:
        """Load the tokenizer and read the validation documents into memory."""
        if hasattr(self, "val"):
            return
        if not self.tokenizer_file.is_file():
            raise UserError(
                f"cache_dir is {str(self.cache_dir)!r}, which other processes do not see; allowed: a shared folder"
            )
        self.use_tokenizer(load_tokenizer(str(self.tokenizer_file)))
        self.use_validation_text(_packed(list(self._validation_documents()), self.tokenizer))

    def _validation_documents(self) -> Iterator[Document]:
        for source in self.sources:
            held_out = (d for d in source.documents() if d.text.strip() and is_held_out(d.text, self.val_fraction))
            found = list(islice(held_out, self.val_documents))
            if not found:
                reject(
                    "val_fraction", self.val_fraction, f"one that holds out a document of {source}, which it does not"
                )
            yield from found

    def draw(self, slot: Slot) -> TextBatch:
        """The next training batch, which must be the one of the slot."""
        here = (slot.step, slot.micro)
        rows = self.batch_size // (slot.world_size * slot.n_micro)
        if here == (0, 0):  # also of a second run
            self._open(slot, 0, None)
        elif self._resume is not None and self._resume[0] == slot.step:
            self._open(slot, *self._resume)
            self._windows(slot.step, 0, slot.micro * rows)
        elif here != self._next:
            raise UserError(
                f"the text is streamed from step {self._next[0]}, but training is at step {slot.step}; "
                "allowed: a checkpoint of a run with the same streamed text"
            )
        self._resume = None
        if slot.micro == 0:
            self._step_start = (slot.step, self._positions())
        windows, names = self._windows(slot.step, slot.micro * rows, rows)
        last = slot.micro + 1 == slot.n_micro
        self._next = (slot.step + 1, 0) if last else (slot.step, slot.micro + 1)
        genres = [self.genres.index(name) if name in self.genres else -1 for name in names]
        return self.batch(slot.step, windows, np.array(genres))

    def _open(self, slot: Slot, step: int, positions: list[Position] | None) -> None:
        """Open the streams where they were at the start of a step."""
        groups = [[source] for source in self.sources] if self.weights else [self.sources]
        self.streams = [
            TokenStream(group, self._encode, self.n_ctx, self.val_fraction, slot.rank, slot.world_size, position)
            for group, position in zip(groups, positions or [Position()] * len(groups), strict=True)
        ]
        self._rows_of_step = self.batch_size // slot.world_size
        self._step_start = (step, self._positions())

    def _windows(self, step: int, first: int, n_rows: int) -> tuple[NDArray[np.int64], list[str]]:
        """Windows of the rows of this rank's part of a step, and their genres."""
        rows = step * self._rows_of_step + first + np.arange(n_rows)
        stream_of_row, _ = assign_rows(rows, self.weights or [1.0])
        drawn = [self.streams[number].window() for number in stream_of_row]
        windows = np.array([window for window, _ in drawn]).reshape(n_rows, self.n_ctx + 1)
        return windows, [genre for _, genre in drawn]

    def _encode(self, text: str) -> NDArray[np.int64]:
        return encode_documents(self.tokenizer, [text])[0]

    def _positions(self) -> list[Position]:
        return [stream.position for stream in self.streams]

    def settings(self) -> dict[str, Any]:
        tokens = {"text": self.key, "n_ctx": self.n_ctx, "batch_size": self.batch_size}
        return {**tokens, "weights": self.weights, "streamed": True}

    def state_dict(self) -> dict[str, Any]:
        """Where each rank is: every rank has to call this, though one alone writes it."""
        step, positions = self._resume or self._step_start
        if self.trainer is not None and self.trainer.global_step > step and self.streams:
            step, positions = self.trainer.global_step, self._positions()
        return {**super().state_dict(), "stream": {"step": step, "positions": self._of_all_ranks(positions)}}

    def _of_all_ranks(self, positions: list[Position]) -> list[list[list[int]]]:
        """`[world_size][n_streams][3]`."""
        mine = [list(position) for position in positions]
        if self.trainer is None or self.trainer.world_size == 1:
            return [mine]
        everyone: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(everyone, mine)
        return everyone

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        if self.trainer is None or self.trainer.state.fn != TrainerFn.FITTING:
            return
        stream = state_dict["stream"]
        ranks, present = len(stream["positions"]), self.trainer.world_size
        if ranks != present:
            raise UserError(f"the checkpoint's text was streamed by {ranks} ranks, but now there are {present}")
        positions = [Position(*position) for position in stream["positions"][self.trainer.global_rank]]
        self._resume = (stream["step"], positions)


def _packed(documents: list[Document], tokenizer: Tokenizer) -> PackedText:
    """Documents packed in memory."""
    encoded = encode_documents(tokenizer, [document.text for document in documents])
    genres = list(dict.fromkeys(document.genre for document in documents))
    starts = np.cumsum([0, *(len(tokens) for tokens in encoded[:-1])])
    genre_of_document = np.array([genres.index(document.genre) for document in documents])
    tokens = np.concatenate(encoded)
    return PackedText(ShardedTokens([tokens]), starts, genre_of_document, genres, [len(tokens)])
