from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from sup_lightning.data.text import Document, TextSource, is_held_out
from sup_lightning.data.token_stream import Position, TokenStream
from sup_lightning.errors import UserError


class Numbers(TextSource):
    """Document n is the number n, of n % 7 + 1 tokens n."""

    def __init__(self, n: int, first: int = 0, genre: str = "number") -> None:
        self.n, self.first, self.genre = n, first, genre

    def documents(self) -> Iterator[Document]:
        yield from (Document(str(n), self.genre, str(n)) for n in range(self.first, self.first + self.n))


def encode(text: str) -> NDArray[np.int64]:
    return np.full(int(text) % 7 + 1, int(text))


def tokens_of(numbers: list[int]) -> NDArray[np.int64]:
    kept = [encode(str(n)) for n in numbers if not is_held_out(str(n), 0.2)]
    return np.concatenate(kept)


def stream(n_ctx: int = 5, rank: int = 0, world_size: int = 1, position: Position | None = None) -> TokenStream:
    sources = [Numbers(20, genre="few"), Numbers(30, first=20, genre="many")]
    return TokenStream(sources, encode, n_ctx, 0.2, rank, world_size, position)


@pytest.mark.parametrize(("rank", "world_size"), [(0, 1), (0, 2), (1, 2), (2, 3)])
def test_each_token_is_a_target_once_in_each_pass(rank: int, world_size: int) -> None:
    expected = tokens_of(list(range(rank, 50, world_size)))
    reader = stream(rank=rank, world_size=world_size)
    n_windows = (3 * len(expected) - 1) // 5
    windows = np.array([reader.window()[0] for _ in range(n_windows)])
    assert windows.shape == (n_windows, 6)
    assert np.array_equal(windows[1:, 0], windows[:-1, -1])
    assert np.array_equal(windows[:, 1:].ravel(), np.tile(expected, 3)[1 : 5 * n_windows + 1])


def test_genres_are_those_at_the_middle() -> None:
    reader = stream()
    for _ in range(60):
        window, genre = reader.window()
        assert genre == ("few" if window[2] < 20 else "many")


@pytest.mark.parametrize("n_ctx", [1, 3, 5, 40])
def test_a_stream_goes_on_from_every_position(n_ctx: int) -> None:
    whole = stream(n_ctx, rank=1, world_size=2)
    drawn, positions = [], []
    for _ in range(120):
        positions.append(whole.position)
        drawn.append(whole.window()[0])
    for number, position in enumerate(positions):
        resumed = stream(n_ctx, rank=1, world_size=2, position=position)
        for expected in drawn[number : number + 4]:
            assert np.array_equal(resumed.window()[0], expected)
    assert positions[-1].passes > 0
    assert any(position.token for position in positions)


def test_a_rank_without_documents_is_named() -> None:
    with pytest.raises(UserError, match="sources is 'Numbers'; allowed: training documents for each of 4 ranks"):
        TokenStream([Numbers(3)], encode, 5, 0.01, rank=3, world_size=4).window()
