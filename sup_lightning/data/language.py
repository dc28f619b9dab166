"""Text that is prepared once and trained on in random order."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from sup_lightning.data.mixing import WindowOrder
from sup_lightning.data.packing import PackedText
from sup_lightning.data.preparation import TOKENIZER, Corpus, build_cache, find_cache
from sup_lightning.data.shards import SPLITS, Manifest, read_manifest, verify_shards
from sup_lightning.data.stream import Slot
from sup_lightning.data.text import TextSource, weights_of
from sup_lightning.data.tokenizer import load_tokenizer
from sup_lightning.data.windows import TextBatch, TextModule
from sup_lightning.errors import UserError, reject

__all__ = ["TextBatch", "TextData"]

VERIFIED_BYTES = 10**9
"""Smaller caches are compared with their hashes whenever they are opened; larger ones by size alone."""


class TextData(TextModule):
    """Batches of text, the same for every model, number of ranks and restart.

    The text is split into documents for training and validation, tokenised and packed once (`cache_dir`). Row r of step
    t is window `permute(t batch_size + r)`: in one pass each token of the training text is a target once, and every
    pass has another order. Where the sources have weights, the rows are shared out among them in these proportions,
    and each source has passes of its own.

    Args:
        sources: Where the text comes from.
        n_ctx: Tokens in a window.
        d_vocab: Size of the vocabulary.
        batch_size: Windows in an optimiser step, over all ranks and accumulated micro-batches.
        steps_per_epoch: Optimiser steps in an epoch (which is when validation and per-epoch callbacks run, not a pass
            over the text).
        seed: Of the order of the windows; 0 if not given.
        val_fraction: Share of the documents held out for validation, chosen by a hash of their text.
        val_windows: Validation windows: of each genre its share but a few at least, spread evenly over its held-out
            text. Testing uses all.
        cache_dir: Where the tokens are kept between runs.
        tokenizer: A byte-level tokenizer, as a `tokenizer.json` or a hub name; one is trained on the text if not given.
        min_documents_per_genre: Fewest documents that a genre must have, so that a share of them can be held out.
    """

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
        min_documents_per_genre: int = 20,
    ) -> None:
        super().__init__(sources, n_ctx, d_vocab, batch_size, steps_per_epoch, val_fraction, val_windows)
        if min_documents_per_genre < 0:
            reject("min_documents_per_genre", min_documents_per_genre, "0 or more")
        self.seed = 0 if seed is None else seed
        self.cache_dir = Path(cache_dir)
        self.corpus = Corpus(sources, d_vocab, val_fraction, tokenizer)
        self.weights = weights_of(sources)
        self.min_documents_per_genre = min_documents_per_genre
        self._key: str | None = None

    def prepare_data(self) -> None:
        """Build the cache if it is not there; Lightning calls it in one process of each machine."""
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
        manifest = read_manifest(folder)
        if sum(manifest.file_sizes().values()) < VERIFIED_BYTES:
            verify_shards(folder)
        self.use_tokenizer(load_tokenizer(str(folder / TOKENIZER)))
        if self.tokenizer_hash != manifest.tokenizer_hash:
            raise UserError(
                f"{folder / TOKENIZER} is {self.tokenizer_hash}, but the shards beside it were made with "
                f"{manifest.tokenizer_hash}; put it back, or delete the folder to prepare it anew"
            )
        self._require_documents(manifest)
        train = PackedText.open(folder, "train")
        self._order = self._window_order(train)
        self.use_validation_text(PackedText.open(folder, "val"))
        self.train = train

    def _require_documents(self, manifest: Manifest) -> None:
        counts = {split: manifest.genre_counts(split) for split in SPLITS}
        for genre in manifest.genres:
            total = sum(counts[split][genre].documents for split in SPLITS)
            if total < self.min_documents_per_genre:
                raise UserError(
                    f"genre {genre!r} has {total} documents; allowed: min_documents_per_genre="
                    f"{self.min_documents_per_genre} or more; add documents, cut long files with document_bytes, "
                    "or lower min_documents_per_genre"
                )
            for split in SPLITS:
                if counts[split][genre].documents == 0:
                    raise UserError(
                        f"val_fraction is {manifest.val_fraction}, which puts none of the {total} documents of genre "
                        f"{genre!r} into the {split} split; allowed: another fraction, more documents, or "
                        "document_bytes to cut long files"
                    )

    def _window_order(self, text: PackedText) -> WindowOrder:
        """The order of the training windows: of each source by itself if there are weights, else of all the text."""
        weights = self.weights or [1.0]
        tokens = text.tokens_of_source if self.weights else [len(text.tokens)]
        order = WindowOrder(tokens, weights, self.n_ctx, self.seed)
        for number, n_windows in enumerate(order.n_windows):
            if n_windows == 0:
                where = f"source {self.corpus.sources[number]}" if self.weights else "training text"
                reject("n_ctx", self.n_ctx, f"at most {tokens[number] - 1}, as the {where} has {tokens[number]} tokens")
        if self.batch_size > sum(order.n_windows):
            reject(
                "batch_size",
                self.batch_size,
                f"at most {sum(order.n_windows)}, as the training text has {len(text.tokens)} tokens",
            )
        return order

    def draw(self, slot: Slot) -> TextBatch:
        """The training batch of a slot."""
        rows = slot.rows(self.batch_size)
        places = self._order.places(slot.step * self.batch_size + np.arange(rows.start, rows.stop))
        windows, genres = self.train.windows_at(places, self.n_ctx), self.train.genres_at(places, self.n_ctx)
        return self.batch(slot.step, windows, genres)

    def order_hash(self, n_steps: int = 20) -> str:
        """A hash of the first training batches: two runs with the same one see the same text in the same order."""
        digest = hashlib.blake2b(digest_size=8)
        for step in range(n_steps):
            digest.update(self.draw(Slot(step)).tokens.numpy().tobytes())
        return digest.hexdigest()

    def settings(self) -> dict[str, Any]:
        return {
            "text": self.key,
            "n_ctx": self.n_ctx,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "weights": self.weights,
        }
