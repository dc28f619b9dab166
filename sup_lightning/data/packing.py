"""Documents packed one after another, and windows cut from them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sup_lightning.data.shards import INDEX_DTYPE, Manifest, ShardedTokens, read_manifest


class PackedText:
    """The tokens of one split.

    Attributes:
        tokens: `[n_tokens]`, the documents one after the other, each ended by `<|endoftext|>`.
        starts: `[n_documents]`, where each document begins.
        genre_of_document: `[n_documents]`, an index into `genres`.
        genres: Names of the genres.
        tokens_of_source: How many tokens come from each source; the sources follow one another.
    """

    def __init__(
        self,
        tokens: ShardedTokens,
        starts: NDArray[np.int64],
        genre_of_document: NDArray[np.int64],
        genres: Sequence[str],
        tokens_of_source: Sequence[int],
    ) -> None:
        self.tokens, self.starts, self.genre_of_document = tokens, starts, genre_of_document
        self.genres, self.tokens_of_source = list(genres), list(tokens_of_source)

    @classmethod
    def open(cls, folder: Path, split: str) -> "PackedText":
        """Map a split from a folder of shards."""
        manifest = read_manifest(folder)
        shards = manifest.shards[split]
        files = [folder / f"{shard.name}.bin" for shard in shards]
        tokens = ShardedTokens([np.memmap(file, dtype=manifest.token_dtype(), mode="r") for file in files])
        starts, genres = _read_index(folder, manifest, split)
        return cls(tokens, starts, genres, manifest.genres, manifest.tokens_of_source[split])

    def n_windows(self, n_ctx: int) -> int:
        """Windows of `n_ctx` inputs and their targets, none sharing a target."""
        return (len(self.tokens) - 1) // n_ctx

    def windows(self, index: NDArray[np.int64], n_ctx: int) -> NDArray[np.int64]:
        """Windows by number, `[len(index), n_ctx + 1]`.

        Window j starts at token j n_ctx; its last token is the first of window j + 1, so that in one pass each token
        (but the very first) is a target exactly once.
        """
        return self.windows_at(index * n_ctx, n_ctx)

    def window_genres(self, index: NDArray[np.int64], n_ctx: int) -> NDArray[np.int64]:
        """The genre of the document at the middle of each window, `[len(index)]`."""
        return self.genres_at(index * n_ctx, n_ctx)

    def windows_at(self, places: NDArray[np.int64], n_ctx: int) -> NDArray[np.int64]:
        """Windows by the place of their first token, `[len(places), n_ctx + 1]`."""
        return self.tokens[places[:, None] + np.arange(n_ctx + 1)].astype(np.int64)

    def genres_at(self, places: NDArray[np.int64], n_ctx: int) -> NDArray[np.int64]:
        """The genre of the document at the middle of each window, given by the place of its first token."""
        return self.genre_of_document[self.documents_at(places + n_ctx // 2)]

    def documents_at(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of the document that each token is from, in the shape of `places`."""
        return np.searchsorted(self.starts, places, side="right") - 1


def _read_index(folder: Path, manifest: Manifest, split: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start and genre of each document of a split."""
    parts, before = [], 0
    for shard in manifest.shards[split]:
        index = np.fromfile(folder / f"{shard.name}.documents", dtype=INDEX_DTYPE).reshape(-1, 2)
        parts.append(index + np.array([before, 0]))
        before += shard.tokens
    starts, genres = np.concatenate(parts).T
    return np.ascontiguousarray(starts), np.ascontiguousarray(genres)
