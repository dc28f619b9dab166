"""T15 on heads made by hand."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sup_lightning.data import SkipTrigrams
from sup_lightning.errors import UserError
from sup_lightning.modules import ToyModel
from sup_lightning.studies.toy.skip_trigrams import COHERENT, NARROW, SkipTrigramHeads
from sup_lightning.studies.toy.trigram_heads import assignment_bound
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import OWN_ROWS, answer, planted

EYE = torch.eye(6)
ONE_BY_ONE = EYE[SkipTrigrams().labels].movedim(1, 0)
"""What a head for each destination writes, `[destination, source, label]`."""


def set_heads(module: ToyModel, strengths: Tensor, writes: Tensor, b: Tensor | float = 0.0) -> None:
    """Attention to a lone source `[n_heads, n_destinations]`, and writes `[n_heads, n_sources, n_labels]`."""
    net = module.net
    scores = torch.zeros(len(strengths), 6, 5)  # random tokens are as good as blanks
    scores[..., :2] = torch.logit(strengths.clamp(1e-9, 1 - 1e-7)).unsqueeze(-1) + torch.tensor(5.0).log()
    for parameter in net.parameters():
        parameter.zero_()
    net.W_K[..., :5] = EYE[:5, :5] * net.d_head**0.5
    net.W_Q[..., :5] = scores
    net.W_V[..., :5] = EYE[:5, :5]
    net.W_O[:, :, :2] = writes
    net.b[:] = b


def in_superposition(module: ToyModel) -> None:
    """Three heads do six trigrams of a source: three codes lean on two heads, three on all, -1 is the threshold."""
    weak = 0.3
    strengths = torch.full((3, 6), weak)  # [head, destination]: destination j leans on head j, or on all but j - 3
    writes = torch.full((3, 6), -3.0)  # [head, destination that asks for the label]
    for j in range(3):
        strengths[j, j], writes[j, j] = 1.0, 2 + 6 * weak
        strengths[:, 3 + j] = 1 - EYE[j, :3]
        writes[:, 3 + j] = 1 - 4 * EYE[j, :3]
    set_heads(module, strengths, writes[:, SkipTrigrams().labels.argsort(dim=1)], -1.0)


def alone(module: ToyModel) -> None:
    """Each head does one destination; if there are more heads than that, two share one."""
    n_heads = module.net.n_heads
    share = 0.5 if n_heads == 12 else 1.0
    set_heads(module, EYE.repeat(2, 1)[:n_heads], share * ONE_BY_ONE.repeat(2, 1, 1)[:n_heads])


def plant(experiment: str, module: ToyModel, shared: bool) -> None:
    if experiment == COHERENT:
        set_heads(module, torch.ones(1, 6), EYE[:2].unsqueeze(0))
    elif shared and experiment == "t15_heads-3":
        in_superposition(module)
    elif experiment != NARROW:
        alone(module)


def test_heads_that_share_trigrams_support_it(tmp_path: Path) -> None:
    study = SkipTrigramHeads()
    found = answer(study, planted(study, tmp_path, lambda name, module: plant(name, module, True), data=OWN_ROWS))
    assert [claim.outcome for claim in found.claims] == [Outcome.SUPPORTED] * 7
    table = found.tables["heads"].set_index("model")
    assert float(table.loc["6 heads", "heads_of_a_trigram"]) == pytest.approx(1)
    assert float(table.loc["12 heads", "heads_of_a_trigram"]) == pytest.approx(2)
    assert float(table.loc["6 heads", "loss_1_sources"]) < 1e-9
    assert float(table.loc["3 heads", "loss_1_sources"]) < 1e-9


def test_a_trigram_for_each_head_does_not(tmp_path: Path) -> None:
    study = SkipTrigramHeads()
    found = answer(study, planted(study, tmp_path, lambda name, module: plant(name, module, False), data=OWN_ROWS))
    outcomes = [claim.outcome for claim in found.claims]
    assert outcomes[0] == outcomes[3] == Outcome.NOT_SUPPORTED
    assert found.claims[3].effect == pytest.approx(1)
    assert found.verdict == Outcome.MIXED


def test_the_bound_is_that_of_hand_made_heads() -> None:
    p = torch.tensor([0.2, 0.3])
    assert float(assignment_bound(p, 6, 6)) == 0
    assert float(assignment_bound(p, 0, 6)) == pytest.approx(0.2 * 0.8 + 0.3 * 0.7)  # all predicted by their mean


def test_options_reach_the_runs(tmp_path: Path) -> None:
    study = SkipTrigramHeads(n_destinations=4, n_random=1, d_head=8)
    found = answer(study, planted(study, tmp_path, lambda name, module: None, data=OWN_ROWS))
    assert len(found.tables["heads"]) == 8
    with pytest.raises(UserError, match="n_destinations is 3; allowed: at least 4"):
        SkipTrigramHeads(n_destinations=3)
