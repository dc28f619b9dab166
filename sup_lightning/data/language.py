"""Text as training batches."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from sup_lightning.data.base import SupData
from sup_lightning.data.packing import Corpus, PackedText, build_cache, find_cache
from sup_lightning.data.permutation import permute
from sup_lightning.data.stream import Slot, StepStream
from sup_lightning.data.text import TextSource
from sup_lightning.data.tokenizer import END_OF_TEXT, bytes_per_token, load_tokenizer, tokenizer_hash
from sup_lightning.errors import UserError, reject, require_positive


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


class TextData(SupData):
    """Batches of text, the same for every model, number of ranks and restart.

    The text is split into documents for training and validation, tokenised and packed once (`cache_dir`). Row r of step
    t is window `permute(t batch_size + r)`: in one pass each token of the training text is a target once, and every
    pass has another order.

    Args:
        sources: Where the text comes from.
        n_ctx: Tokens in a window.
        d_vocab: Size of the vocabulary.
        batch_size: Windows in an optimiser step, over all ranks and accumulated micro-batches.
        steps_per_epoch: Optimiser steps in an epoch (which is when validation and per-epoch callbacks run, not a pass
            over the text).
        seed: Of the order of the windows; 0 if not given.
        val_fraction: Share of the documents held out for validation.
        val_windows: Validation windows, spread evenly over the held-out text. Testing uses all of them.
        cache_dir: Where the tokens are kept between runs.
        tokenizer: A byte-level tokenizer, as a `tokenizer.json` or a hub name; one is trained on the text if not given.
    """

    item_name = "tokens"

    def __init__(
        self,
        sources: list[TextSource],
        n_ctx: int = 256,
        d_vocab: int = 4096,
        batch_size: int = 16,
        steps_per_epoch: int = 100,
        seed: int | None = None,
        val_fraction: float = 0.05,
        val_windows: int = 256,
        cache_dir: str = ".cache/sup_lightning",
        tokenizer: str | None = None,
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
        self.seed = 0 if seed is None else seed
        self.val_windows = val_windows
        self.items_per_step = batch_size * n_ctx
        self.cache_dir = Path(cache_dir)
        self.corpus = Corpus(sources, d_vocab, val_fraction, tokenizer)
        self._key: str | None = None

    def prepare_data(self) -> None:
        """Build the cache if it is not there."""
        build_cache(self.corpus, self.cache_dir, self.key)

    @property
    def key(self) -> str:
        """Names the cache: a hash of the text and of the settings it was made with."""
        if self._key is None:
            self._key = self.corpus.key()
        return self._key

    def setup(self, stage: str | None = None) -> None:
        """Map the cache into memory."""
        if hasattr(self, "train"):
            return
        folder = find_cache(self.cache_dir, self.key)
        if folder is None:
            raise UserError(
                f"cache_dir is {str(self.cache_dir)!r}, which other processes do not see; allowed: a shared folder"
            )
        self.train, self.val = PackedText(folder, "train"), PackedText(folder, "val")
        for split, text in {"training": self.train, "validation": self.val}.items():
            if text.n_windows(self.n_ctx) == 0:
                reject(
                    "n_ctx",
                    self.n_ctx,
                    f"at most {len(text.tokens) - 1}, as the {split} text has {len(text.tokens)} tokens",
                )
        self.genres = self.train.genres
        self.tokenizer: Tokenizer = load_tokenizer(str(folder / "tokenizer.json"))
        self.tokenizer_hash = tokenizer_hash(self.tokenizer)
        self.end_of_text: int | None = self.tokenizer.token_to_id(END_OF_TEXT)
        self.bytes_per_token = bytes_per_token(self.tokenizer, self.d_vocab)

    def train_dataloader(self) -> StepStream[TextBatch]:
        assert self.trainer is not None
        self._require_divisible_batch()
        return StepStream(self.draw, self.trainer, self.steps_per_epoch)

    def val_dataloader(self) -> "WindowLoader":
        return self._window_loader(min(self.val_windows, self.val.n_windows(self.n_ctx)))

    def test_dataloader(self) -> "WindowLoader":
        return self._window_loader(self.val.n_windows(self.n_ctx))

    def predict_dataloader(self) -> "WindowLoader":
        return self.val_dataloader()

    def draw(self, slot: Slot) -> TextBatch:
        """The training batch of a slot."""
        n_windows = self.train.n_windows(self.n_ctx)
        rows = slot.rows(self.batch_size)
        epoch, place = np.divmod(slot.step * self.batch_size + np.arange(rows.start, rows.stop), n_windows)
        index = np.empty_like(place)
        for number in np.unique(epoch):
            within = epoch == number
            index[within] = permute(place[within], n_windows, self.seed, int(number))
        return self._batch(self.train, slot.step, index)

    def validation_index(self, n_windows: int) -> NDArray[np.int64]:
        """Numbers of `n_windows` windows spread evenly over the held-out text, so that each genre has its share."""
        return np.arange(n_windows) * self.val.n_windows(self.n_ctx) // n_windows

    # The tokenizer travels with the weights: without it a checkpoint's tokens mean nothing.
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "tokenizer": self.tokenizer.to_str()}

    def settings(self) -> dict[str, Any]:
        return {"text": self.key, "n_ctx": self.n_ctx, "batch_size": self.batch_size, "seed": self.seed}

    def _batch(self, text: PackedText, step: int, index: NDArray[np.int64], n_real: int | None = None) -> TextBatch:
        window = text.windows(index, self.n_ctx)
        targets = window[:, 1:]
        return TextBatch(
            step=step,
            tokens=torch.from_numpy(window[:, :-1].copy()),
            targets=torch.from_numpy(targets.copy()),
            weights=(torch.arange(len(index)) < (len(index) if n_real is None else n_real)).float(),
            genres=torch.from_numpy(text.window_genres(index, self.n_ctx)),
            n_bytes=torch.from_numpy(self.bytes_per_token[targets].sum(axis=1)),
        )

    def _window_loader(self, n_windows: int) -> "WindowLoader":
        world_size, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        index = self.validation_index(n_windows)
        return WindowLoader(self, index, rank, world_size, max(1, self._micro_batch_size()))

    def _micro_batch_size(self) -> int:
        parts = self.trainer.world_size * self.trainer.accumulate_grad_batches if self.trainer else 1
        return self.batch_size // parts

    def _require_divisible_batch(self) -> None:
        assert self.trainer is not None
        ranks, micro = self.trainer.world_size, self.trainer.accumulate_grad_batches
        if self.batch_size % (ranks * micro):
            reject("batch_size", self.batch_size, f"a multiple of {ranks} ranks x {micro} accumulated batches")


class WindowLoader:
    """Each rank's share of fixed windows, in batches.

    The shares are contiguous and the last batches are filled up with rows of weight 0, so that all ranks have the same
    number of batches: a rank that runs out first would leave the others waiting for ever.

    Args:
        data: Whose validation text is read.
        index: `[n_windows]`, the windows of all ranks.
        rank: This rank.
        world_size: Number of ranks.
        batch_size: Rows in a batch.
    """

    def __init__(self, data: TextData, index: NDArray[np.int64], rank: int, world_size: int, batch_size: int) -> None:
        share = -(-len(index) // world_size)
        self.data, self.batch_size = data, min(batch_size, share)
        self.index = index[rank * share : (rank + 1) * share]
        self.n_batches = -(-share // self.batch_size)

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[TextBatch]:
        for number in range(self.n_batches):
            real = self.index[number * self.batch_size : (number + 1) * self.batch_size]
            filled = np.concatenate([real, np.zeros(self.batch_size - len(real), dtype=np.int64)])
            yield self.data._batch(self.data.val, number, filled, n_real=len(real))
