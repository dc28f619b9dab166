"""Where text comes from: each source yields documents with a genre."""

import glob
import hashlib
import os
import sysconfig
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from sup_lightning.errors import UserError, require_positive

BLOCK_BYTES = 64 * 1024
"""A longer file is cut into documents of at most this size."""


class Document(NamedTuple):
    """A piece of text that is tokenised, split and labelled as one."""

    text: str
    genre: str
    name: str


class TextSource(ABC):
    """Something that yields documents, the same ones in the same order each time."""

    @abstractmethod
    def documents(self) -> Iterator[Document]:
        """The documents, none of them empty."""

    def fingerprint(self) -> str:
        """A hash of everything that `documents` yields; a cache made from other text is not reused."""
        digest = hashlib.blake2b(digest_size=16)
        for document in self.documents():
            for field in document:
                encoded = field.encode()
                digest.update(len(encoded).to_bytes(8, "little") + encoded)
        return digest.hexdigest()


class StdlibText(TextSource):
    """The Python source of the standard library of the running interpreter: real text that every machine has.

    Tests are left out, and so are `encodings` and `pydoc_data` (generated tables). About 9 MB; the genre is `python`.
    """

    SKIPPED = frozenset(
        {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3", "encodings", "pydoc_data"}
    )

    def documents(self) -> Iterator[Document]:
        """One document for each file, or several if it is long."""
        root = Path(sysconfig.get_path("stdlib"))
        files = sorted(f for f in root.rglob("*.py") if not self.SKIPPED & set(f.relative_to(root).parts))
        for file in files:
            yield from _file_documents(file, "python", file.relative_to(root).as_posix())


class LocalText(TextSource):
    """Text files on this machine, UTF-8.

    Args:
        paths: Files, folders (all files below, hidden ones excepted) or glob patterns (`**` crosses folders), relative
            to the working directory; one or a list.
        genre: Label of all the documents; the name of each file's folder if not given.
    """

    def __init__(self, paths: str | list[str], genre: str | None = None) -> None:
        self.paths = [paths] if isinstance(paths, str) else paths
        self.genre = genre

    def documents(self) -> Iterator[Document]:
        """One document for each file, or several if it is long."""
        n_documents = 0
        for file in self.files():
            for document in _file_documents(file, self.genre or file.resolve().parent.name, file.as_posix()):
                n_documents += 1
                yield document
        if n_documents == 0:
            raise UserError(f"paths is {self.paths}, and all files there are empty; allowed: files with text")

    def files(self) -> list[Path]:
        """The files, sorted by path."""
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


class HubText(TextSource):
    """A data set of the Hugging Face hub, streamed.

    Args:
        name: The data set, `owner/name`.
        config: Its configuration, where it has several.
        split: Its split; validation text is held out from it, so this is usually `train`.
        text_field: The column with the text.
        genre: Label of all the documents; the name of the data set if not given.
        max_documents: Rows to read from the start.
    """

    def __init__(
        self,
        name: str,
        config: str | None = None,
        split: str = "train",
        text_field: str = "text",
        genre: str | None = None,
        max_documents: int = 10_000,
    ) -> None:
        require_positive(max_documents=max_documents)
        self.name, self.config, self.split, self.text_field = name, config, split, text_field
        self.genre = genre or name.rsplit("/", 1)[-1]
        self.max_documents = max_documents

    def documents(self) -> Iterator[Document]:
        """One document for each row, or several if it is long."""
        for number, row in enumerate(self._rows()):
            if number == self.max_documents:
                return
            if self.text_field not in row:
                raise UserError(f"text_field is {self.text_field!r}; allowed for {self.name}: {', '.join(row)}")
            yield from _blocks(row[self.text_field] or "", self.genre, f"{self.name}/{number}")

    def fingerprint(self) -> str:
        """A hash of the settings: reading the text only to compare it would download it again."""
        settings = (self.name, self.config, self.split, self.text_field, self.genre, self.max_documents)
        return hashlib.blake2b(repr(settings).encode(), digest_size=16).hexdigest()

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


def _visible_files(folder: Path) -> list[Path]:
    return [
        file
        for file in folder.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]


def _file_documents(file: Path, genre: str, name: str) -> Iterator[Document]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 text; allowed: text files, narrow the paths") from error
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}); allowed: readable text files") from error
    if "\0" in text:
        raise UserError(f"{file} is binary; allowed: text files, narrow the paths")
    yield from _blocks(text, genre, name)


def _blocks(text: str, genre: str, name: str) -> Iterator[Document]:
    if not text.strip():
        return
    blocks = list(cut(text))
    for number, block in enumerate(blocks):
        if block.strip():
            yield Document(block, genre, name if len(blocks) == 1 else f"{name}#{number}")


def cut(text: str, most: int = BLOCK_BYTES) -> Iterator[str]:
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
