"""X02 on circles and polygons made by hand."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from sup_lightning.errors import UserError
from sup_lightning.experiment import Run
from sup_lightning.modules import ToyModel
from sup_lightning.studies.counterexamples import no_discrete_number
from sup_lightning.studies.counterexamples.no_discrete_number import RING, NoDiscreteNumber
from sup_lightning.studies.study import Answer
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import OWN_ROWS, answer, planted

FINEST = 64


def circle(n: int, n_directions: int) -> tuple[Tensor, Tensor]:
    """Directions round a circle that read a bump of half-width 1/8 well, in steps if there are fewer than inputs."""
    place = (torch.arange(n) * n_directions // n) * (2 * math.pi / n_directions)
    unit = torch.stack([place.cos(), place.sin()], dim=1)
    edge = math.cos(math.pi / 4)
    bump = (1 - torch.arange(-n, n + 1).abs() / n / 0.125).relu()
    gain = (bump * (2 * math.pi * torch.arange(-n, n + 1) / n).cos()).sum()  # length of the hidden layer for unit rows
    return unit / ((1 - edge) * gain).sqrt(), torch.full((n,), -edge / (1 - edge))


def pentagon(n: int) -> tuple[Tensor, Tensor]:
    """Five inputs of any number, far apart on the ring."""
    W, b, at = torch.zeros(n, 2), torch.zeros(n), torch.arange(5) * n // 5
    angle = 2 * math.pi * torch.arange(5) / 5
    W[at], b[at] = 1.1346 * torch.stack([angle.cos(), angle.sin()], dim=1), -0.2463
    return W, b


SHAPES = {"circle": lambda n: circle(n, n), "steps": lambda n: circle(n, min(n, 16)), "pentagon": pentagon}


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """Three resolutions and few rows, so that this takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(no_discrete_number, "RESOLUTIONS", (16, 32, FINEST))
        patch.setattr(no_discrete_number, "ROWS", 2048)
        names = tuple(name for name in NoDiscreteNumber.experiments if int(name.split("_")[-1]) <= FINEST)
        patch.setattr(NoDiscreteNumber, "experiments", names)
        yield


@pytest.fixture(scope="module")
def runs(small: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Independent inputs of which five are represented; what is on the ring is planted by each test."""

    def plant(experiment: str, model: ToyModel) -> None:
        put(model, "pentagon")

    return planted(NoDiscreteNumber(), tmp_path_factory.mktemp("runs"), plant, data=OWN_ROWS)


def put(model: ToyModel, shape: str) -> None:
    W, b = SHAPES[shape](model.net.n_features)
    model.net.W.copy_(W)
    model.net.b.copy_(b)


def found(runs: dict[str, Run], on_ring: str) -> Answer:
    with torch.no_grad():
        for name, run in runs.items():
            if name.startswith(RING):
                put(run.toy, on_ring)
    return answer(NoDiscreteNumber(), runs)


def test_a_circle_has_no_number_of_features(runs: dict[str, Run]) -> None:
    result = found(runs, "circle")
    assert [claim.outcome for claim in result.claims] == [Outcome.SUPPORTED] * 4
    represented = result.tables["counts"].set_index(["kind", "n_features"])["represented"]
    assert represented["ring"].tolist() == [16, 32, 64]
    assert represented["independent"].tolist() == [5, 5, 5]
    assert set(result.pictures) == {"directions", "counts"}


def test_five_features_are_five_however_fine_the_ring(runs: dict[str, Run]) -> None:
    result = found(runs, "pentagon")
    assert [claim.outcome for claim in result.claims[:3]] == [Outcome.NOT_SUPPORTED] * 3


def test_a_circle_in_steps_has_a_number_of_directions(runs: dict[str, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen directions, each for many inputs: inputs are represented without end, directions are not."""
    monkeypatch.setattr(no_discrete_number, "COARSEST", 0.3)  # less than the step between two directions
    result = found(runs, "steps")
    outcomes = [claim.outcome for claim in result.claims[:3]]
    assert outcomes == [Outcome.SUPPORTED, Outcome.SUPPORTED, Outcome.NOT_SUPPORTED]
    assert result.verdict == Outcome.MIXED


def test_options() -> None:
    study = NoDiscreteNumber(n_hidden=3, width=0.25)
    assert study.overrides("x02_ring_16")["data"]["features"]["init_args"] == {"width": 0.25}
    assert study.overrides("x02_independent_16")["sweep"] == {"feature_probability": [0.5, 0.25, 0.125]}
    assert NoDiscreteNumber().overrides("x02_ring_16") == {}
    with pytest.raises(UserError, match="n_hidden is 1; allowed: at least 2"):
        NoDiscreteNumber(n_hidden=1)
