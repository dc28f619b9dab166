"""M10 on networks made by hand, one of which computes 29 absolute values with 40 neurons."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sup_lightning.modules import ToyModel
from sup_lightning.studies.paper.absolute_value import SMALL, AbsoluteValue
from sup_lightning.studies.study import Answer
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import OWN_ROWS, answer, planted


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sup_lightning.studies.active_rows.ROWS", 8192)


def pairs(n_features: int, n_neurons: int) -> tuple[Tensor, Tensor]:
    """Two neurons for each of the first features: the naive network."""
    W_in, W_out = torch.zeros(2, n_features, n_neurons)
    for i in range(n_neurons // 2):
        W_in[i, 2 * i], W_in[i, 2 * i + 1] = 1.0, -1.0
        W_out[i, 2 * i] = W_out[i, 2 * i + 1] = 1.0
    return W_in, W_out


def superposed(weakness: float = 0.25) -> tuple[Tensor, Tensor]:
    """29 functions: nine pairs of neurons that read one feature, ten that read two, and two neurons that inhibit.

    The ten read one feature strongly and one weakly, which they write strongly. Whenever a strong one fires, the last
    two neurons silence the outputs of all weak ones, so that only features that fire together are lost.
    """
    W_in, W_out = pairs(100, 40)
    W_in[:, 18:], W_out[:, 18:] = 0, 0
    for k in range(9, 19):
        weak, strong = k, k + 10  # the error falls on the strong ones, so they are the less important
        for neuron, inhibitor, sign in ((2 * k, 38, 1.0), (2 * k + 1, 39, -1.0)):
            W_in[strong, neuron], W_out[strong, neuron] = sign, 1.0
            W_in[weak, neuron], W_out[weak, neuron] = sign * weakness, 1 / weakness
            W_in[strong, inhibitor], W_out[weak, inhibitor] = sign, -1 / weakness
    return W_in, W_out


def found(folder: Path, rare: tuple[Tensor, Tensor]) -> Answer:
    def plant(experiment: str, model: ToyModel) -> None:
        net = model.net
        p = torch.tensor(model.sweep.values("feature_probability", 1.0))
        naive = pairs(net.n_features, net.n_hidden)
        net.b.copy_(torch.where(torch.arange(net.n_features) >= net.n_hidden // 2, p[:, None] / 2, 0.0))
        for weights, dense, sparse in zip((net.W_in, net.W_out), naive, rare, strict=True):
            use_sparse = (p < 0.5).view(-1, 1, 1)
            weights.copy_(dense if experiment == SMALL else torch.where(use_sparse, sparse, dense))
        if experiment != SMALL and rare[0].abs().sum() > naive[0].abs().sum():
            net.b[p < 0.5] = 0

    study = AbsoluteValue()
    small = AbsoluteValue.experiments[2]
    study.experiments = (*study.experiments[:2],)  # type: ignore[misc]
    runs = planted(study, folder, plant, data=OWN_ROWS, sweep={"seed": 6, "feature_probability": [1.0, 0.001]})
    study.experiments = (small,)  # type: ignore[misc]
    runs |= planted(study, folder, plant, data=OWN_ROWS, sweep={"seed": 30})
    return answer(study, runs)


def test_superposition_beats_the_naive_network(tmp_path: Path) -> None:
    result = found(tmp_path, superposed())
    assert result.verdict == Outcome.SUPPORTED
    assert result.claims[0].effect < 0.5
    asymmetric = result.tables["absolute_value"].query("feature_probability < 0.5")["asymmetric"]
    assert (asymmetric == 20).all()


def test_the_naive_network_does_not_beat_itself(tmp_path: Path) -> None:
    result = found(tmp_path, pairs(100, 40))
    outcomes = [claim.outcome for claim in result.claims]
    assert result.claims[0].effect == pytest.approx(1, abs=0.15)
    assert outcomes[0] == outcomes[3] == outcomes[4] == Outcome.NOT_SUPPORTED
    assert outcomes[6] == Outcome.SUPPORTED
    table = result.tables["absolute_value"]
    assert table["loss_over_naive"].to_numpy() == pytest.approx(1, abs=0.15)
    assert (table["features_with_both_signs"] == 20).all()
