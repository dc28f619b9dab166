"""Turning text into shards, once: interrupted, it goes on where it was.

A cache is a folder named by a hash of everything it depends on. It grows in the hidden folder `.partial`, is committed
part by part (`TextSource.parts`), and is renamed when it is complete, so that a half-written one is never read.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from filelock import FileLock
from tokenizers import Tokenizer

from sup_lightning.data.preparation_bar import PreparationBar
from sup_lightning.data.shards import (
    FORMAT,
    MANIFEST,
    SPLITS,
    Manifest,
    ShardWriter,
    check_sizes,
    hash_of,
    to_json,
    write_atomically,
)
from sup_lightning.data.text import Document, TextSource, is_held_out
from sup_lightning.data.tokenizer import encode_documents, load_tokenizer, tokenizer_hash, train_tokenizer
from sup_lightning.errors import UserError, reject

PARTIAL = ".partial"
TOKENIZER = "tokenizer.json"
TOKENIZER_BYTES = 2**26
"""Most text of each source that the tokenizer is trained on; BPE keeps the counts of all its words in memory."""
ENCODE_BYTES = 2**20
"""Text that is tokenised at a time."""
BYTES_PER_TOKEN = 2
"""For the estimate of space: fewer than any but the smallest vocabularies reach."""


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

    def make_tokenizer(self) -> Tokenizer:
        """The given tokenizer, or one trained on the beginning of each source, without what is held out.

        Raises:
            UserError: The tokenizer has numbers that are not in the vocabulary, or a source has no text.
        """
        if self.tokenizer is None:
            return train_tokenizer(self._tokenizer_texts(), self.d_vocab)
        tokenizer = load_tokenizer(self.tokenizer)
        needed = max(tokenizer.get_vocab().values()) + 1
        if needed > self.d_vocab:
            reject("d_vocab", self.d_vocab, f"{needed} or more, as {self.tokenizer} has the token {needed - 1}")
        return tokenizer

    def _tokenizer_texts(self) -> Iterator[str]:
        for source in self.sources:
            left = TOKENIZER_BYTES
            for document in source.documents():
                if is_held_out(document.text, self.val_fraction):
                    continue
                yield document.text
                left -= len(document.text)
                if left <= 0:
                    break


def find_cache(cache_dir: Path, key: str) -> Path | None:
    """The folder of a complete cache, or None.

    Raises:
        UserError: A shard is missing or has another size than when it was prepared.
    """
    folder = cache_dir / key
    if not (folder / MANIFEST).is_file():
        return None
    check_sizes(folder)
    return folder


def build_cache(corpus: Corpus, cache_dir: Path, key: str) -> Path:
    """Tokenise a corpus into a folder of shards, unless it is there; see `shards` for what it holds.

    Raises:
        UserError: A source or a split is left without documents, the given tokenizer does not fit, the disk is full, or
            the cache is damaged.
    """
    if (found := find_cache(cache_dir, key)) is not None:
        return found
    target, partial = cache_dir / key, cache_dir / PARTIAL / key
    partial.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(partial.with_suffix(".lock")):
        if (found := find_cache(cache_dir, key)) is not None:  # another process was quicker
            return found
        partial.mkdir(exist_ok=True)
        try:
            Preparation(corpus, partial, key).run()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise UserError(f"the disk of {cache_dir} is full; make room, preparation goes on where it was") from error
        shutil.rmtree(target, ignore_errors=True)  # without a manifest
        os.replace(partial, target)
        partial.with_suffix(".json").unlink()
    return target


class Preparation:
    """Fills one folder with shards.

    Its state is the manifest so far and the next part of the next source, in a file beside the folder.

    Args:
        corpus: The text.
        folder: Where the shards grow.
        key: Of the cache.
    """

    def __init__(self, corpus: Corpus, folder: Path, key: str) -> None:
        self.corpus, self.folder, self.key = corpus, folder, key
        self.state_file = folder.with_suffix(".json")
        self.source = self.part = 0

    def run(self) -> None:
        """Write what is not there yet, then the manifest."""
        self._require_space()
        self._restore()
        with ExitStack() as stack:
            bar = stack.enter_context(PreparationBar(self._text_bytes()))
            self.writers = {
                split: stack.enter_context(ShardWriter(self.folder, split, self.manifest)) for split in SPLITS
            }
            bar.advance(*self._counts())
            for number, source in islice(enumerate(self.corpus.sources), self.source, None):
                self._add_source(number, source, bar)
        self._require_documents()
        for shards in self.manifest.shards.values():
            for shard in shards:
                names = shard.file_sizes(self.manifest.token_dtype().itemsize)
                shard.sha256 = {name: hash_of(self.folder / name) for name in names}
        write_atomically(self.folder / MANIFEST, to_json(self.manifest))

    def _restore(self) -> None:
        """Take up what an earlier preparation committed, or begin."""
        state = json.loads(self.state_file.read_text()) if self.state_file.is_file() else None
        if state is not None:
            self.source, self.part = state.pop("source"), state.pop("part")
            self.manifest = Manifest.from_plain(state)
            if self._holds_what_was_committed():
                self.tokenizer = load_tokenizer(str(self.folder / TOKENIZER))
                return
            self.source = self.part = 0
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        self.tokenizer = self.corpus.make_tokenizer()
        write_atomically(self.folder / TOKENIZER, self.tokenizer.to_str(pretty=True))
        self.manifest = Manifest(
            key=self.key,
            d_vocab=self.corpus.d_vocab,
            dtype="uint16" if self.corpus.d_vocab <= 2**16 else "uint32",
            val_fraction=self.corpus.val_fraction,
            tokenizer_hash=tokenizer_hash(self.tokenizer),
            sources=[str(source) for source in self.corpus.sources],
            tokens_of_source={split: [0] * len(self.corpus.sources) for split in SPLITS},
        )
        self._save_state()

    def _holds_what_was_committed(self) -> bool:
        sizes = {
            name: file.stat().st_size for name in self.manifest.file_sizes() if (file := self.folder / name).exists()
        }
        complete = all(sizes.get(name, -1) >= size for name, size in self.manifest.file_sizes().items())
        return complete and (self.folder / TOKENIZER).is_file()

    def _add_source(self, number: int, source: TextSource, bar: PreparationBar) -> None:
        for part in islice(source.parts(), self.part, None):
            for batch in _batches(part):
                bar.advance(*self._add_documents(batch, number))
            self._commit(number, self.part + 1)
        if not any(self.manifest.tokens_of_source[split][number] for split in SPLITS):
            reject("sources", str(source), "sources with text; this one yields no document")
        self._commit(number + 1, 0)

    def _add_documents(self, batch: Sequence[Document], source: int) -> tuple[int, int, int]:
        """Tokenise and write documents; return how many, their tokens and their bytes."""
        genres, n_tokens, n_bytes = self.manifest.genres, 0, 0
        encoded = encode_documents(self.tokenizer, [document.text for document in batch])
        for document, tokens in zip(batch, encoded, strict=True):
            if document.genre not in genres:
                genres.append(document.genre)
            split = "val" if is_held_out(document.text, self.corpus.val_fraction) else "train"
            size = len(document.text.encode())
            self.writers[split].add(tokens, document.genre, size, source)
            n_tokens, n_bytes = n_tokens + len(tokens), n_bytes + size
        return len(batch), n_tokens, n_bytes

    def _commit(self, source: int, part: int) -> None:
        """Make what was written count, also after a loss of power."""
        for writer in self.writers.values():
            writer.sync()
        self.source, self.part = source, part
        self._save_state()

    def _save_state(self) -> None:
        write_atomically(self.state_file, to_json(self.manifest, source=self.source, part=self.part))

    def _counts(self) -> tuple[int, int, int]:
        """Documents, tokens and bytes so far."""
        shards = [shard for split in SPLITS for shard in self.manifest.shards[split]]
        documents, tokens = sum(shard.documents for shard in shards), sum(shard.tokens for shard in shards)
        return documents, tokens, sum(shard.bytes for shard in shards)

    def _text_bytes(self) -> int | None:
        """The size of the text, if all sources know theirs."""
        sizes = [source.n_bytes() for source in self.corpus.sources]
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None

    def _require_space(self) -> None:
        width = 2 if self.corpus.d_vocab <= 2**16 else 4
        text_bytes = sum(source.n_bytes() or 0 for source in self.corpus.sources)
        there = sum(file.stat().st_size for file in self.folder.iterdir())
        need, free = text_bytes * width // BYTES_PER_TOKEN - there, shutil.disk_usage(self.folder).free
        if need > free:
            raise UserError(
                f"cache_dir is {str(self.folder.parents[1])!r}, whose disk has {free / 1e9:.2f} GB free; "
                f"the tokens need about {need / 1e9:.2f} GB"
            )

    def _require_documents(self) -> None:
        counts = {split: sum(shard.documents for shard in self.manifest.shards[split]) for split in SPLITS}
        for split, count in counts.items():
            if count == 0:
                raise UserError(
                    f"val_fraction is {self.corpus.val_fraction}, which puts none of {sum(counts.values())} documents "
                    f"into the {split} split; allowed: another fraction, or more documents"
                )


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Documents by about a megabyte of text, without blank ones."""
    batch: list[Document] = []
    size = 0
    for document in documents:
        if document.text.strip():
            batch.append(document)
            size += len(document.text)
        if size >= ENCODE_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
