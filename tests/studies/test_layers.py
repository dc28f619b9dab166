"""T14 on networks made by hand that compute some of the outputs exactly, and on networks that compute nothing."""

import math
from functools import partial
from pathlib import Path

import pytest
import torch

from sup_lightning.data import Composed, PairTask
from sup_lightning.errors import UserError
from sup_lightning.functional.intermediates import binary_rows
from sup_lightning.modules import ToyModel
from sup_lightning.nn import DeepComputationModel
from sup_lightning.studies.study import Answer
from sup_lightning.studies.toy import layers
from sup_lightning.studies.toy.layers import (
    BCE,
    SHALLOW,
    THREE,
    TWO,
    SeveralLayers,
    few_neurons,
    naive_loss_of,
    naive_neurons,
    pairs_of_blocks,
)
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import OWN_ROWS, answer, planted

STEEP = 40.0


def zero(net: DeepComputationModel) -> None:
    for parameter in net.parameters():
        parameter.zero_()


def compute_exactly(net: DeepComputationModel, n_exact: int) -> None:
    """The naive network: the first outputs exactly, 0 for the others."""
    zero(net)
    for j in range(n_exact):
        a, b, c, d = range(4 * j, 4 * j + 4)
        if net.n_layers == 1:
            first, second, both = range(3 * j, 3 * j + 3)
            net.W_in[0][:, [a, b], first] = net.W_in[0][:, [c, d], second] = 1.0
            net.W_in[0][:, [a, b, c, d], both] = 1.0
            net.b_in[0][:, [first, second]], net.b_in[0][:, both] = -1.0, -3.0
            net.W[:, [first, second], j], net.W[:, both, j] = 1.0, -2.0
            continue
        first, second = 2 * j, 2 * j + 1
        net.W_in[0][:, [a, b], first] = net.W_in[0][:, [c, d], second] = 1.0
        net.b_in[0][:, [first, second]] = -1.0
        net.W_in[1][:, first, first] = net.W_in[1][:, second, first] = 1.0
        net.W_in[1][:, first, second] = net.W_in[1][:, second, second] = 1.0
        net.b_in[1][:, second] = -1.0
        last = net.W_in[2] if net.n_layers == 3 else net.W
        place = first if net.n_layers == 3 else j
        last[:, first, place], last[:, second, place] = 1.0, -2.0
        if net.n_layers == 3:
            net.W[:, first, j] = 1.0


@pytest.mark.parametrize(("n_layers", "n_hidden"), [(1, 6), (1, 8), (2, 4), (3, 4)])
def test_the_naive_networks_are_exact(n_layers: int, n_hidden: int) -> None:
    net = DeepComputationModel(8, [0, 1], n_hidden, n_layers, n_outputs=2)
    n_neurons, n_exact = naive_neurons(net)
    assert n_neurons // n_exact == 2
    with torch.no_grad():
        compute_exactly(net, 2)
    rows, _ = binary_rows(8, 0.5)
    targets = Composed(PairTask("and"), PairTask("xor"))(rows.T).T
    torch.testing.assert_close(net(rows.expand(2, -1, -1)), targets.expand(2, -1, -1))


@pytest.mark.parametrize("p", [0.2, 0.35])
def test_two_neurons_for_an_output_of_one_layer(p: float) -> None:
    """They do at least as well as the two ANDs themselves, of which the best readout leaves 4 r² (1 - r)²."""
    r = p * p
    both = 4 * (r * (1 - r)) ** 2
    assert both / 4 < few_neurons(p, 2, reads_features=False) < 0.8 * both
    assert few_neurons(p, 2, reads_features=True) <= few_neurons(p, 2, reads_features=False)
    assert few_neurons(p, 1, reads_features=False) < r * (1 - r)  # what is left if one AND is known
    model = ToyModel(8, partial(DeepComputationModel, n_hidden=4, n_layers=1, n_outputs=2))
    assert naive_loss_of(model, p) == pytest.approx(2 * few_neurons(p, 2, reads_features=False))


@pytest.mark.parametrize("p", [0.2, 0.35, 0.5])
def test_four_neurons_of_two_layers_compute_two_outputs(p: float) -> None:
    q = 2 * p**2 * (1 - p**2)
    model = ToyModel(16, partial(DeepComputationModel, n_hidden=4, n_layers=2, n_outputs=4))
    assert naive_loss_of(model, p) == pytest.approx(2 * q * (1 - q))


def test_pairs_of_an_output() -> None:
    true, other, output = pairs_of_blocks(8)
    assert true.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert other.tolist() == [[0, 2], [0, 3], [1, 2], [1, 3], [4, 6], [4, 7], [5, 6], [5, 7]]
    assert output.tolist() == [0, 0, 1, 1] + [0] * 4 + [1] * 4


def found(folder: Path, n_exact: dict[str, int]) -> Answer:
    """Networks that compute so many of two outputs exactly, and of the others the mean."""

    def plant(experiment: str, model: ToyModel) -> None:
        net, k = model.net, n_exact.get(experiment, 0)
        compute_exactly(net, k)  # type: ignore[arg-type]
        for place, p in enumerate(model.sweep.values("feature_probability", 1.0)):
            q = 2 * p**2 * (1 - p**2)
            net.b[place, k:] = math.log(q / (1 - q)) if experiment == BCE else q
        if experiment == BCE:
            net.W.mul_(STEEP)  # type: ignore[operator]
            net.b[:, :k] = -STEEP / 2

    study = SeveralLayers(n_features=8, n_hidden=2)
    return answer(study, planted(study, folder, plant, data=OWN_ROWS))


def test_networks_that_compute_more_than_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the naive network could compute nothing: what one output computed exactly is worth is then known."""
    monkeypatch.setattr(layers, "naive_neurons", lambda net: (0, 2))
    result = found(tmp_path, {TWO: 1, THREE: 1, BCE: 1})
    assert result.verdict == Outcome.SUPPORTED
    # An AND itself is read from its neuron; of its part beyond the features, p² (1 - p)² / (p² (1 - p²)), least at 1/2.
    assert [claim.effect for claim in result.claims] == pytest.approx([0.5] * 4 + [0.5 / 3, 0.5], abs=1e-3)


def test_the_naive_network_does_not_beat_itself(tmp_path: Path) -> None:
    result = found(tmp_path, {TWO: 1, THREE: 1, BCE: 1, SHALLOW: 1})
    outcomes = [claim.outcome for claim in result.claims]
    assert outcomes == [Outcome.NOT_SUPPORTED] * 4 + [Outcome.SUPPORTED] * 2
    assert [round(claim.effect, 3) for claim in result.claims[:4]] == [1.0] * 4


def test_networks_that_compute_nothing(tmp_path: Path) -> None:
    result = found(tmp_path, {})
    assert result.verdict == Outcome.NOT_SUPPORTED
    assert [round(claim.effect, 3) for claim in result.claims] == [2, 2, 2, 1, 0, 0]


@pytest.mark.parametrize(("options", "message"), [((10, 4), "n_features is 10"), ((16, 5), "n_hidden is 5")])
def test_bad_options(options: tuple[int, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SeveralLayers(*options)
