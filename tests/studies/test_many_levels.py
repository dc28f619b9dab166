"""T13b on networks made by hand, one of which tells the levels of more features apart than it has pairs of neurons."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sup_lightning.errors import UserError
from sup_lightning.modules import ToyModel
from sup_lightning.studies.study import Answer
from sup_lightning.studies.toy.many_levels import ManyLevels, naive_count
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import OWN_ROWS, answer, planted

N_FEATURES = 8
SHARED = {4: 3, 8: 7, 12: 8}
"""Neurons to features whose levels `shared` tells apart."""

Weights = tuple[Tensor, Tensor, Tensor, Tensor]


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sup_lightning.studies.toy.many_functions.FIT_ROWS", 256)
    monkeypatch.setattr("sup_lightning.studies.toy.many_functions.ROWS", 8_192)


def nothing(n_neurons: int, p: float) -> Weights:
    """Each output is its mean, through a sigmoid."""
    W_in, W_out = torch.zeros(N_FEATURES, n_neurons), torch.zeros(5 * N_FEATURES, n_neurons)
    return W_in, torch.zeros(n_neurons), W_out, torch.full((5 * N_FEATURES,), p / 5).logit()


def sharpened(weights: Weights, n_kept: int, steepness: float = 24.0) -> Weights:
    """A sigmoid in place of a ReLU: what is 1 there and at most 0 becomes nearly 1 and nearly 0."""
    W_out, b = weights[2:]
    W_out[: 5 * n_kept] *= steepness
    b[: 5 * n_kept] = steepness * (b[: 5 * n_kept] - 0.5)
    return weights


def own(n_neurons: int, p: float) -> Weights:
    """Two neurons for each of the first features, relu(x - 1.5) and relu(3.5 - x): the naive network."""
    W_in, b_in, W_out, b = nothing(n_neurons, p)
    x = torch.arange(6.0)
    corners = torch.stack([(x - 1.5).relu(), (3.5 - x).relu()], dim=1)
    for i in range(n_neurons // 2):
        W_in[i, 2 * i], W_in[i, 2 * i + 1] = 1.0, -1.0
        b_in[2 * i], b_in[2 * i + 1] = -1.5, 3.5
        for level in range(1, 6):
            sides = corners[[level, min(level + 1, 5)]] - corners[[level - 1, level]]
            along = sides.sum(dim=0) if level < 5 else torch.tensor([1.0, 0.5])
            across = torch.tensor([along[1], -along[0]]) if level < 5 else torch.tensor([1.0, 0.0])
            heights = corners @ across
            across = across if heights[level] >= heights.median() else -across
            heights = corners @ across
            next_best = torch.cat([heights[:level], heights[level + 1 :]]).max()
            row = 5 * i + level - 1
            W_out[row, 2 * i : 2 * i + 2] = across / (heights[level] - next_best)
            b[row] = -next_best / (heights[level] - next_best)
    return sharpened((W_in, b_in, W_out, b), n_neurons // 2)


def shared(n_neurons: int, p: float, steepness: float = 40.0) -> Weights:
    """The last two neurons bend all features alike, at 1.5 and 3.5; the others carry them, several to a neuron.

    Output (i, level) is a line that touches the bent curve at that level alone, in the direction of feature i.
    """
    W_in, b_in, W_out, b = nothing(n_neurons, p)
    n_carriers, n_kept = n_neurons - 2, SHARED[n_neurons]
    directions = torch.eye(n_carriers).repeat(2, 1)[:n_kept]
    for k in range(n_carriers, n_kept):  # half way between two carriers
        directions[k] = (directions[k] + directions[k].roll(1)) / 2**0.5
    W_in[:n_kept, :n_carriers] = directions
    W_in[:n_kept, -2:] = 1.0
    b_in[-2:] = torch.tensor([-1.5, -3.5])
    for i in range(n_kept):
        for level in range(1, 6):
            slope = steepness * (2 * level - 1) / 4
            bend = steepness * sum(max(level - kink, 0.0) for kink in (1.5, 3.5))
            row = 5 * i + level - 1
            W_out[row, :n_carriers], W_out[row, -2:] = slope * directions[i], -steepness
            b[row] = 1 - slope * level + bend
    return sharpened((W_in, b_in, W_out, b), n_kept)


def found(folder: Path, rare: bool) -> Answer:
    """Networks that share their neurons where features are rare, if `rare`; elsewhere the naive ones.

    No two features fire together, so what a network computes of one alone is all that counts.
    """

    def plant(experiment: str, model: ToyModel) -> None:
        for k, p in enumerate(model.sweep.values("feature_probability", 1.0)):
            made = (shared if rare and p < 0.05 else own)(model.net.n_hidden, p)  # type: ignore[arg-type]
            for name, value in zip(("W_in", "b_in", "W_out", "b"), made, strict=True):
                getattr(model.net, name)[k] = value

    study = ManyLevels()
    law = {"set_size": N_FEATURES, "probability_of": "feature"}
    levels = {"class_path": "DiscreteValues", "init_args": {"levels": [1.0, 2.0, 3.0, 4.0, 5.0]}}
    features = {"class_path": "AnticorrelatedSets", "init_args": law | {"values": levels}}
    few = OWN_ROWS | {"features": features}
    sweep = {"seed": 6, "feature_probability": [0.1, 0.02]}
    return answer(study, planted(study, folder, plant, data=few, sweep=sweep))


def test_shared_neurons_beat_the_naive_network(tmp_path: Path) -> None:
    result = found(tmp_path, rare=True)
    assert result.verdict == Outcome.SUPPORTED
    rows = result.tables["functions"].query("feature_probability < 0.05").set_index("width")
    assert {width: count / 5 for width, count in rows["functions"].items()} == SHARED


def test_the_naive_network_does_not_beat_itself(tmp_path: Path) -> None:
    result = found(tmp_path, rare=False)
    assert [claim.outcome for claim in result.claims] == [Outcome.NOT_SUPPORTED] * 4
    assert [claim.effect for claim in result.claims] == pytest.approx([1, 1, 0, 1], abs=0.05)  # of few rows
    table = result.tables["functions"]
    assert (table["functions"] == table["width"].map(naive_count)).all()
    assert (table["functions_permuted"] == 0).all()


def test_few_features_leave_nothing_to_ask() -> None:
    with pytest.raises(UserError, match="n_features is 6; allowed: 7 or more"):
        ManyLevels(n_features=6)
