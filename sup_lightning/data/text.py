"""Where text comes from: each source yields documents with a genre."""

import glob
import hashlib
import math
import os
import sysconfig
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from sup_lightning.errors import UserError, reject, require_positive

PART_BYTES = 2**20
"""Files are read in parts of about this size, none of them cut."""
PART_DOCUMENTS = 1000
"""Other sources are read in parts of this many documents."""


class Document(NamedTuple):
    """A piece of text that is tokenised, split and labelled as one."""

    text: str
    genre: str
    name: str


class TextSource(ABC):
    """Something that yields documents, the same ones in the same order each time.

    Attributes:
        weight: Share of the training windows that come from this source, relative to the weights of the others; None
            where no source has one.
    """

    weight: float | None = None

    @abstractmethod
    def documents(self) -> Iterator[Document]:
        """The documents; blank ones are ignored."""

    def parts(self) -> Iterator[Iterable[Document]]:
        """The documents in parts: what preparation finishes at a time. A part is read when it is iterated over."""
        documents = self.documents()
        while part := list(islice(documents, PART_DOCUMENTS)):
            yield part

    def n_bytes(self) -> int | None:
        """The size of the text, if it is known without reading it."""
        return None

    def fingerprint(self) -> str:
        """A hash of everything that `documents` yields; a cache made from other text is not reused."""
        digest = hashlib.blake2b(digest_size=16)
        for document in self.documents():
            _add_fields(digest, *document)
        return digest.hexdigest()

    def __str__(self) -> str:
        return type(self).__name__


def weights_of(sources: Sequence[TextSource]) -> list[float] | None:
    """The weights of the sources, or None where there are none.

    Raises:
        UserError: If some sources have a weight and others none, or one is not positive.
    """
    given = [source.weight for source in sources]
    weights = [weight for weight in given if weight is not None]
    if not weights:
        return None
    if len(weights) < len(given):
        reject("weight", given, "a weight for every source, or for none")
    for weight in weights:
        if not (weight > 0 and math.isfinite(weight)):
            reject("weight", weight, "a positive number")
    return weights


def is_held_out(text: str, val_fraction: float) -> bool:
    """Whether a document belongs to the validation split: a matter of its text alone, so copies stay together."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") < val_fraction * 2**64


class FileText(TextSource):
    """Text in files, UTF-8: each file is a document.

    Args:
        weight: See `TextSource`.
        document_bytes: Longer files are cut into documents of at most this many bytes, each counted and split as a
            document of its own; None leaves them whole.
    """

    def __init__(self, weight: float | None = None, document_bytes: int | None = None) -> None:
        if document_bytes is not None:
            require_positive(document_bytes=document_bytes)
        self.weight = weight
        self.document_bytes = document_bytes

    @abstractmethod
    def files(self) -> list[Path]:
        """The files, sorted by path."""

    @abstractmethod
    def genre_of(self, file: Path) -> str:
        """The label of a file's documents."""

    def name_of(self, file: Path) -> str:
        """What the file's documents are called."""
        return file.as_posix()

    def documents(self) -> Iterator[Document]:
        return self._read(self.files())

    def parts(self) -> Iterator[Iterable[Document]]:
        """Whole files, as many as make up a megabyte."""
        part: list[Path] = []
        size = 0
        for file in self.files():
            part.append(file)
            size += file.stat().st_size
            if size >= PART_BYTES:
                yield self._read(part)
                part, size = [], 0
        if part:
            yield self._read(part)

    def n_bytes(self) -> int:
        return sum(file.stat().st_size for file in self.files())

    def fingerprint(self) -> str:
        """A hash of the files' genres, paths, sizes and contents, none of them decoded."""
        digest = hashlib.blake2b(digest_size=16)
        _add_fields(digest, str(self.document_bytes))
        for file in self.files():
            try:
                with file.open("rb") as opened:
                    content = hashlib.file_digest(opened, "sha256").hexdigest()
            except OSError as error:
                raise _unreadable(file, error) from error
            _add_fields(digest, self.genre_of(file), self.name_of(file), str(file.stat().st_size), content)
        return digest.hexdigest()

    def _read(self, files: Iterable[Path]) -> Iterator[Document]:
        return chain.from_iterable(map(self._documents_of, files))

    def _documents_of(self, file: Path) -> Iterator[Document]:
        text, genre, name = _read_text(file), self.genre_of(file), self.name_of(file)
        pieces = [text] if self.document_bytes is None else list(cut(text, self.document_bytes))
        for number, piece in enumerate(pieces):
            if piece.strip():
                yield Document(piece, genre, name if len(pieces) == 1 else f"{name}#{number}")


class StdlibText(FileText):
    """The Python source of the standard library of the running interpreter: real text that every machine has.

    Tests are left out, and so are `encodings` and `pydoc_data` (generated tables). About 9 MB; the genre is `python`.

    Args:
        weight: Share of the training windows, relative to the weights of the other sources.
    """

    SKIPPED = frozenset(
        {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3", "encodings", "pydoc_data"}
    )

    def __init__(self, weight: float | None = None) -> None:
        super().__init__(weight)

    def files(self) -> list[Path]:
        root = _stdlib()
        return sorted(f for f in root.rglob("*.py") if not self.SKIPPED & set(f.relative_to(root).parts))

    def genre_of(self, file: Path) -> str:
        return "python"

    def name_of(self, file: Path) -> str:
        return file.relative_to(_stdlib()).as_posix()


class LocalText(FileText):
    """Text files on this machine, UTF-8.

    Args:
        paths: Files, folders (all files below, hidden ones excepted) or glob patterns (`**` crosses folders), relative
            to the working directory; one or a list.
        genre: Label of all the documents; the name of each file's folder if not given.
        weight: Share of the training windows, relative to the weights of the other sources.
        document_bytes: Longer files are cut into documents of at most this many bytes, which are counted, and held out
            for validation, each for itself; a file is one document if not given.
    """

    def __init__(
        self,
        paths: str | list[str],
        genre: str | None = None,
        weight: float | None = None,
        document_bytes: int | None = None,
    ) -> None:
        super().__init__(weight, document_bytes)
        self.paths = [paths] if isinstance(paths, str) else paths
        self.genre = genre

    def files(self) -> list[Path]:
        found: set[Path] = set()
        for pattern in self.paths:
            matches = [Path(match) for match in glob.glob(os.path.expanduser(pattern), recursive=True)]
            if not matches:
                raise UserError(
                    f"paths has {pattern!r}, which matches nothing; allowed: files, folders or glob patterns"
                )
            for match in matches:
                found.update([match] if match.is_file() else _visible_files(match))
        if not found:
            raise UserError(f"paths is {self.paths}, and no file is there; allowed: files, folders or glob patterns")
        return sorted(found, key=Path.as_posix)

    def genre_of(self, file: Path) -> str:
        return self.genre or file.resolve().parent.name

    def __str__(self) -> str:
        return f"LocalText({', '.join(self.paths)})"


class HubText(TextSource):
    """A data set of the Hugging Face hub, streamed: each row is a document.

    Args:
        name: The data set, `owner/name`.
        config: Its configuration, where it has several.
        split: Its split; validation text is held out from it, so this is usually `train`.
        text_field: The column with the text.
        genre: Label of all the documents; the name of the data set if not given.
        max_documents: Rows to read from the start; None reads all.
        weight: Share of the training windows, relative to the weights of the other sources.
    """

    def __init__(
        self,
        name: str,
        config: str | None = None,
        split: str = "train",
        text_field: str = "text",
        genre: str | None = None,
        max_documents: int | None = 10_000,
        weight: float | None = None,
    ) -> None:
        if max_documents is not None:
            require_positive(max_documents=max_documents)
        self.name, self.config, self.split, self.text_field = name, config, split, text_field
        self.genre = genre or name.rsplit("/", 1)[-1]
        self.max_documents = max_documents
        self.weight = weight

    def documents(self) -> Iterator[Document]:
        for number, row in enumerate(islice(self._rows(), self.max_documents)):
            if self.text_field not in row:
                raise UserError(f"text_field is {self.text_field!r}; allowed for {self.name}: {', '.join(row)}")
            text = row[self.text_field] or ""
            if text.strip():
                yield Document(text, self.genre, f"{self.name}/{number}")

    def fingerprint(self) -> str:
        """A hash of the settings: reading the text only to compare it would download it again."""
        settings = (self.name, self.config, self.split, self.text_field, self.genre, self.max_documents)
        return hashlib.blake2b(repr(settings).encode(), digest_size=16).hexdigest()

    def __str__(self) -> str:
        return f"HubText({self.name})"

    def _rows(self) -> Iterable[dict[str, str]]:
        import datasets

        try:
            yield from datasets.load_dataset(self.name, self.config, split=self.split, streaming=True)
        except Exception as error:  # offline, unknown, gated, no such split: each library on the way has its own
            reason = str(error).strip().split("\n")[0]
            raise UserError(
                f"data set {self.name!r} cannot be read ({type(error).__name__}: {reason}); "
                "text on this machine works offline: LocalText or StdlibText"
            ) from error


def _stdlib() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _visible_files(folder: Path) -> list[Path]:
    return [
        file
        for file in folder.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]


def _read_text(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 text; allowed: text files, narrow the paths") from error
    except OSError as error:
        raise _unreadable(file, error) from error
    if "\0" in text:
        raise UserError(f"{file} is binary; allowed: text files, narrow the paths")
    return text


def _unreadable(file: Path, error: OSError) -> UserError:
    return UserError(f"{file} cannot be read ({error.strerror}); allowed: readable text files")


def _add_fields(digest: Any, *fields: str) -> None:
    for field in fields:
        encoded = field.encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)


def cut(text: str, most: int) -> Iterator[str]:
    r"""Cut a text into blocks of at most `most` UTF-8 bytes, which joined give it back.

    A block ends after the last blank line that fits; without one, after the last line; without one, anywhere between
    two characters.

    >>> list(cut("one\n\ntwo\nthree", most=9))
    ['one\n\n', 'two\nthree']
    """
    data, start = text.encode(), 0
    while len(data) - start > most:
        end = start + most
        for separator in (b"\n\n", b"\n"):
            found = data.rfind(separator, start, end)
            if found >= 0:
                end = found + len(separator)
                break
        else:
            while data[end] & 0xC0 == 0x80:  # inside a character
                end -= 1
        yield data[start:end].decode()
        start = end
    yield data[start:].decode()
