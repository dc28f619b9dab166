"""Tables: Latin squares, groups, and that a value says nothing of one symbol."""

from typing import Any

import pytest
import torch

from sup_lightning.data import AnticorrelatedSets, ConstantValue, SyntheticFeatures, TableLookup
from sup_lightning.data.table_tasks import cyclic_table, random_table, s3_table
from sup_lightning.errors import UserError
from sup_lightning.functional.information import mutual_information

TABLES = {"random": random_table(5), "another": random_table(7, seed=3), "cyclic": cyclic_table(6), "s3": s3_table()}


@pytest.mark.parametrize("name", TABLES)
def test_rows_and_columns_are_permutations_and_values_tell_no_symbol(name: str) -> None:
    table = TABLES[name]
    symbols = torch.arange(len(table))
    assert (table.sort(dim=0).values == symbols[:, None]).all()
    assert (table.sort(dim=1).values == symbols).all()
    a, b = torch.cartesian_prod(symbols, symbols).T
    assert mutual_information(table[a, b], a).item() < 1e-12
    assert mutual_information(table[a, b], b).item() < 1e-12
    assert mutual_information(table[a, b], a * len(table) + b).item() == pytest.approx(torch.log2(symbols[-1] + 1.0))


def test_s3_is_a_group_that_does_not_commute() -> None:
    table = s3_table()
    x, y, z = torch.cartesian_prod(*[torch.arange(6)] * 3).T
    assert (table[table[x, y], z] == table[x, table[y, z]]).all()
    assert not torch.equal(table, table.T)


def test_random_tables_differ_by_seed_only() -> None:
    assert torch.equal(random_table(6, 1), random_table(6, 1))
    assert not torch.equal(random_table(6, 1), random_table(6, 2))


@pytest.mark.parametrize("with_inputs", [False, True])
def test_targets(with_inputs: bool) -> None:
    task = TableLookup("random", 5, with_inputs=with_inputs)
    data = SyntheticFeatures(10, 1.0, features=AnticorrelatedSets(5, values=ConstantValue()), task=task)
    batch = data.batch("features", 0, range(500), 500)
    a, b = batch.features[0].unflatten(-1, (2, 5)).argmax(dim=-1).T
    assert (batch.features.sum(dim=-1) == 2).all()
    assert batch.targets.shape == (1, 500, 15 if with_inputs else 5)
    parts = batch.targets[0].unflatten(-1, (-1, 5))
    assert (parts.sum(dim=-1) == 1).all()
    assert (parts[:, 0].argmax(dim=-1) == random_table(5)[a, b]).all()
    if with_inputs:
        assert (parts[:, 1].argmax(dim=-1) == a).all()
        assert (parts[:, 2].argmax(dim=-1) == b).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TableLookup("sum"), "table is 'sum'; allowed: random, cyclic or s3"),  # type: ignore[arg-type]
        (lambda: TableLookup("s3", 5), "n_symbols is 5; allowed: 6 for the table s3"),
        (lambda: TableLookup("random", 13), "n_symbols is 13; allowed: at most 12"),
        (lambda: SyntheticFeatures(9, task=TableLookup()), "n_features is 9; allowed: 2 n_symbols, which is 10"),
    ],
)
def test_bad_settings(make: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
