"""X04 on dictionaries made by hand."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sup_lightning.data import ConstantValue, SignedValues, TwoBases
from sup_lightning.errors import UserError
from sup_lightning.modules import ToyModel
from sup_lightning.nn import BottleneckModel
from sup_lightning.studies.counterexamples.feature_sets import (
    EQUAL,
    SGD,
    TILTED,
    FeatureSets,
    block_matches,
    cost_of_a,
    expected_losses,
    losses_between,
    reflect,
    turned_bases,
)
from sup_lightning.studies.study import Answer
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import OWN_ROWS, answer, planted

LENGTH = 1.343
"""Of the best atoms of one basis."""


def found(folder: Path, blocks: str) -> Answer:
    """The answer if blocks of equal data have A or B (`random`; B more often with Adam), A, or neither basis.

    Blocks of tilted data have A, or neither.
    """

    def plant(experiment: str, model: ToyModel) -> None:
        chosen = (torch.arange(2 * model.sweep.n_instances) * (5**0.5 - 1) / 2 % 1).view(-1, 2)  # evenly in [0, 1)
        for k, W in enumerate(model.net.W):
            W.copy_(torch.block_diag(*[turned_bases(22.5)[0].float()] * 2) if blocks == "neither" else torch.eye(4))
            for block in (0, 1):
                chance_of_b = {EQUAL: 0.75, SGD: 0.5}.get(experiment, 0.0) if blocks == "random" else 0.0
                if float(chosen[k, block]) < chance_of_b:
                    W.copy_(reflect(W, block))
        model.net.W.mul_(LENGTH)

    study = FeatureSets()
    return answer(study, planted(study, folder, plant, data=OWN_ROWS, sweep={"seed": 48, "feature_probability": [0.1]}))


def test_blocks_that_chose_by_chance(tmp_path: Path) -> None:
    result = found(tmp_path, "random")
    assert [claim.outcome for claim in result.claims] == [Outcome.SUPPORTED] * 6
    assert abs(result.claims[3].effect) < 1e-6
    points = result.tables["points"].set_index("experiment")
    assert points["blocks with A alone"][TILTED[0]] == 1.0
    assert points["largest change by a reflection"][EQUAL] < 1e-6
    assert points["largest change by a reflection"][TILTED[-1]] > 0.01


def test_a_basis_that_is_always_preferred(tmp_path: Path) -> None:
    result = found(tmp_path, "A")
    outcomes = [claim.outcome for claim in result.claims]
    assert outcomes[:3] == [Outcome.SUPPORTED, Outcome.NOT_SUPPORTED, Outcome.NOT_SUPPORTED]
    assert outcomes[5] == Outcome.NOT_SUPPORTED  # there is nothing left to rise
    assert result.verdict == Outcome.MIXED


def test_atoms_between_the_bases(tmp_path: Path) -> None:
    result = found(tmp_path, "neither")
    assert result.claims[0].outcome == Outcome.NOT_SUPPORTED
    assert result.claims[1].outcome == Outcome.INCONCLUSIVE
    assert result.verdict == Outcome.MIXED


def test_losses_between_the_bases_by_hand() -> None:
    """A block of one basis, atoms of length g: 2 rays of its own and 2 of the other, each as often."""
    g = torch.linspace(0.5, 2.5, 2001, dtype=torch.float64)
    r = 0.5**0.5
    own = (g * (g - 0.5).relu() - 1) ** 2
    other = 2 * (g * (g * r - 0.5).relu() - r) ** 2
    best = ((own + other) / 2).min()
    between = losses_between(TwoBases(0.5, SignedValues(ConstantValue())))
    torch.testing.assert_close(between[[0, -1]], best.expand(2), rtol=1e-9, atol=0)
    assert pytest.approx(float(g[((own + other) / 2).argmin()]), abs=1e-2) == LENGTH
    cos, sin = math.cos(math.pi / 8), math.sin(math.pi / 8)  # half-way every ray is 22.5 degrees from an atom
    halfway = (g * (g * cos - 0.5).relu() - cos) ** 2 + (g * (g * sin - 0.5).relu() - sin) ** 2
    assert float(between[5]) == pytest.approx(float(halfway.min()), rel=1e-9)
    tilted = losses_between(TwoBases(0.7, SignedValues(ConstantValue())))
    assert tilted[0] < tilted[-1]


def test_matches() -> None:
    A, B = torch.eye(4), turned_bases(0)[1].float()
    mixed = torch.block_diag(torch.eye(2), B)
    torch.testing.assert_close(block_matches(mixed), torch.tensor([[1, 0.5**0.5], [0.5**0.5, 1]]))
    both = torch.cat([A, torch.block_diag(B, B)])
    torch.testing.assert_close(block_matches(both), torch.ones(2, 2))


def reference_loss(W: Tensor, share: float, p: float) -> float:
    """The loss of one block, written out row by row."""
    r, total = 0.5**0.5, 0.0
    for vector, chance in (([1, 0], share), ([0, 1], share), ([r, r], 1 - share), ([r, -r], 1 - share)):
        for sign in (1, -1):
            x = sign * torch.tensor(vector, dtype=torch.float64)
            z = W.T @ x
            output = W @ ((z - 0.5).relu() - (-z - 0.5).relu())
            total += p * chance / 4 * float((output - x).square().sum())
    return total


def test_the_exact_loss_is_that_of_all_rows_and_the_same_in_both_bases() -> None:
    W = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(1)).double()
    b = torch.zeros(2, 2).double()
    for share, same in ((0.5, True), (0.7, False)):
        law = TwoBases(share, SignedValues(ConstantValue())).outcomes(2, torch.full((2, 2), 0.3))
        losses = expected_losses(W, b, law)
        for k in range(2):
            assert float(losses[k]) == pytest.approx(reference_loss(W[k], share, 0.3), rel=1e-6)
        change = float((expected_losses(reflect(W, 0), b, law) / losses - 1).abs().max())
        assert (change < 1e-12) == same
    net = BottleneckModel(2, [0, 1], n_hidden=3, activation="linear", hidden_activation="softshrink").double()
    net.load_state_dict({"W": W, "b": b})
    x = law.x.expand(2, -1, -1)
    torch.testing.assert_close(((net(x) - x).square().sum(-1) * law.probability).sum(-1), losses)


def test_the_cost_of_a_choice_is_found() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(2, 40, 3, generator=generator) < 0.5
    only = torch.stack([a, ~a], dim=-1)
    losses = torch.exp(0.03 * a.sum(-1)) * torch.tensor([[1.0], [5.0]])
    models = torch.rand(2, 40, generator=generator) < 0.7
    losses = torch.where(models, losses, 100.0)
    assert float(cost_of_a(losses, only, models)) == pytest.approx(0.03, rel=1e-5)


@pytest.mark.parametrize("n_features", [5, 10])
def test_bad_sizes(n_features: int) -> None:
    with pytest.raises(UserError, match=f"n_features is {n_features}; allowed: an even number up to 8"):
        FeatureSets(n_features=n_features)
