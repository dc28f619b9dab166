"""X01 on codes made by hand: a stretch of the line for each feature, and a direction for each."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sup_lightning.errors import UserError
from sup_lightning.modules import ToyModel
from sup_lightning.nn.autoencoder import NarrowAutoencoder
from sup_lightning.studies.counterexamples import nonlinear_representation
from sup_lightning.studies.counterexamples.nonlinear_representation import DEEP, NonlinearRepresentation
from sup_lightning.studies.study import Answer
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import OWN_ROWS, answer, planted


class Stretches(nn.Module):
    """Feature i alone, with value x, is the code i + .25 + .5 x; nothing is 0, and of several the largest counts."""

    def __init__(self, like: NarrowAutoencoder) -> None:
        super().__init__()
        self.sizes, self.weights = like.encoder.sizes, like.encoder.weights

    def forward(self, x: Tensor) -> Tensor:
        value, which = x.max(dim=-1, keepdim=True)
        return torch.where(value > 0, which + 0.25 + 0.5 * value, 0.0)


class Unpack(nn.Module):
    """Which stretch, and how far along."""

    def forward(self, code: Tensor) -> Tensor:
        value = ((code - code.floor() - 0.25) * 2).clamp(0, 1)
        return torch.where(code.floor() == torch.arange(4), value, 0.0)


class Head(nn.Module):
    """How far along, whichever the stretch; in between it holds nothing but the code and that."""

    def layers(self, code: Tensor) -> list[Tensor]:
        value = ((code - code.floor() - 0.25) * 2).clamp(0, 1)
        return [torch.cat([code, value], dim=-1), value]

    def forward(self, code: Tensor) -> Tensor:
        return self.layers(code)[-1]


def found(folder: Path, monkeypatch: pytest.MonkeyPatch, packed: bool) -> Answer:
    monkeypatch.setattr(nonlinear_representation, "ROWS", 2048)

    def plant(experiment: str, model: ToyModel) -> None:
        net = model.net
        assert isinstance(net, NarrowAutoencoder)
        if experiment == DEEP and packed:
            net.encoder, net.decoder, net.head = Stretches(net), Unpack(), Head()
        elif experiment == DEEP:  # what the linear encoder has
            linear = NarrowAutoencoder(4, net.seeds, encoder_layers=1, n_head_outputs=1)
            net.encoder, net.decoder, net.head = linear.encoder, linear.decoder, linear.head

    study = NonlinearRepresentation()
    return answer(study, planted(study, folder, plant, data=OWN_ROWS))


def test_a_stretch_of_the_line_for_each_feature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = found(tmp_path, monkeypatch, packed=True)
    assert [claim.outcome for claim in result.claims] == [Outcome.SUPPORTED] * 6
    assert set(result.pictures) == {"paths", "probes"}


def test_a_direction_for_each_feature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = found(tmp_path, monkeypatch, packed=False)
    outcomes = [claim.outcome for claim in result.claims]
    assert outcomes[1:4] == [Outcome.NOT_SUPPORTED] * 3  # straight, no better than linear, nothing computed
    assert result.verdict != Outcome.SUPPORTED


def test_options() -> None:
    assert NonlinearRepresentation(width=8).overrides(DEEP) == {"model": {"net": {"width": 8}}}
    with pytest.raises(UserError, match="head_width is 4; allowed: less than the four features"):
        NonlinearRepresentation(head_width=4)
