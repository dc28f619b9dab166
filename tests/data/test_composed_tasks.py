"""Functions of functions, against plain loops over all rows."""

from itertools import product

import pytest
import torch

from sup_lightning.data import Composed, GroupSums, PairTask, SyntheticFeatures
from sup_lightning.errors import UserError


@pytest.mark.parametrize("outer", ["or", "xor"])
def test_composed_pairs_by_truth_table(outer: str) -> None:
    task = Composed(PairTask("and"), PairTask(outer))  # type: ignore[arg-type]
    rows = list(product([0, 1], repeat=8))
    targets = task(torch.tensor(rows, dtype=torch.float32).T)
    assert targets.shape == (task.n_outputs(8), 256) == (2, 256)
    for row, target in zip(rows, targets.T.tolist(), strict=True):
        for k in range(2):
            a, b, c, d = row[4 * k : 4 * k + 4]
            first, second = a and b, c and d
            assert target[k] == (first or second if outer == "or" else first != second)


def test_sums_of_all_maxima() -> None:
    task = Composed(PairTask("max", "all"), GroupSums(3))
    features = torch.rand(2, 5, 20, generator=torch.Generator().manual_seed(0))
    found = task(features)
    assert found.shape == (2, 3, 20)
    pairs = [(i, j) for i in range(5) for j in range(i + 1, 5)]
    for group in range(3):
        members = pairs[group::3]
        expected = sum(torch.maximum(features[:, i], features[:, j]) for i, j in members)
        torch.testing.assert_close(found[:, group], expected)


def test_the_data_tell_the_network_how_many_outputs_it_needs() -> None:
    assert SyntheticFeatures(8, task=Composed(PairTask("and"), PairTask("xor"))).n_outputs == 2


def test_bad_sizes() -> None:
    with pytest.raises(UserError, match="n_groups is 4; allowed: at most 3"):
        GroupSums(4).n_outputs(3)
    with pytest.raises(UserError, match="n_groups is 0; allowed: a positive integer"):
        GroupSums(0)
    with pytest.raises(UserError, match="n_features is 3; allowed: an even number"):
        Composed(PairTask("and"), PairTask("or")).n_outputs(6)
