"""M02 on planted weights."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sup_lightning.modules import ToyModel
from sup_lightning.studies.paper.linear_against_relu import (
    LinearAgainstReLU,
    less_important_first,
    linear_loss,
    onset,
    rise_with_sparsity,
    share_in_pairs,
)
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import answer, planted

SMALL = {"seed": 6, "feature_probability": [1.0, 0.1, 0.001]}


def most_important(n_features: int, n_hidden: int) -> Tensor:
    return torch.eye(n_features, n_hidden)


def pairs_of_the_less_important(n_features: int, n_hidden: int) -> Tensor:
    """Half of the dimensions for one feature each, the others for an antipodal pair."""
    W, alone = most_important(n_features, n_hidden), n_hidden // 2
    W[n_hidden : 2 * n_hidden - alone] = -W[alone:n_hidden]
    return W


def everything(n_features: int, n_hidden: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.nn.functional.normalize(torch.randn(n_features, n_hidden, generator=generator), dim=-1)


def principal_components(experiment: str, module: ToyModel) -> None:
    module.net.W[:] = most_important(*module.net.W.shape[1:])


def ever_more(experiment: str, module: ToyModel) -> None:
    principal_components(experiment, module)
    if experiment.endswith("relu"):
        for point, plant in enumerate((most_important, pairs_of_the_less_important, everything)):
            module.net.W[6 * point : 6 * point + 6] = plant(*module.net.W.shape[1:])


def test_ever_more_features_support_it(tmp_path: Path) -> None:
    found = answer(LinearAgainstReLU(), planted(LinearAgainstReLU(), tmp_path, ever_more, sweep=SMALL))
    assert [claim.outcome for claim in found.claims] == [Outcome.SUPPORTED] * 9
    assert found.verdict == Outcome.SUPPORTED


def test_two_linear_models_do_not(tmp_path: Path) -> None:
    found = answer(LinearAgainstReLU(), planted(LinearAgainstReLU(), tmp_path, principal_components, sweep=SMALL))
    more_features = [claim for claim in found.claims if "more features than dimensions" in claim.text]
    assert [claim.outcome for claim in more_features] == [Outcome.NOT_SUPPORTED] * 2
    assert found.verdict == Outcome.MIXED  # as there is no superposition at p = 1, which is claimed as well


def test_share_in_pairs() -> None:
    assert share_in_pairs(pairs_of_the_less_important(20, 5)) == 1
    assert share_in_pairs(everything(20, 5)) < 0.2
    same_direction = torch.tensor([[1.0, 0.0], [0.9, 0.0]])
    assert share_in_pairs(same_direction) == 0


def test_less_important_first() -> None:
    importance = 0.7 ** torch.arange(20)
    W = pairs_of_the_less_important(20, 5).unsqueeze(0)
    assert less_important_first(W, importance) == 1
    assert less_important_first(W, importance.flip(0)) == 0
    assert less_important_first(W, torch.ones(20)) == pytest.approx(0.5)


def test_order_over_points() -> None:
    assert rise_with_sparsity([1, 0.5, 0.1], torch.tensor([[1.0, 2.0], [2.0, 2.0], [4.0, 2.0]])).tolist() == [1, 0]
    assert onset(torch.tensor([[0.0, 1.0], [2.0, 3.0]])) == 1
    assert onset(torch.zeros(3, 4)) is None


def test_loss_of_a_linear_model() -> None:
    p, importance = torch.tensor(0.3).double(), 0.7 ** torch.arange(20).double()
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(20, 5, generator=generator).double() / 3
    x = torch.rand(400_000, 20, generator=generator) * (torch.rand(400_000, 20, generator=generator) < p)
    sampled = ((x.double() @ W @ W.mT - x) * importance.sqrt()).square().sum(-1)
    error = float(sampled.std()) / len(sampled) ** 0.5
    assert linear_loss(W, torch.zeros(20).double(), p, importance).item() == pytest.approx(
        float(sampled.mean()), abs=4 * error
    )
    b = torch.cat([torch.zeros(5), torch.full((15,), 0.15)]).double()
    best = linear_loss(most_important(20, 5).double(), b, p, importance).item()
    assert best == pytest.approx(float((p / 3 - p**2 / 4) * importance[5:].sum()))
