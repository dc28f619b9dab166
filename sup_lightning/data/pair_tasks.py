"""Functions of pairs of features."""

from itertools import combinations
from typing import Literal, get_args

import torch
from torch import Tensor

from sup_lightning.data.tasks import Task
from sup_lightning.errors import reject

PairFunction = Literal["and", "or", "xor", "max", "product"]
Pairs = Literal["disjoint", "all"]


class PairTask(Task):
    """One target for each pair of features.

    `and`, `or` and `xor` ask whether the features are active (not 0) and answer 1 or 0; `max` and `product` take their
    values.

    Args:
        function: Of the two features.
        pairs: `disjoint` are (0, 1), (2, 3) and so on, half as many as features; `all` are (0, 1), (0, 2) … in the
            order of `itertools.combinations`, n (n - 1) / 2 of them.

    >>> features = torch.tensor([[0.0, 0.5], [2.0, 3.0]])  # [n_features, batch]
    >>> PairTask("and")(features), PairTask("max")(features)
    (tensor([[0., 1.]]), tensor([[2., 3.]]))
    """

    def __init__(self, function: PairFunction, pairs: Pairs = "disjoint") -> None:
        if function not in get_args(PairFunction):
            reject("function", function, ", ".join(get_args(PairFunction)))
        if pairs not in get_args(Pairs):
            reject("pairs", pairs, ", ".join(get_args(Pairs)))
        self.function, self.pairs = function, pairs

    def n_outputs(self, n_features: int) -> int:
        return len(self.members(n_features))

    def members(self, n_features: int) -> Tensor:
        """The two features of each pair, `[n_pairs, 2]`."""
        if n_features < 2 or (self.pairs == "disjoint" and n_features % 2):
            reject("n_features", n_features, "an even number" if self.pairs == "disjoint" else "at least 2")
        if self.pairs == "disjoint":
            return torch.arange(n_features).view(-1, 2)
        return torch.tensor(list(combinations(range(n_features), 2)))

    def __call__(self, features: Tensor) -> Tensor:
        first, second = (features.index_select(-2, each) for each in self.members(features.shape[-2]).unbind(1))
        if self.function == "max":
            return torch.maximum(first, second)
        if self.function == "product":
            return first * second
        one, other = first != 0, second != 0
        answer = {"and": one & other, "or": one | other, "xor": one ^ other}[self.function]
        return answer.to(features.dtype)
