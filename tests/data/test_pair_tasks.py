"""Pair tasks against Python's own operators, row by row."""

import operator
from collections.abc import Callable
from itertools import combinations

import pytest
import torch

from sup_lightning.data.pair_tasks import PairFunction, PairTask
from sup_lightning.errors import UserError

FUNCTIONS: dict[PairFunction, Callable[[float, float], float]] = {
    "and": lambda a, b: float(a != 0 and b != 0),
    "or": lambda a, b: float(a != 0 or b != 0),
    "xor": lambda a, b: float((a != 0) != (b != 0)),
    "max": max,
    "product": operator.mul,
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("pairs", ["disjoint", "all"])
def test_every_pair_of_every_row(function: PairFunction, pairs: str) -> None:
    features = torch.rand(2, 6, 40) * (torch.rand(2, 6, 40) < 0.5)
    task = PairTask(function, pairs)  # type: ignore[arg-type]
    targets = task(features)
    members = [(0, 1), (2, 3), (4, 5)] if pairs == "disjoint" else list(combinations(range(6), 2))
    assert targets.shape == (2, task.n_outputs(6), 40) == (2, len(members), 40)
    for instance, row in torch.cartesian_prod(torch.arange(2), torch.arange(40)).tolist():
        x = features[instance, :, row].tolist()
        expected = [FUNCTIONS[function](x[a], x[b]) for a, b in members]
        torch.testing.assert_close(targets[instance, :, row], torch.tensor(expected))


def test_bad_settings() -> None:
    with pytest.raises(UserError, match="function is 'nor'; allowed: and, or, xor, max, product"):
        PairTask("nor")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="pairs is 'some'; allowed: disjoint, all"):
        PairTask("and", "some")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="n_features is 5; allowed: an even number"):
        PairTask("and").n_outputs(5)
