"""T12 on directions made by hand."""

import math
from pathlib import Path

import pandas as pd
import pytest
import torch

from sup_lightning.callbacks.superposition import TABLE
from sup_lightning.data import SoftLabel, SyntheticFeatures
from sup_lightning.modules import ToyModel
from sup_lightning.nn import ClassifierModel
from sup_lightning.studies.study import Answer
from sup_lightning.studies.toy import classification
from sup_lightning.studies.toy.classification import (
    ONE,
    SQUARED,
    Classification,
    accuracy_given_active,
    answers_of,
    excess_nats,
    excess_of,
)
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import OWN_ROWS, answer, planted


def circle(n: int, places: int) -> torch.Tensor:
    """Directions of n features at so many equally spaced places of a circle, `[n, 2]`."""
    angle = 2 * torch.pi * (torch.arange(n) % places) / places
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def found(folder: Path, monkeypatch: pytest.MonkeyPatch, places: int, grows: bool) -> Answer:
    """The answer if ten features have so many directions of length 8 (that of the config where it is fixed)."""
    monkeypatch.setattr(classification, "N_ROWS", 1024)

    def plant(experiment: str, model: ToyModel) -> None:
        if experiment == SQUARED:
            model.net.W.copy_(torch.cat([circle(5, 5), torch.zeros(5, 2)]))
            model.net.b.fill_(-0.2)
            return
        assert isinstance(model.net, ClassifierModel)
        W = 8 * circle(10, places)
        model.net.W.copy_(W)
        if model.net.W_out is not None:
            model.net.W_out.copy_(W)
        model.net.b[:, -1] = 2.0

    study = Classification()
    runs = planted(study, folder, plant, data=OWN_ROWS, sweep={"seed": 8})
    for name, run in runs.items():  # as if there had been an epoch before
        assert run.directory is not None
        table = pd.read_csv(run.directory / TABLE)
        shorter = 0.5 if grows and name == ONE else 1.0
        before = table.assign(step=0, feature_norm=table["feature_norm"] * shorter)
        pd.concat([before, table]).to_csv(run.directory / TABLE, index=False)
    return answer(study, runs)


def test_ten_directions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = found(tmp_path, monkeypatch, places=10, grows=True)
    outcomes = [claim.outcome for claim in result.claims]
    assert outcomes[0] == outcomes[2] == outcomes[3] == outcomes[4] == Outcome.SUPPORTED
    assert result.claims[2].effect == 0  # the same weights
    assert result.claims[3].effect == pytest.approx(1, abs=1e-5)  # a decagon is a tight frame
    assert result.claims[4].effect == pytest.approx(2, rel=1e-5)


def test_two_features_to_a_direction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = found(tmp_path, monkeypatch, places=5, grows=False)
    outcomes = [claim.outcome for claim in result.claims]
    assert outcomes[0] == Outcome.NOT_SUPPORTED  # one of the two is never named
    assert outcomes[4] == Outcome.NOT_SUPPORTED
    assert result.claims[0].effect < 0.6


def test_excess_nats() -> None:
    chance = torch.tensor([[0.5, 0.0], [0.25, 0.0], [0.25, 1.0]])
    logits = torch.tensor([[0.3, -1.0], [0.1, 2.0], [-0.4, 0.0]])
    cross_entropy = -(chance * logits.log_softmax(dim=0)).sum(dim=0)
    entropy = torch.tensor([1.5 * math.log(2), 0.0])
    torch.testing.assert_close(excess_nats(logits, chance), cross_entropy - entropy)
    assert excess_nats(chance.clamp_min(1e-30).log(), chance).abs().max() < 1e-5


def test_the_excess_is_that_of_plain_samples() -> None:
    net = ClassifierModel(5, [0, 1], n_hidden=2)
    data, p = SyntheticFeatures(5, 0.3), torch.full((5,), 0.3)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(100_000, 5, generator=generator) * (torch.rand(100_000, 5, generator=generator) < 0.3)
    rows = excess_nats(net(x.expand(2, -1, -1)).mT, SoftLabel()(x.T)).detach()
    error = rows.std(dim=1) / len(x) ** 0.5 * 2**0.5 * 2  # fewer rows on the other side
    assert ((excess_of(answers_of(net, slice(None)), p, data) - rows.mean(dim=1)).abs() < 4 * error).all()


def test_accuracy_of_a_perfect_and_of_a_blind_answer() -> None:
    perfect = accuracy_given_active(lambda x: torch.cat([x, 0 * x[:1]]).unsqueeze(0), 6, 2)
    blind = accuracy_given_active(lambda x: torch.eye(7)[0].view(1, 7, 1).expand(1, 7, x.shape[1]), 6, 1)
    assert perfect.item() == 1
    assert blind.item() == pytest.approx(1 / 6, abs=4 * (5 / 36 / 4096) ** 0.5)


def test_certain_labels_cost_nothing_on_a_long_circle() -> None:
    """On a circle every feature can be told from all others: the loss of certain labels goes to 0 with the length."""
    x = torch.linspace(0.05, 1, 400)
    losses = []
    for length in (4.0, 16.0, 64.0):
        W = length * circle(10, 10)
        logits = torch.outer(W @ W[0], x)
        losses.append(float(-logits.log_softmax(dim=0)[0].mean()))
    assert losses[0] > 3 * losses[1] > 9 * losses[2]
    assert losses[2] < 1e-3
