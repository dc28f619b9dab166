"""X03 on codes made by hand."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from sup_lightning.data import TableLookup
from sup_lightning.errors import UserError
from sup_lightning.functional.information import merge_distances
from sup_lightning.modules import ToyModel
from sup_lightning.nn import CodeModel
from sup_lightning.studies.counterexamples.non_decomposable import (
    CONTROL,
    GROUP,
    Cases,
    NonDecomposable,
    coarsest_resolution,
    edited,
    informations,
)
from sup_lightning.studies.study import Answer
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import answer, planted


def build(net: CodeModel, task: TableLookup, leaks: bool) -> None:
    """A network that looks its table up: a neuron for each pair of symbols.

    The code of a pair is a place on a circle for its f; if it leaks it is moved aside, for each pair by another way. A
    code of twelve dimensions has a one-hot of f, or of f, a and b.
    """
    q, cases = task.n_symbols, Cases.of(task)
    n_pairs = q * q
    pair = torch.cat([cases.features.T.float(), torch.zeros(2 * q, net.n_neurons - n_pairs)], dim=1)
    net.W_in.copy_(pair)
    net.b_in.fill_(-1.0)  # fires where both symbols are there
    symbols = (cases.f, cases.a, cases.b)[: net.n_outputs // q]
    if net.n_hidden == 2:
        angle = 2 * torch.pi * torch.arange(q) / q
        place = torch.stack([angle.cos(), angle.sin()], dim=1)
        code, head = place[cases.f], 20 * place
        if leaks:
            aside = 2 * torch.pi * torch.arange(n_pairs) / n_pairs
            code = code + 0.45 * torch.stack([aside.cos(), aside.sin()], dim=1)
        bias = torch.full((q,), -20 * math.cos(math.pi / q))
    else:
        axes = F.one_hot(torch.arange(q), q).float() - 1 / q
        basis = torch.linalg.svd(axes)[2][: q - 1]  # q places in q - 1 dimensions
        place = axes @ basis.T
        code = torch.cat([place[each] for each in symbols], dim=1)
        head = 20 * torch.block_diag(*[place] * len(symbols))
        bias = torch.zeros(len(head))
        code, head = (F.pad(each, (0, net.n_hidden - each.shape[1])) for each in (code, head))
    net.W_code.copy_(F.pad(code, (0, 0, 0, net.n_neurons - n_pairs)))
    net.W_head.copy_(head)
    net.b.copy_(bias)


def found(folder: Path, leaks: bool = False, solved: bool = True) -> Answer:
    study = NonDecomposable()

    def plant(experiment: str, model: ToyModel) -> None:
        assert isinstance(model.net, CodeModel)
        if experiment == GROUP:
            task = TableLookup("s3", 6)
        else:
            task = TableLookup("random", 5, with_inputs=experiment == CONTROL)
        if solved:
            build(model.net, task, leaks)

    few = {"val_batch_size": 16, "val_batches": 1, "batch_size": 16}
    return answer(study, planted(study, folder, plant, data=few, sweep={"seed": 8}))


def test_a_code_of_f_alone(tmp_path: Path) -> None:
    result = found(tmp_path)
    assert result.verdict == Outcome.SUPPORTED
    told, edit, told_with, edit_with = (claim.effect for claim in result.claims)
    assert told == pytest.approx(0, abs=1e-6)
    assert edit == pytest.approx(1 / 5, abs=1e-6)  # by counting: any map of the five codes is right once in five
    assert (told_with, edit_with) == (pytest.approx(1), 1.0)


def test_a_code_that_tells_its_symbols(tmp_path: Path) -> None:
    result = found(tmp_path, leaks=True)
    assert result.claims[0].outcome == Outcome.NOT_SUPPORTED
    assert result.verdict == Outcome.MIXED


def test_nothing_is_said_of_models_that_have_not_learned_the_table(tmp_path: Path) -> None:
    result = found(tmp_path, solved=False)
    assert result.verdict == Outcome.INCONCLUSIVE
    assert result.gate.startswith("fewer than 8 seeds learned the table of x03_table, ")


def test_any_map_of_pure_codes_is_right_once_in_n() -> None:
    """Whatever an edit does to a code that is f, (a', b) comes out for one b in n: f and b are independent."""
    cases = Cases.of(TableLookup("random", 5))
    generator = torch.Generator().manual_seed(0)
    for value in range(5):
        for _ in range(5):
            edit = torch.randint(0, 5, (5,), generator=generator)
            assert (edit[cases.f] == cases.f[5 * value + cases.b]).sum().item() == 5


def test_resolutions_and_information() -> None:
    task = TableLookup("cyclic", 4)
    cases = Cases.of(task)
    trace = 0.01 * (4 * cases.a + cases.b).double() / 16  # every case has a code of its own, those of an f are near
    merged = merge_distances((cases.f + trace).unsqueeze(1))
    coarsest = coarsest_resolution(merged, cases.f)
    assert 0.99 < coarsest.item() < 1
    labels = (cases.f, cases.a, cases.b)
    assert informations(merged, 0.5, labels) == pytest.approx([2, 0, 0])
    assert informations(merged, 1e-4, labels) == pytest.approx([2, 2, 2])
    assert informations(merged, 1.5, labels) == pytest.approx([0, 0, 0])


def test_an_edit_of_a_code_with_parts_is_exact() -> None:
    cases = Cases.of(TableLookup("random", 5))
    code = cases.features  # one-hots of a and of b
    changed = edited(code, cases, 3, 1e-6)
    torch.testing.assert_close(changed, code[15 + cases.b], atol=1e-6, rtol=0)


def test_bad_sizes() -> None:
    with pytest.raises(UserError, match="n_symbols is 2; allowed: 3 to 12"):
        NonDecomposable(n_symbols=2)
