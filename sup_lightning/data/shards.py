"""Tokens on disk: a folder of shards, a manifest that says what is in them, and nothing that changes.

Beside the manifest (`manifest.json`) and the tokenizer (`tokenizer.json`) each split has its shards, numbered:
`train-00000.bin` holds tokens (little-endian uint16, or uint32 for vocabularies above 65,536), document after
document, each ended by `<|endoftext|>`; `train-00000.documents` holds two little-endian int64 for each document: the
place of its first token in the shard, and its genre, an index into the manifest's `genres`.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sup_lightning.errors import UserError

FORMAT = 2
SPLITS = ("train", "val")
MANIFEST = "manifest.json"
SHARD_TOKENS = 2**26
"""A shard ends with the document that brings it to this many tokens."""
INDEX_DTYPE = np.dtype("<i8")


@dataclass
class GenreCount:
    """Documents of a genre, and their tokens."""

    documents: int = 0
    tokens: int = 0


@dataclass
class Shard:
    """A shard's name, size and hashes.

    Attributes:
        name: Its files' name without suffix.
        tokens: Tokens in it, the ends of the documents included.
        documents: Documents in it.
        bytes: UTF-8 bytes of text that the tokens stand for.
        genres: The counts of each genre.
        sha256: The hashes of its files, by file name; empty until it is finished.
    """

    name: str
    tokens: int = 0
    documents: int = 0
    bytes: int = 0
    genres: dict[str, GenreCount] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)

    def file_sizes(self, token_bytes: int) -> dict[str, int]:
        """The size in bytes that each of its files must have."""
        sizes = (self.tokens * token_bytes, self.documents * 2 * INDEX_DTYPE.itemsize)
        return dict(zip((f"{self.name}.bin", f"{self.name}.documents"), sizes, strict=True))


@dataclass
class Manifest:
    """What is known of a folder of shards.

    Attributes:
        key: Hash of everything that the tokens depend on.
        d_vocab: Size of the vocabulary; each token is smaller.
        dtype: Type of the tokens.
        val_fraction: Share of the documents that was to be held out.
        tokenizer_hash: Hash of the tokenizer's definition.
        sources: What each source is called.
        genres: Names of the genres, in the order of their numbers.
        shards: The shards of each split, in order.
        tokens_of_source: For each split, the tokens from each source; the sources follow one another.
        format: Version of this layout.
    """

    key: str
    d_vocab: int
    dtype: str
    val_fraction: float
    tokenizer_hash: str
    sources: list[str]
    genres: list[str] = field(default_factory=list)
    shards: dict[str, list[Shard]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    tokens_of_source: dict[str, list[int]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    format: int = FORMAT

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Manifest":
        """From what `asdict` makes of it."""
        shards = {
            split: [
                Shard(**{**shard, "genres": {name: GenreCount(**count) for name, count in shard["genres"].items()}})
                for shard in of_split
            ]
            for split, of_split in plain["shards"].items()
        }
        return cls(**{**plain, "shards": shards})

    def token_dtype(self) -> np.dtype[Any]:
        """Type of the tokens, in the byte order of the files."""
        return np.dtype(self.dtype).newbyteorder("<")

    def genre_counts(self, split: str) -> dict[str, GenreCount]:
        """Documents and tokens of each genre in a split, also where there are none."""
        totals = {genre: GenreCount() for genre in self.genres}
        for shard in self.shards[split]:
            for genre, count in shard.genres.items():
                totals[genre].documents += count.documents
                totals[genre].tokens += count.tokens
        return totals

    def file_sizes(self) -> dict[str, int]:
        """The size in bytes that each file of the shards must have."""
        width = self.token_dtype().itemsize
        sizes: dict[str, int] = {}
        for split in SPLITS:
            for shard in self.shards[split]:
                sizes |= shard.file_sizes(width)
        return sizes


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder of shards.

    Raises:
        FileNotFoundError: If there is none.
        UserError: If this version does not know its format.
    """
    file = folder / MANIFEST
    plain = json.loads(file.read_text())
    if plain["format"] != FORMAT:
        raise UserError(f"{file} has format {plain['format']}; allowed: {FORMAT}; delete the folder to prepare anew")
    return Manifest.from_plain(plain)


def check_sizes(folder: Path) -> None:
    """Raise a UserError that names the first shard that is missing or has another size than the manifest says."""
    for name, size in read_manifest(folder).file_sizes().items():
        file = folder / name
        if not file.is_file():
            raise UserError(f"shard {file} is missing; put it back, or delete the folder to prepare it anew")
        if file.stat().st_size != size:
            raise UserError(
                f"shard {file} has {file.stat().st_size} bytes, its manifest says {size}; "
                "put it back, or delete the folder to prepare it anew"
            )


def verify_shards(folder: str | Path) -> None:
    """Read all shards of a folder and compare them with the manifest's hashes.

    Raises:
        UserError: If a shard is missing or changed.
    """
    folder = Path(folder)
    check_sizes(folder)
    for shards in read_manifest(folder).shards.values():
        for shard in shards:
            for name, saved in shard.sha256.items():
                if hash_of(folder / name) != saved:
                    raise UserError(
                        f"shard {folder / name} has changed since it was prepared; "
                        "put it back, or delete the folder to prepare it anew"
                    )


def hash_of(file: Path) -> str:
    """The SHA-256 of a file, as `sha256sum` prints it."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def write_atomically(file: Path, text: str) -> None:
    """Write a file so that it is either whole, also after a loss of power, or as it was."""
    partial = file.with_name(f".{file.name}.partial")
    with partial.open("w", encoding="utf-8") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())
    os.replace(partial, file)


def to_json(manifest: Manifest, **others: Any) -> str:
    """The manifest as text, with further fields."""
    return json.dumps({**asdict(manifest), **others}, indent=2)


class ShardWriter:
    """Appends the documents of one split to its shards and keeps count in the manifest.

    It goes on after the last document that the manifest counts; anything in the files beyond that, written by a
    preparation that was cut short, is cut off.

    Args:
        folder: Where the shards are.
        split: The split.
        manifest: Kept up to date.
    """

    def __init__(self, folder: Path, split: str, manifest: Manifest) -> None:
        self.folder, self.split, self.manifest = folder, split, manifest
        self.dtype = manifest.token_dtype()
        self.shards = manifest.shards[split]
        if self.shards:
            for name, size in self.shards[-1].file_sizes(self.dtype.itemsize).items():
                os.truncate(folder / name, size)
            self._open("ab")
        else:
            self._next_shard()

    def add(self, tokens: NDArray[np.int64], genre: str, n_bytes: int, source: int) -> None:
        """Append a document.

        Args:
            tokens: `[n]`, its tokens and the end of text.
            genre: Its genre, one of the manifest's.
            n_bytes: Bytes of its text.
            source: The number of its source.
        """
        if self.shards[-1].tokens >= SHARD_TOKENS:
            self.sync()
            self.__exit__()
            self._next_shard()
        shard = self.shards[-1]
        self._tokens.write(tokens.astype(self.dtype).tobytes())
        start_and_genre = [shard.tokens, self.manifest.genres.index(genre)]
        self._documents.write(np.array(start_and_genre, dtype=INDEX_DTYPE).tobytes())
        shard.tokens += len(tokens)
        shard.documents += 1
        shard.bytes += n_bytes
        count = shard.genres.setdefault(genre, GenreCount())
        count.documents += 1
        count.tokens += len(tokens)
        self.manifest.tokens_of_source[self.split][source] += len(tokens)

    def sync(self) -> None:
        """Make sure that what was added is on disk."""
        for file in (self._tokens, self._documents):
            file.flush()
            os.fsync(file.fileno())

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self._tokens.close()
        self._documents.close()

    def _next_shard(self) -> None:
        self.shards.append(Shard(f"{self.split}-{len(self.shards):05}"))
        self._open("wb")

    def _open(self, mode: str) -> None:
        name = self.shards[-1].name
        self._tokens = open(self.folder / f"{name}.bin", mode)  # noqa: SIM115 (closed on exit)
        self._documents = open(self.folder / f"{name}.documents", mode)  # noqa: SIM115


class ShardedTokens:
    """The tokens of several shards as one array, mapped from disk.

    Args:
        shards: The arrays, in order.
    """

    def __init__(self, shards: Sequence[NDArray[Any]]) -> None:
        self.shards = shards
        self.ends = np.cumsum([len(shard) for shard in shards])
        self.dtype = shards[0].dtype

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, index: slice | NDArray[np.int64]) -> NDArray[Any]:
        """The tokens of a contiguous slice, or at each place of an array of indices."""
        if len(self.shards) == 1:
            return self.shards[0][index]
        firsts = self.ends - [len(shard) for shard in self.shards]
        if isinstance(index, slice):
            start, stop, _ = index.indices(len(self))
            parts = zip(firsts, self.shards, strict=True)
            return np.concatenate([shard[max(0, start - first) : max(0, stop - first)] for first, shard in parts])
        out = np.empty(index.shape, dtype=self.dtype)
        number = np.searchsorted(self.ends, index, side="right")
        for each in np.unique(number):
            inside = number == each
            out[inside] = self.shards[each][index[inside] - firsts[each]]
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)
