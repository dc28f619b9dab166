"""T16 with readers for which the truth is known: the posterior mean itself, and the ReLU readout again."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sup_lightning.data import CoactiveSets, FeatureDistribution, IndependentFeatures
from sup_lightning.errors import UserError
from sup_lightning.functional.posterior import code_posterior
from sup_lightning.modules import ToyModel
from sup_lightning.nn.decoders import DecoderModel, Reader
from sup_lightning.studies.study import Answer
from sup_lightning.studies.toy import simultaneous_interference
from sup_lightning.studies.toy.simultaneous_interference import ORTHOGONAL, OWN, SimultaneousInterference
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import OWN_ROWS, answer, planted

P = 0.2
OPPOSITE = [0, 3, 1, 4, 2, 5]
"""Corners of a hexagon: the features of a pair cancel each other."""
ADJACENT = [0, 1, 2, 3, 4, 5]
"""Neighbours: each pair has a sector of the plane to itself."""

TOGETHER = dict(zip((*simultaneous_interference.TOGETHER, OWN), (0.1, 0.5, 0.9, 0.9), strict=True))
LAWS: dict[str, FeatureDistribution] = {name: CoactiveSets(2, together) for name, together in TOGETHER.items()}
LAWS[simultaneous_interference.INDEPENDENT] = IndependentFeatures()


class Oracle(Reader):
    """The best that can be made of the code."""

    def __init__(self, supports: Tensor, probability: Tensor) -> None:
        super().__init__()
        self.supports, self.probability = supports, probability

    def forward(self, code: Tensor, W: Tensor) -> Tensor:
        parts = zip(code, W, strict=True)
        return torch.stack([code_posterior(h, w, self.supports, self.probability, 0.003, 6).mean for h, w in parts])


def hexagon(corners: list[int]) -> Tensor:
    angle = torch.tensor(corners) * math.pi / 3
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def found(folder: Path, monkeypatch: pytest.MonkeyPatch, oracle: bool) -> Answer:
    monkeypatch.setattr(simultaneous_interference, "ROWS", 64)
    monkeypatch.setattr(simultaneous_interference, "MOST_DRAWN", 2**16)
    monkeypatch.setattr(simultaneous_interference, "DRAWN", 2**14)

    def plant(experiment: str, model: ToyModel) -> None:
        net = model.net
        assert isinstance(net, DecoderModel)
        if experiment == ORTHOGONAL:
            net.W.copy_(torch.eye(6))
            return
        net.W.copy_(hexagon(OPPOSITE))
        net.readers["relu"].b.fill_(-0.1)
        for own in net.W_own.values():
            own.copy_(hexagon(ADJACENT if oracle else OPPOSITE))
        law = LAWS[experiment].supports(6, torch.full((6,), P).double())
        for name in net.readers:
            if name != "relu":
                net.readers[name] = Oracle(*law) if oracle else net.readers["relu"]

    study = SimultaneousInterference()
    runs = planted(study, folder, plant, data=OWN_ROWS, sweep={"seed": 6, "feature_probability": [P]})
    return answer(study, runs)


def test_readers_that_know_all_there_is_to_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = found(tmp_path, monkeypatch, oracle=True)
    assert result.verdict == Outcome.SUPPORTED
    assert [claim.effect for claim in result.claims[1:3]] == pytest.approx([1.0, 1.0], abs=1e-3)
    table = result.tables["losses"]
    best = table[table["reader"] == "posterior mean"]["loss"].to_numpy()
    assert (best <= table[table["reader"] == "MAP"]["loss"].to_numpy() + 1e-9).all()
    assert len(result.pictures) == 2


def test_readers_that_are_the_relu_readout_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = found(tmp_path, monkeypatch, oracle=False)
    outcomes = [claim.outcome for claim in result.claims]
    assert outcomes[1:4] == [Outcome.NOT_SUPPORTED] * 3
    assert result.verdict == Outcome.MIXED


def test_options() -> None:
    study = SimultaneousInterference(n_hidden=3, n_steps=4)
    assert study.overrides(OWN) == {"model": {"net": {"n_hidden": 3, "n_steps": 4}}}
    assert study.overrides(ORTHOGONAL) == {"model": {"net": {"n_steps": 4}}}
    with pytest.raises(UserError, match="n_hidden is 6; allowed: less than the 6 features"):
        SimultaneousInterference(n_hidden=6)
