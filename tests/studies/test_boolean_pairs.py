"""T05 on networks made by hand: naive ones, a readout that packs two ORs into a neuron, and ones that do nothing."""

from itertools import combinations
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sup_lightning.data import ConstantValue, IndependentFeatures, PairTask, SyntheticFeatures
from sup_lightning.errors import UserError
from sup_lightning.modules import ToyModel
from sup_lightning.nn import ComputationModel
from sup_lightning.studies.study import Answer
from sup_lightning.studies.toy.boolean_pairs import (
    ALL_PAIRS,
    AND,
    LINEAR,
    OR,
    RELU_OUTPUT,
    RELU_OUTPUT_LINEAR,
    XOR,
    BooleanPairs,
)
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import OWN_ROWS, answer, planted


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sup_lightning.studies.toy.pair_functions.GRID", 24)


def sums(n_neurons: int, n_features: int = 24) -> Tensor:
    """Input weights `[n_features, n_neurons]` of neurons that each read one pair."""
    return torch.eye(n_neurons, n_features // 2).repeat_interleave(2, dim=1).T


def clear(net: ComputationModel) -> None:
    for parameter in net.parameters():
        parameter.zero_()


def mean(experiment: str, p: Tensor) -> Tensor:
    """Of the function, for each p."""
    return {AND: p**2, LINEAR: p**2, ALL_PAIRS: p**2, XOR: 2 * p * (1 - p)}.get(experiment, 2 * p - p**2)


def plant_nothing(experiment: str, model: ToyModel) -> None:
    """Each output is the mean of its function."""
    net = model.net
    assert isinstance(net, ComputationModel)
    clear(net)
    net.b.copy_(mean(experiment, probabilities(model)).expand_as(net.b))


def probabilities(model: ToyModel) -> Tensor:
    return torch.tensor(model.sweep.values("feature_probability", 0.5)).unsqueeze(1)


def plant_naive(experiment: str, model: ToyModel) -> None:
    """Each neuron serves one pair; with a ReLU on the outputs, two."""
    plant_nothing(experiment, model)
    net, p = model.net, probabilities(model)
    assert isinstance(net, ComputationModel)
    assert net.b_in is not None
    if experiment in (AND, LINEAR):
        net.W_in.copy_(sums(6))
        net.W_out.copy_(torch.eye(12, 6) * (p.unsqueeze(1) if experiment == LINEAR else 1))
        net.b_in.fill_(0 if experiment == LINEAR else -1)
        net.b[:, :6] = -(p**2) if experiment == LINEAR else 0
    elif experiment == OR:
        net.W_in.copy_(-sums(6))
        net.W_out.copy_(-torch.eye(12, 6))
        net.b_in.fill_(1)
        net.b[:, :6] = 1
    elif experiment == XOR:
        plant_xor(net, p)
    elif experiment == ALL_PAIRS:
        for instance, value in enumerate(p[:, 0].tolist()):
            plant_all_pairs(net, instance, value)
    elif experiment == RELU_OUTPUT_LINEAR:  # six sums
        net.W_in.copy_(sums(6))
        net.W_out.copy_(torch.eye(12, 6))
        net.b[:, :6] = 0
    else:  # each neuron is 2 + (x + y) of one pair less that of another, and never negative for one pair at a time
        net.W_in.copy_(sums(6) - sums(12)[:, 6:])
        net.W_out.copy_(torch.cat([torch.eye(6), -torch.eye(6)]))
        net.b_in.fill_(2)
        net.b.copy_(torch.tensor([-2.0, 2.0]).repeat_interleave(6).expand_as(net.b))


def plant_xor(net: ComputationModel, p: Tensor) -> None:
    """Three pairs exactly, by two neurons each, where features are dense; else six pairs by OR."""
    assert net.b_in is not None
    for instance, value in enumerate(p[:, 0].tolist()):
        if value > 0.3:
            both, none = sums(3), -sums(3)
            net.W_in[instance] = torch.cat([both, none], dim=1)
            net.b_in[instance] = torch.tensor([-1.0, 1.0]).repeat_interleave(3)
            net.W_out[instance] = -torch.cat([torch.eye(12, 3), torch.eye(12, 3)], dim=1)
            net.b[instance, :3] = 1
        else:
            slope = 2 * (1 - value) / (2 - value)  # P(XOR) / P(OR)
            net.W_in[instance], net.b_in[instance] = -sums(6), 1
            net.W_out[instance] = -slope * torch.eye(12, 6)
            net.b[instance, :6] = slope


def plant_all_pairs(net: ComputationModel, instance: int, p: float) -> None:
    """The features and six ANDs where features are dense, else fourteen ANDs; the readout is the best."""
    assert net.b_in is not None
    pairs = list(combinations(range(8), 2))
    for neuron in range(14):
        linear = p > 0.3 and neuron < 8
        features = [neuron] if linear else list(pairs[neuron - 8 if p > 0.3 else 2 * neuron])
        net.W_in[instance, features, neuron] = 1
        net.b_in[instance, neuron] = 0 if linear else -1
    x = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 8)
    root = torch.where(x > 0, p, 1 - p).prod(dim=1, keepdim=True).sqrt()
    hidden = (x @ net.W_in[instance] + net.b_in[instance]).relu()
    y = torch.stack([x[:, i] * x[:, j] for i, j in pairs], dim=1)
    solution = torch.linalg.lstsq(root * torch.cat([hidden, torch.ones(256, 1)], dim=1), root * y).solution
    net.W_out[instance], net.b[instance] = solution[:-1].T, solution[-1]


@pytest.fixture(scope="module")
def naive(tmp_path_factory: pytest.TempPathFactory) -> Answer:
    study = BooleanPairs()
    return answer(study, planted(study, tmp_path_factory.mktemp("naive"), plant_naive, data=OWN_ROWS))


def test_naive_networks_and_a_packing_readout(naive: Answer) -> None:
    assert naive.verdict == Outcome.SUPPORTED
    effects = [claim.effect for claim in naive.claims]
    assert effects[:4] == pytest.approx([1, 1, 1, 1], abs=0.06)
    assert effects[4] == 0
    table = naive.tables["boolean_pairs"].set_index(["function", "feature_probability"])
    assert table.loc[("AND", 0.05), "bound_over_naive"] == pytest.approx(1)
    assert table.loc[("XOR", 0.5), "bound_over_naive"] == pytest.approx(6 * 0.25 / (9 * 0.25))
    assert table.loc[("AND of all pairs", 0.5), "bound_over_naive"] == pytest.approx(14 / 22, rel=0.03)
    assert table.loc[("AND", 0.05), "pairs_told_apart"] == 6


def test_the_linear_control_leaves_what_a_sum_cannot_say(naive: Answer) -> None:
    """Of dense features: 1/16 of a variance of 3/16 for the six pairs that are read, all of it for the others."""
    table = naive.tables["boolean_pairs"].set_index(["function", "feature_probability"])
    linear = table.loc[("AND, linear hidden layer", 0.5)]
    assert linear["variance_unexplained"] == pytest.approx((6 / 16 + 6 * 3 / 16) / (12 * 3 / 16), rel=1e-4)
    assert linear["pairs_computed"] == 0
    # A sum ranks (1,1) first, so the area under the curve calls it computed.
    assert table.loc[("AND, linear hidden layer", 0.05), "pairs_told_apart"] == 6


def test_networks_that_do_nothing(tmp_path: Path) -> None:
    study = BooleanPairs()
    result = answer(study, planted(study, tmp_path, plant_nothing, data=OWN_ROWS))
    assert result.verdict == Outcome.NOT_SUPPORTED
    assert result.claims[0].effect == pytest.approx(2, rel=0.01)  # twelve variances over six
    assert result.claims[4].effect == -6


@pytest.mark.parametrize("function", ["and", "or"])
def test_linear_fits_of_dense_functions_leave_a_third(function: str) -> None:
    x = torch.cartesian_prod(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0])).double()
    task = PairTask(function=function)  # type: ignore[arg-type]
    y = task(x.T)[0]
    inputs = torch.cat([x, torch.ones(4, 1, dtype=torch.float64)], dim=1)
    left = (inputs @ torch.linalg.lstsq(inputs, y.unsqueeze(1)).solution - y.unsqueeze(1)).square().mean()
    assert y.var(correction=0).item() == pytest.approx(0.1875)
    assert left.item() == pytest.approx(0.0625)


def test_a_relu_on_the_outputs_alone_computes_and() -> None:
    """So the readout has to be linear for AND to say anything of the neurons: these have no ReLU."""
    net = ComputationModel(4, [0], n_hidden=2, n_outputs=2, activation="linear", output_activation="relu")
    law = IndependentFeatures(values=ConstantValue())
    data = SyntheticFeatures(4, 0.5, features=law, task=PairTask(function="and"), val_batch_size=256)
    with torch.no_grad():
        net.W_in.copy_(sums(2, 4))
        net.W_out.copy_(torch.eye(2))
        net.b.fill_(-1)
        batch = data.batch("validation", 0, range(256), 256)
        assert torch.equal(net(batch.features), batch.targets)
    assert 0 < batch.targets.mean() < 1


def test_options() -> None:
    study = BooleanPairs(n_features=12, n_hidden=3, activation="gelu")
    of_and, of_all = study.overrides(AND), study.overrides(ALL_PAIRS)
    assert of_and["data"] == {"n_features": 12}
    assert of_and["model"]["net"] == {"activation": "gelu", "n_hidden": 3, "n_outputs": 6}
    assert of_all == {"model": {"net": {"activation": "gelu"}}}
    assert "activation" not in study.overrides(RELU_OUTPUT_LINEAR)["model"]["net"]
    assert study.overrides(RELU_OUTPUT)["model"]["net"]["activation"] == "gelu"
    with pytest.raises(UserError, match="n_features is 7; allowed: an even number"):
        BooleanPairs(n_features=7)
