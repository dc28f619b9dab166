"""T06 on networks made by hand: exact maxima and the best unshared neurons, and networks that only add."""

from functools import cache
from pathlib import Path

import pytest
import torch

from sup_lightning.data import PairTask
from sup_lightning.errors import UserError
from sup_lightning.functional.pairs import OneNeuron, best_neuron, pair_inputs
from sup_lightning.modules import ToyModel
from sup_lightning.nn import ComputationModel
from sup_lightning.studies.toy.pair_maximum import ALONE, LINEAR, LINEAR_TOGETHER, TOGETHER, PairMaximum
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import OWN_ROWS, answer, planted


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sup_lightning.studies.toy.pair_functions.GRID", 24)
    monkeypatch.setattr("sup_lightning.studies.toy.pair_maximum.GRID", 24)
    monkeypatch.setattr("sup_lightning.studies.toy.pair_functions.COARSE", 16)


@cache
def best_of_law(together: bool, p: float) -> OneNeuron:
    """The best neuron for a pair, from a grid of values."""
    inputs = pair_inputs(torch.cartesian_prod(*[(torch.arange(32) + 0.5) / 32] * 2))
    states = torch.tensor([1 - p, 0, 0, p] if together else [(1 - p) ** 2, p * (1 - p), p * (1 - p), p**2])
    weight = states.repeat_interleave(inputs.shape[1]) / inputs.shape[1]
    return best_neuron(inputs.flatten(0, 1), inputs.amax(dim=2).flatten(), weight)


def mean_of(together: bool, p: float) -> float:
    return p * 2 / 3 if together else p**2 * 2 / 3 + 2 * p * (1 - p) / 2


def plant_neurons(experiment: str, model: ToyModel, n_pairs: int = 10) -> None:
    """The best neuron for each of the first pairs, means for the others; sums if the hidden layer is linear."""
    net, together = model.net, "together" in experiment
    assert isinstance(net, ComputationModel)
    assert net.b_in is not None
    for parameter in net.parameters():
        parameter.zero_()
    for instance, p in enumerate(model.sweep.values("feature_probability", 1.0)):
        neuron = best_of_law(together, p)
        u, t, a, c = neuron.direction, neuron.threshold, neuron.slope, neuron.constant
        if net.activation == "linear":  # of dense features max is 1/6 + (x + y) / 2 + what a sum cannot say
            u, t, a, c = torch.ones(2), torch.tensor(0.0), torch.tensor(0.5), torch.tensor(1 / 6)
        net.b[instance] = mean_of(together, p)
        for pair in range(n_pairs):
            net.W_in[instance, 2 * pair : 2 * pair + 2, pair] = u.float()
            net.b_in[instance, pair] = -t
            net.W_out[instance, pair, pair] = a
            net.b[instance, pair] = c


def plant_maxima(experiment: str, model: ToyModel) -> None:
    """y + ReLU(x - y) with two neurons or more to a pair, the best neuron with fewer."""
    plant_neurons(experiment, model)
    net = model.net
    assert isinstance(net, ComputationModel)
    if net.n_hidden < 20 or "linear" in experiment:
        return
    for parameter in net.parameters():
        parameter.zero_()
    for pair in range(10):
        x, y = 2 * pair, 2 * pair + 1
        net.W_in[:, y, x] = net.W_in[:, x, y] = 1
        net.W_in[:, y, y] = -1
        net.W_out[:, pair, [x, y]] = 1


def test_exact_maxima(tmp_path: Path) -> None:
    study = PairMaximum()
    result = answer(study, planted(study, tmp_path, plant_maxima, data=OWN_ROWS))
    assert result.verdict == Outcome.SUPPORTED
    assert result.claims[0].effect == pytest.approx(0, abs=1e-9)
    assert result.claims[2].effect == pytest.approx(1, abs=0.02)
    table = (
        result.tables["pair_maximum"]
        .set_index(["features", "hidden", "neurons_per_pair", "feature_probability"])
        .sort_index()
    )
    together = table.loc[("pairs on together", "linear", 2.0)]
    assert together.loc[1.0, "both_on_unexplained"] == pytest.approx(0.25, rel=3e-3)  # 1/72 of 1/18
    assert table.loc[("pairs on together", "neurons", 1.0, 1.0), "bound_over_naive"] == 0


def test_few_neurons_at_work(tmp_path: Path) -> None:
    """One neuron for each of three pairs, and nothing for the others."""

    def plant(experiment: str, model: ToyModel) -> None:
        plant_neurons(experiment, model, n_pairs=3)

    study = PairMaximum()
    result = answer(study, planted(study, tmp_path, plant, data=OWN_ROWS))
    assert result.verdict == Outcome.NOT_SUPPORTED


def test_a_sum_leaves_a_quarter_of_the_maximum() -> None:
    """Of two uniform features: 1/72 of 1/18, by regression on a fine grid."""
    grid = (torch.arange(400, dtype=torch.float64) + 0.5) / 400
    x = torch.cartesian_prod(grid, grid)
    y = PairTask(function="max")(x.T)[0]
    inputs = torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], dim=1)
    left = (inputs @ torch.linalg.lstsq(inputs, y.unsqueeze(1)).solution - y.unsqueeze(1)).square().mean()
    assert y.var(correction=0).item() == pytest.approx(1 / 18, rel=1e-4)
    assert left.item() == pytest.approx(1 / 72, rel=1e-4)
    solution = torch.linalg.lstsq(inputs, y.unsqueeze(1)).solution[:, 0]
    assert solution.tolist() == pytest.approx([0.5, 0.5, 1 / 6], rel=1e-4)


def test_two_neurons_compute_a_maximum_in_every_state() -> None:
    inputs = pair_inputs(torch.rand(100, 2, generator=torch.Generator().manual_seed(0)))
    x, y = inputs.unbind(dim=-1)
    torch.testing.assert_close(y.relu() + (x - y).relu(), torch.maximum(x, y))


def test_options() -> None:
    study = PairMaximum(n_features=8, activation="gelu")
    assert study.overrides(ALONE[1])["model"]["net"] == {"n_hidden": 4, "n_outputs": 4, "activation": "gelu"}
    assert study.overrides(TOGETHER[3])["model"]["net"]["n_hidden"] == 12
    assert study.overrides(LINEAR)["model"]["net"] == {"n_hidden": 8, "n_outputs": 4}
    assert study.overrides(LINEAR_TOGETHER)["data"] == {"n_features": 8}
    with pytest.raises(UserError, match="n_features is 9; allowed: an even number"):
        PairMaximum(n_features=9)
