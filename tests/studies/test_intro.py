"""M01 on planted weights."""

import math
from pathlib import Path

import torch

from sup_lightning.modules import ToyModel
from sup_lightning.nn.exact_loss import ExactLoss
from sup_lightning.studies.exact import optimum_from
from sup_lightning.studies.paper.intro import Intro, shape_of
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import answer, planted

SMALL = {"seed": 6, "feature_probability": [1.0, 0.2, 0.1, 0.05]}
TWO = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
PAIRS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [0.0, 0.0]])
ANGLES = 2 * math.pi * torch.tensor([0, 2, 4, 1, 3]) / 5
PENTAGON = 1.1 * torch.stack([ANGLES.cos(), ANGLES.sin()], dim=1)


def optimal(experiment: str, module: ToyModel) -> None:
    """The optimum below the shape that is expected at each p."""
    for point, p in enumerate(module.sweep.axes["feature_probability"]):
        shapes = {1.0: TWO} if "uniform" in experiment else {1.0: TWO, 0.2: PAIRS}
        W = shapes.get(p, PENTAGON)
        objective = ExactLoss.independent(torch.full((1, 5), p), importance=module.importance[:1].double())
        _, W, b, _ = optimum_from(objective, W.unsqueeze(0), torch.full((1, 5), -0.1 if p < 0.2 else 0.1))
        here = slice(6 * point, 6 * point + 6)
        module.net.W[here], module.net.b[here] = W.float(), b.float()


def test_the_expected_shapes_support_it(tmp_path: Path) -> None:
    found = answer(Intro(), planted(Intro(), tmp_path, optimal, sweep=SMALL))
    assert [claim.outcome for claim in found.claims] == [Outcome.SUPPORTED] * 6
    assert found.verdict == Outcome.SUPPORTED
    assert not any(comparison.contradicted for comparison in found.comparisons)


def test_untrained_weights_do_not(tmp_path: Path) -> None:
    sparse = SMALL | {"feature_probability": [0.1, 0.05]}  # denser optima take longer to find
    found = answer(Intro(), planted(Intro(), tmp_path, lambda *_: None, sweep=sparse))
    assert found.verdict == Outcome.NOT_SUPPORTED


def test_names() -> None:
    assert shape_of(PENTAGON) == "pentagon"
    assert shape_of(PAIRS) == "2 digons, 1 left out"
    assert shape_of(TWO) == "2 singles, 3 left out"
