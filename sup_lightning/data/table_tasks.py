"""Functions of two symbols that are given by a table, none of whose values tells anything of one symbol alone."""

from functools import cache
from itertools import permutations
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sup_lightning.data.tasks import Task
from sup_lightning.errors import reject, require_positive

TableName = Literal["random", "cyclic", "s3"]

MOST_SYMBOLS = 12
"""So many that a random table is still found at once."""


def cyclic_table(n_symbols: int) -> Tensor:
    """The sum modulo n, `[n, n]` long.

    >>> cyclic_table(3).tolist()
    [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
    """
    symbols = torch.arange(n_symbols)
    return (symbols[:, None] + symbols) % n_symbols


def s3_table() -> Tensor:
    """The product of the six permutations of three things, `[6, 6]` long: the smallest group that does not commute."""
    elements = list(permutations(range(3)))
    products = [[elements.index(tuple(a[b[i]] for i in range(3))) for b in elements] for a in elements]
    return torch.tensor(products)


def random_table(n_symbols: int, seed: int = 0) -> Tensor:
    """A random Latin square, `[n, n]` long: each row and each column is a permutation.

    Rows are drawn one after the other, each at random among the permutations that repeat no column; some always do
    (Hall 1945). All Latin squares can come out, not equally often.

    Args:
        n_symbols: Side of the square.
        seed: Which one.
    """
    generator = np.random.default_rng(seed)
    table = np.full((n_symbols, n_symbols), -1)

    def fill(place: int) -> bool:
        if place == n_symbols**2:
            return True
        row, column = divmod(place, n_symbols)
        for symbol in generator.permutation(n_symbols).tolist():
            if symbol not in table[row, :column] and symbol not in table[:row, column]:
                table[row, column] = symbol
                if fill(place + 1):
                    return True
        table[row, column] = -1
        return False

    fill(0)
    return torch.from_numpy(table)


@cache
def _table(name: TableName, n_symbols: int, seed: int) -> Tensor:
    if name == "random":
        return random_table(n_symbols, seed)
    return cyclic_table(n_symbols) if name == "cyclic" else s3_table()


class TableLookup(Task):
    """f(a, b) of two symbols that come one-hot, as a one-hot target.

    The features are 2 n_symbols: first the one-hot of a, then that of b. In each table, every row and every column is
    a permutation of the symbols. So for independent, equally likely a and b the value of f says nothing of a, and
    nothing of b; together with either of them it says the other.

    Args:
        table: `random` (a Latin square), `cyclic` (the sum modulo n_symbols) or `s3` (the product of the six
            permutations of three things).
        n_symbols: Values that a and b can have.
        table_seed: Which random table.
        with_inputs: Whether a and b themselves are to be told as well: their one-hots follow that of f.
    """

    def __init__(
        self, table: TableName = "random", n_symbols: int = 5, table_seed: int = 0, with_inputs: bool = False
    ) -> None:
        require_positive(n_symbols=n_symbols)
        if table not in ("random", "cyclic", "s3"):
            reject("table", table, "random, cyclic or s3")
        if n_symbols > MOST_SYMBOLS or (table == "s3" and n_symbols != 6):
            reject("n_symbols", n_symbols, "6 for the table s3" if table == "s3" else f"at most {MOST_SYMBOLS}")
        self.table, self.n_symbols, self.table_seed, self.with_inputs = table, n_symbols, table_seed, with_inputs

    def values(self) -> Tensor:
        """f, `[n_symbols, n_symbols]` long; row a, column b."""
        return _table(self.table, self.n_symbols, self.table_seed)

    def n_outputs(self, n_features: int) -> int:
        if n_features != 2 * self.n_symbols:
            reject("n_features", n_features, f"2 n_symbols, which is {2 * self.n_symbols}")
        return (3 if self.with_inputs else 1) * self.n_symbols

    def __call__(self, features: Tensor) -> Tensor:
        a, b = features.unflatten(-2, (2, self.n_symbols)).unbind(-3)
        both = (a.unsqueeze(-2) * b.unsqueeze(-3)).flatten(-3, -2)  # [..., n_symbols², batch], one-hot
        of_symbol = F.one_hot(self.values().flatten(), self.n_symbols).to(features)
        value = of_symbol.mT @ both
        return torch.cat([value, a, b], dim=-2) if self.with_inputs else value
