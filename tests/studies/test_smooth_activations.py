"""T10 on networks made by hand, and its exact optima."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from sup_lightning.errors import UserError
from sup_lightning.experiment import untrained
from sup_lightning.modules import ToyModel
from sup_lightning.nn.optimum import antipodal_optimum
from sup_lightning.studies.runner import Settings, options_for
from sup_lightning.studies.study import Answer, Size
from sup_lightning.studies.toy.activation_optima import Pentagon, pentagon, superposition_start, two_features
from sup_lightning.studies.toy.smooth_activations import ABSOLUTE_RELU, RELU, SHARP, SOFTPLUS, SmoothActivations
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import OWN_ROWS, answer, planted


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sup_lightning.studies.active_rows.ROWS", 8192)


def plant_optima(monkeypatch: pytest.MonkeyPatch, start: float) -> None:
    """Exact optima that take no time: superposition begins at .6 with ReLU, at `start` with all others."""
    module = "sup_lightning.studies.toy.smooth_activations"
    monkeypatch.setattr(f"{module}.superposition_start", lambda name, _: (0.6 if name == "relu" else start, 1e-3))
    monkeypatch.setattr(f"{module}.pentagon", lambda *_: Pentagon(0.1, 0.2, 1.1, -0.2))


def polygon(n: int, n_features: int = 8) -> torch.Tensor:
    angle = 2 * math.pi * torch.arange(n) / n
    W = torch.zeros(n_features, 2)
    W[:n] = torch.stack([angle.cos(), angle.sin()], dim=1)
    return W


def plant(experiment: str, model: ToyModel, smooth_keeps: int, sharp_keeps: int) -> None:
    """Polygons in bottlenecks; five absolute values each in two neurons."""
    net: Any = model.net
    if experiment.startswith("t10_absolute"):
        size = 1.0 if experiment == ABSOLUTE_RELU else 30.0
        net.W_in.zero_()
        net.W_out.zero_()
        p = torch.tensor(model.sweep.values("feature_probability", 0.0))
        net.b.copy_(torch.where(torch.arange(20) < 5, 0.0, p[:, None] / 2))
        for i in range(5):
            net.W_in[:, i, 2 * i], net.W_in[:, i, 2 * i + 1] = size, -size
            net.W_out[:, i, 2 * i] = net.W_out[:, i, 2 * i + 1] = 1 / size
        return
    keeps = 6 if experiment == RELU else sharp_keeps if experiment == SHARP[16.0] else smooth_keeps
    net.W.copy_(1.1 * polygon(keeps))
    net.b.fill_(-0.25)


def found(folder: Path, smooth_keeps: int, sharp_keeps: int) -> Answer:
    study = SmoothActivations()
    plants = planted(
        study, folder, lambda *given: plant(*given, smooth_keeps, sharp_keeps), data=OWN_ROWS, sweep={"seed": 6}
    )
    return answer(study, plants)


def test_smooth_outputs_keep_fewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant_optima(monkeypatch, start=0.5)
    result = found(tmp_path, smooth_keeps=5, sharp_keeps=6)
    assert [claim.outcome for claim in result.claims] == [Outcome.SUPPORTED] * 5
    assert result.verdict == Outcome.SUPPORTED
    table = result.tables["bottleneck"].set_index("activation")
    assert set(table.loc["ReLU", "shape_of_best_seed"]) == {"hexagon"}
    assert set(table.loc["GELU", "shape_of_best_seed"]) == {"pentagon"}
    assert result.tables["neurons"]["loss_over_naive"].to_numpy() == pytest.approx(1, abs=0.2)


def test_sharp_outputs_that_are_not_relu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant_optima(monkeypatch, start=0.6)
    result = found(tmp_path, smooth_keeps=6, sharp_keeps=3)
    outcomes = [claim.outcome for claim in result.claims]
    assert outcomes[0] == outcomes[1] == outcomes[3] == Outcome.NOT_SUPPORTED
    assert result.verdict == Outcome.MIXED


@pytest.mark.parametrize(("activation", "fvu"), [("relu", 0.111), ("gelu", 0.259)])
def test_pentagons(activation: Any, fvu: float) -> None:
    shape = pentagon(activation)
    assert shape.fvu == pytest.approx(fvu, abs=1e-3)
    assert shape.fvu < shape.fvu_of_pairs


def test_sharp_pentagon_is_that_of_relu() -> None:
    relu, sharp = pentagon("relu"), pentagon("gelu", 16.0)
    assert sharp.fvu == pytest.approx(relu.fvu, rel=0.05)
    assert sharp.bias == pytest.approx(relu.bias, abs=0.02)


def test_two_features_in_one_dimension() -> None:
    p = torch.tensor([0.4, 0.2, 0.1], dtype=torch.float64)
    variance = 2 * (p / 3 - p.square() / 4)
    optima = torch.tensor([0.05099, 0.013184, 0.003320], dtype=torch.float64)  # the known losses of ReLU's optima
    torch.testing.assert_close(two_features("relu", p), optima / variance, rtol=1e-3, atol=0)
    torch.testing.assert_close(two_features("linear", p), torch.full_like(p, 0.5), rtol=1e-4, atol=0)


def test_start_of_superposition() -> None:
    relu, error = superposition_start("relu")
    assert error < 2e-3
    assert float(antipodal_optimum(torch.tensor(1.0), torch.tensor(relu)) / (2 * (relu / 3 - relu**2 / 4))) == (
        pytest.approx(0.45, abs=3e-3)
    )


def test_start_of_superposition_when_sharp() -> None:
    """GELU(βz)/β differs from ReLU within about 1/β of 0, by -1/(2β²) in all: the start moves by a multiple of 1/β².

    By .006 at β = 16 and .002 at β = 32 (at 4 and 8, which are far from the limit, by .006 and .010), so by .0005 at
    64: less than the brackets of both can tell apart.
    """
    (relu, relu_error), (sharp, sharp_error) = superposition_start("relu"), superposition_start("gelu", 64.0)
    assert relu_error + sharp_error < 0.01
    assert sharp == pytest.approx(relu, abs=relu_error + sharp_error)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "relu"}, "activation is 'relu'; allowed: gelu, silu, softplus"),
        ({"n_features": 0}, "n_features is 0; allowed: a positive integer"),
    ],
)
def test_bad_options(options: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        SmoothActivations(**options)


def test_other_options_build() -> None:
    study = SmoothActivations("silu", n_features=40)
    for experiment in study.experiments:
        net = untrained(options_for(study, experiment, Settings(Size.QUICK))).toy.net
        absolute = experiment.startswith("t10_absolute")
        assert net.n_features == (20 if absolute else 40)
        own = {RELU: "relu", ABSOLUTE_RELU: "relu", SOFTPLUS: "softplus"}
        assert net.activation == own.get(experiment, "silu")


def test_options_reach_the_models() -> None:
    study = SmoothActivations("silu", n_features=40, n_hidden=10)
    assert study.overrides(SHARP[4.0]) == {
        "model": {"net": {"activation": "silu", "n_hidden": 10}},
        "data": {"n_features": 40},
    }
    assert study.overrides(RELU)["model"]["net"] == {"n_hidden": 10}
    assert study.overrides(ABSOLUTE_RELU) == {}
