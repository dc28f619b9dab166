"""Text as one flat array of tokens on disk, made once and mapped into memory.

A cache is a folder named by a hash of everything it depends on. It is written under another name and renamed when it is
complete, so that one cut short by a crash is never read.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from sup_lightning.data.text import Document, TextSource
from sup_lightning.data.tokenizer import END_OF_TEXT, load_tokenizer, tokenizer_hash, train_tokenizer
from sup_lightning.errors import UserError, reject

FORMAT = 1
SPLITS = ("train", "val")
TOKENIZER_BYTES = 2**26
"""Most text of each source that the tokenizer is trained on; BPE keeps the counts of all its words in memory."""


@dataclass(frozen=True)
class Corpus:
    """What a cache is made from.

    Attributes:
        sources: Where the text comes from.
        d_vocab: Size of the vocabulary.
        val_fraction: Share of the documents that is held out.
        tokenizer: A tokenizer file or name; None trains one.
    """

    sources: Sequence[TextSource]
    d_vocab: int
    val_fraction: float
    tokenizer: str | None = None

    def key(self) -> str:
        """A hash of all that the tokens depend on."""
        given = self.tokenizer and tokenizer_hash(load_tokenizer(self.tokenizer))
        parts = [FORMAT, self.d_vocab, self.val_fraction, given, [source.fingerprint() for source in self.sources]]
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()

    def documents(self, split: str) -> Iterator[Document]:
        """The documents of a split, in the order of the sources."""
        for source in self.sources:
            yield from (d for d in source.documents() if is_held_out(d.text, self.val_fraction) == (split == "val"))


def is_held_out(text: str, val_fraction: float) -> bool:
    """Whether a document belongs to the validation split: a matter of its text alone, so copies stay together."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") < val_fraction * 2**64


class PackedText:
    """The tokens of one split, mapped from disk.

    Attributes:
        tokens: `[n_tokens]`, the documents one after the other, each ended by `<|endoftext|>`.
        starts: `[n_documents]`, where each document begins.
        genre_of_document: `[n_documents]`, an index into `genres`.
        genres: Names of the genres.
    """

    def __init__(self, folder: Path, split: str) -> None:
        manifest = read_manifest(folder)
        self.tokens = np.memmap(folder / f"{split}.bin", dtype=manifest["dtype"], mode="r")
        self.starts, self.genre_of_document = np.load(folder / f"{split}.documents.npy")
        self.genres: list[str] = manifest["genres"]

    def n_windows(self, n_ctx: int) -> int:
        """Windows of `n_ctx` inputs and their targets, none sharing a target."""
        return (len(self.tokens) - 1) // n_ctx

    def windows(self, index: NDArray[np.int64], n_ctx: int) -> NDArray[np.int64]:
        """Windows by number, `[len(index), n_ctx + 1]`.

        Window j starts at token j n_ctx; its last token is the first of window j + 1, so that in one pass each token
        (but the very first) is a target exactly once.
        """
        return self.tokens[index[:, None] * n_ctx + np.arange(n_ctx + 1)].astype(np.int64)

    def window_genres(self, index: NDArray[np.int64], n_ctx: int) -> NDArray[np.int64]:
        """The genre of the document at the middle of each window, `[len(index)]`."""
        document = np.searchsorted(self.starts, index * n_ctx + n_ctx // 2, side="right") - 1
        return self.genre_of_document[document]


def find_cache(cache_dir: Path, key: str) -> Path | None:
    """The folder of a complete cache, or None."""
    folder = cache_dir / key
    try:
        manifest = read_manifest(folder)
        sizes = {split: (folder / f"{split}.bin").stat().st_size for split in SPLITS}
    except FileNotFoundError:
        return None
    width = np.dtype(manifest["dtype"]).itemsize
    return folder if all(sizes[split] == manifest[split]["tokens"] * width for split in SPLITS) else None


def read_manifest(folder: Path) -> dict[str, Any]:
    """What is known of a cache: format, hashes, genres, and each split's counts."""
    return json.loads((folder / "manifest.json").read_text())


def build_cache(corpus: Corpus, cache_dir: Path, key: str) -> Path:
    """Tokenise a corpus into a cache folder, unless it is there.

    Returns:
        The folder, with `tokenizer.json`, `manifest.json`, and for each split `<split>.bin` (tokens) and
        `<split>.documents.npy` (start and genre of each document).

    Raises:
        UserError: A split is left without documents, or the given tokenizer has more than `d_vocab` tokens.
    """
    if (found := find_cache(cache_dir, key)) is not None:
        return found
    cache_dir.mkdir(parents=True, exist_ok=True)
    target = cache_dir / key
    with tempfile.TemporaryDirectory(prefix=f".{key}-", dir=cache_dir, ignore_cleanup_errors=True) as name:
        folder = Path(name) / "cache"
        folder.mkdir()
        _fill(corpus, folder, key)
        if find_cache(cache_dir, key) is None:  # else another process was quicker
            shutil.rmtree(target, ignore_errors=True)  # a damaged one
            os.replace(folder, target)
    return target


def _fill(corpus: Corpus, folder: Path, key: str) -> None:
    tokenizer = _make_tokenizer(corpus)
    tokenizer.save(str(folder / "tokenizer.json"))
    dtype = np.dtype(np.uint16 if corpus.d_vocab <= 2**16 else np.uint32)
    genres: dict[str, int] = {}
    manifest: dict[str, Any] = {"format": FORMAT, "key": key, "dtype": dtype.name, "d_vocab": corpus.d_vocab}
    manifest["tokenizer_hash"] = tokenizer_hash(tokenizer)
    for split in SPLITS:
        with open(folder / f"{split}.bin", "wb") as file:
            spans, manifest[split] = _write_tokens(corpus.documents(split), tokenizer, dtype, genres, file)
        np.save(folder / f"{split}.documents.npy", np.array(spans, dtype=np.int64).reshape(-1, 2).T)
    for split in SPLITS:
        if manifest[split]["documents"] == 0:
            total = sum(manifest[each]["documents"] for each in SPLITS)
            raise UserError(
                f"val_fraction is {corpus.val_fraction}, which puts none of {total} documents into the {split} split; "
                "allowed: another fraction, or more documents"
            )
    manifest["genres"] = list(genres)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))


def _make_tokenizer(corpus: Corpus) -> Tokenizer:
    if corpus.tokenizer is None:
        return train_tokenizer(_tokenizer_texts(corpus), corpus.d_vocab)
    tokenizer = load_tokenizer(corpus.tokenizer)
    if tokenizer.get_vocab_size() > corpus.d_vocab:
        reject("d_vocab", corpus.d_vocab, f"{tokenizer.get_vocab_size()} or more, the tokens of {corpus.tokenizer}")
    return tokenizer


def _tokenizer_texts(corpus: Corpus) -> Iterator[str]:
    for source in corpus.sources:
        left = TOKENIZER_BYTES
        for document in source.documents():
            if is_held_out(document.text, corpus.val_fraction):
                continue
            yield document.text
            left -= len(document.text)
            if left <= 0:
                break


def _write_tokens(
    documents: Iterator[Document], tokenizer: Tokenizer, dtype: np.dtype[Any], genres: dict[str, int], file: BinaryIO
) -> tuple[list[tuple[int, int]], dict[str, Any]]:
    """Append the documents' tokens to a file; return (start, genre) of each document and the split's counts."""
    end_of_text = tokenizer.token_to_id(END_OF_TEXT)
    spans: list[tuple[int, int]] = []
    tokens_of_genre: Counter[str] = Counter()
    n_bytes, digest = 0, hashlib.blake2b(digest_size=16)
    while batch := list(islice(documents, 256)):
        encodings = tokenizer.encode_batch_fast([document.text for document in batch], add_special_tokens=False)
        for document, encoding in zip(batch, encodings, strict=True):
            tokens = np.array([*encoding.ids, end_of_text], dtype=dtype).tobytes()
            spans.append((file.tell() // dtype.itemsize, genres.setdefault(document.genre, len(genres))))
            file.write(tokens)
            digest.update(tokens)
            tokens_of_genre[document.genre] += len(encoding.ids) + 1
            n_bytes += len(document.text.encode())
    counts = {
        "documents": len(spans),
        "tokens": file.tell() // dtype.itemsize,
        "bytes": n_bytes,
        "tokens_of_genre": dict(tokens_of_genre),
        "hash": digest.hexdigest(),
    }
    return spans, counts
