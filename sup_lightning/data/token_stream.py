"""Windows read straight from documents, in order, from a place that three integers say."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, count, islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sup_lightning.data.text import TextSource, is_held_out
from sup_lightning.errors import reject


class Position(NamedTuple):
    """The next token of a stream.

    Attributes:
        passes: Passes over the documents before it.
        document: Its document's number, counted over all documents of all ranks and splits.
        token: Its number in the document.
    """

    passes: int = 0
    document: int = 0
    token: int = 0


class _Piece(NamedTuple):
    """What is left of a document: the position of its first token, the tokens and the genre."""

    position: Position
    tokens: NDArray[np.int64]
    genre: str


class TokenStream:
    """The training windows of one rank, without end: after the last document comes the first again.

    A window starts at the last token of the one before, so each token but the very first is a target once in a pass.

    Args:
        sources: Read one after another.
        encode: Maps a text to its tokens `[n]`, the end of text included.
        n_ctx: Tokens in a window.
        val_fraction: Share of the documents that is held out.
        rank: Which documents are read: those whose number is this, modulo `world_size`.
        world_size: Number of ranks.
        position: Where to start; at the beginning if not given.
    """

    def __init__(
        self,
        sources: Sequence[TextSource],
        encode: Callable[[str], NDArray[np.int64]],
        n_ctx: int,
        val_fraction: float,
        rank: int = 0,
        world_size: int = 1,
        position: Position | None = None,
    ) -> None:
        self.sources, self.encode, self.n_ctx, self.val_fraction = sources, encode, n_ctx, val_fraction
        self.rank, self.world_size = rank, world_size
        self.position = position or Position()
        self._pieces: deque[_Piece] = deque()
        self._following = self._pieces_from(self.position)

    def window(self) -> tuple[NDArray[np.int64], str]:
        """The next window, `[n_ctx + 1]`, and the genre at its middle."""
        while sum(len(piece.tokens) for piece in self._pieces) <= self.n_ctx:
            self._pieces.append(next(self._following))
        tokens = np.concatenate([piece.tokens for piece in self._pieces])[: self.n_ctx + 1]
        ends = np.cumsum([len(piece.tokens) for piece in self._pieces])
        genre = self._pieces[int(np.searchsorted(ends, self.n_ctx // 2, side="right"))].genre
        self._drop(self.n_ctx)
        return tokens, genre

    def _drop(self, n_tokens: int) -> None:
        """Move on by some tokens, fewer than there are in memory."""
        while len(self._pieces[0].tokens) <= n_tokens:
            n_tokens -= len(self._pieces.popleft().tokens)
        first = self._pieces[0]
        self.position = first.position._replace(token=first.position.token + n_tokens)
        self._pieces[0] = first._replace(position=self.position, tokens=first.tokens[n_tokens:])

    def _pieces_from(self, start: Position) -> Iterator[_Piece]:
        for passes in count(start.passes):
            first = start.document if passes == start.passes else 0
            found = first > 0
            documents = chain.from_iterable(source.documents() for source in self.sources)
            for number, document in islice(enumerate(documents), first, None):
                mine = number % self.world_size == self.rank and document.text.strip()
                if not mine or is_held_out(document.text, self.val_fraction):
                    continue
                found = True
                position = Position(passes, number)
                tokens = self.encode(document.text)
                if position[:2] == start[:2]:
                    position, tokens = start, tokens[start.token :]
                yield _Piece(position, tokens, document.genre)
            if not found:
                shown = ", ".join(map(str, self.sources))
                reject("sources", shown, f"training documents for each of {self.world_size} ranks")
