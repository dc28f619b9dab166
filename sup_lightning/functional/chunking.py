"""Activations a few rows at a time, so that their float64 copies stay small."""

from collections.abc import Iterator

CHUNK = 2**22
"""Most activations held in float64 at once: 32 MB."""


def row_chunks(n_rows: int, width: int) -> Iterator[slice]:
    """Slices that cover `n_rows` rows, each of at most `CHUNK` numbers (or of one row).

    >>> [(rows.start, rows.stop) for rows in row_chunks(5, CHUNK // 2)]
    [(0, 2), (2, 4), (4, 6)]
    """
    size = max(1, CHUNK // max(1, width))
    return (slice(start, start + size) for start in range(0, n_rows, size))
