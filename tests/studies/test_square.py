"""T03 on networks made by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sup_lightning.errors import UserError
from sup_lightning.modules import ToyModel
from sup_lightning.studies.study import Answer
from sup_lightning.studies.toy.square import ABSOLUTE, ABSOLUTE_NO_BIAS, SQUARE, SquareNeurons
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import OWN_ROWS, answer, planted

OFF = 1e-6
POINTS = [[p] * n + [OFF] * (12 - n) for p in (0.3, 0.05) for n in (12, 6, 3, 1)]
KNOTS = {1: [0.29], 2: [0.13, 0.55], 6: [0.06, 0.2, 0.35, 0.51, 0.67, 0.84]}
"""Of the neurons of one side."""


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sup_lightning.studies.active_rows.ROWS", 8192)


def slopes(knots: list[float]) -> np.ndarray:
    """Least-squares output weights of ReLU(x - t) for x² on [0, 1]."""
    x = (np.arange(2000) + 0.5) / 2000
    return np.linalg.lstsq(np.maximum(x[:, None] - np.array(knots), 0), x**2)[0]


def plant(experiment: str, model: ToyModel, uses_all: bool) -> None:
    """Knots for squares if there are biases, and else |x| times 3/4; |x| itself for absolute values."""
    net: Any = model.net
    for point, densities in enumerate(model.sweep.axes["feature_probability"]):
        instances = slice(point * model.sweep.n_seeds, (point + 1) * model.sweep.n_seeds)
        n_functions = sum(p > OFF for p in densities)
        a_side = 12 // n_functions // 2
        for parameter in net.parameters():
            parameter[instances] = 0
        knots, out = [0.0], np.array([1.0 if experiment in (ABSOLUTE, ABSOLUTE_NO_BIAS) else 0.75])
        if experiment == SQUARE and uses_all and a_side:
            knots, out = KNOTS[a_side], slopes(KNOTS[a_side])
        for j in range(n_functions if a_side else 6):
            for k, (knot, weight) in enumerate(zip(knots, out, strict=True)):
                for side, sign in enumerate((1.0, -1.0)):
                    neuron = (12 // (n_functions if a_side else 6)) * j + 2 * k + side
                    net.W_in[instances, j, neuron], net.W_out[instances, j, neuron] = sign, float(weight)
                    if net.b_in is not None:
                        net.b_in[instances, neuron] = -knot


def found(folder: Path, uses_all: bool) -> Answer:
    study = SquareNeurons()
    sweep = {"seed": 6, "feature_probability": POINTS}
    return answer(study, planted(study, folder, lambda *given: plant(*given, uses_all), data=OWN_ROWS, sweep=sweep))


def test_neurons_that_share_a_square(tmp_path: Path) -> None:
    result = found(tmp_path, uses_all=True)
    assert result.verdict == Outcome.SUPPORTED
    table = result.tables["errors"].query("experiment == 't03_square_bias' and neurons_per_function >= 2")
    assert table["loss_over_naive"].to_numpy() == pytest.approx(1.1, abs=0.15)
    bare = result.tables["errors"].query("experiment == 't03_square_no-bias' and neurons_per_function >= 2")
    assert bare["error_when_active"].to_numpy() == pytest.approx(0.0125, rel=0.05)
    twelve = result.tables["errors"].query("neurons_per_function == 1 and experiment == 't03_absolute_bias'")
    assert twelve["error_when_active"].to_numpy() == pytest.approx(1 / 6, rel=0.05)  # six of twelve are left out


def test_neurons_that_do_the_same_do_not_share(tmp_path: Path) -> None:
    result = found(tmp_path, uses_all=False)
    outcomes = [claim.outcome for claim in result.claims]
    assert outcomes == [Outcome.NOT_SUPPORTED] * 2 + [Outcome.SUPPORTED] * 2
    assert result.verdict == Outcome.MIXED


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "tanh"}, "activation is 'tanh'; allowed: relu"),
        ({"n_hidden": 6}, "n_hidden is 6; allowed: at least 8"),
        ({"init": "zeros"}, "init is 'zeros'; allowed: he, xavier, transpose"),
    ],
)
def test_bad_options(options: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        SquareNeurons(**options)
