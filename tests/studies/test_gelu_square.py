"""T11 on networks made by hand."""

from pathlib import Path
from typing import Any

import pytest
import torch

from sup_lightning.errors import UserError
from sup_lightning.modules import ToyModel
from sup_lightning.nn import ComputationModel
from sup_lightning.studies.study import Answer
from sup_lightning.studies.toy.gelu_square import BIAS, PRODUCT, PRODUCT_WIDE, SMOOTH, GeluSquare, input_scale
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import OWN_ROWS, answer, planted


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sup_lightning.studies.active_rows.ROWS", 8192)


def plant(experiment: str, model: ToyModel, scale: float) -> None:
    """Mirrored pairs of one feature, or of the sum and the difference of two; chords where there are biases."""
    net: Any = model.net
    net.W_in.zero_()
    net.W_out.zero_()
    each = net.n_hidden // net.n_outputs
    gelu_gain = 1 / (0.798 * scale**2) if scale < 1 else 3 / (4 * scale)
    for j in range(net.n_outputs):
        for k, neuron in enumerate(range(j * each, (j + 1) * each)):
            sign = 1.0 if k % 2 else -1.0
            if experiment in (PRODUCT, PRODUCT_WIDE):
                if k >= 4:
                    continue
                size = scale if experiment == PRODUCT else 1.0
                other = 1.0 if k < 2 else -1.0
                net.W_in[:, 2 * j, neuron], net.W_in[:, 2 * j + 1, neuron] = sign * size, sign * other * size
                net.W_out[:, j, neuron] = other * (gelu_gain if experiment == PRODUCT else 0.6) / 4
            elif experiment == BIAS:  # slopes of the chords of x² between multiples of 1/4
                net.W_in[:, j, neuron], net.b_in[:, neuron] = sign, -(k // 2) / 4
                net.W_out[:, j, neuron] = 1 / 4 if k < 2 else 1 / 2
            elif k < 2:
                size = scale if experiment == SMOOTH else 1.0
                net.W_in[:, j, neuron] = sign * size
                net.W_out[:, j, neuron] = gelu_gain if experiment == SMOOTH else 3 / 4


def found(folder: Path, scale: float) -> Answer:
    study = GeluSquare()
    sweep = {"seed": 6, "feature_probability": [1.0, 0.2]}
    return answer(study, planted(study, folder, lambda *given: plant(*given, scale), data=OWN_ROWS, sweep=sweep))


def test_small_gelus_make_parabolas(tmp_path: Path) -> None:
    result = found(tmp_path, 0.2)
    assert result.verdict == Outcome.SUPPORTED
    table = result.tables["scale"]
    assert table["input_scale"].to_numpy() == pytest.approx(0.2)
    assert table["error_when_active"].to_numpy() == pytest.approx(5e-6, rel=0.5)
    alone = result.tables["losses"].query("experiment == 't11_square_relu' and feature_probability < 1")
    assert alone["error_when_active"].to_numpy() == pytest.approx(0.0125, rel=0.05)


def test_sharp_gelus_are_relus(tmp_path: Path) -> None:
    result = found(tmp_path, 40.0)
    outcomes = [claim.outcome for claim in result.claims]
    assert outcomes == [Outcome.NOT_SUPPORTED] * 3 + [Outcome.SUPPORTED]
    assert result.verdict == Outcome.MIXED


def test_scale_counts_the_neurons_that_make_the_curve() -> None:
    study = GeluSquare()
    assert study.overrides(SMOOTH)["model"]["net"] == {"n_hidden": 12, "n_outputs": 6, "activation": "gelu"}
    net = ComputationModel(1, [0], 3)
    with torch.no_grad():
        net.W_in.copy_(torch.tensor([[[0.3, -0.3, 5.0]]]))
        net.W_out.copy_(torch.tensor([[[1.0, 1.0, 0.0]]]))
    assert input_scale(net).item() == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "relu"}, "activation is 'relu'; allowed: gelu, gelu_new, silu, softplus"),
        ({"n_features": 5}, "n_features is 5; allowed: an even number"),
    ],
)
def test_bad_options(options: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        GeluSquare(**options)
