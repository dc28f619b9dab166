"""One-hot targets of discrete levels, against a plain loop and the law of the features."""

import pytest
import torch

from sup_lightning.data import DiscreteValues, IndependentFeatures, LevelOneHot, SyntheticFeatures
from sup_lightning.errors import UserError


def test_one_hot_is_that_of_a_loop() -> None:
    levels = [2.0, -1.0, 0.5]
    features = torch.tensor([[0.0, 2.0, -1.0, 0.5], [0.5, 0.0, 0.0, 2.0]])  # [n_features, batch]
    target = LevelOneHot(levels)(features)
    for feature in range(2):
        for place, level in enumerate(levels):
            for row in range(4):
                expected = float(features[feature, row] == level)
                assert target[feature * 3 + place, row] == expected
    assert target.shape == (LevelOneHot(levels).n_outputs(2), 4)


def test_every_level_of_the_law_is_met_as_often() -> None:
    law = IndependentFeatures(DiscreteValues([1.0, 2.0, 3.0, 4.0, 5.0]))
    sweep = {"seed": 2, "feature_probability": [0.5, 0.1]}
    data = SyntheticFeatures(4, features=law, task=LevelOneHot(), sweep=sweep)
    assert data.n_outputs == 20
    batch = data.batch("features", 0, range(20_000), 20_000)
    assert batch.targets.shape == (4, 20_000, 20)
    expected = data.feature_probability.repeat_interleave(5, dim=1) / 5
    torch.testing.assert_close(batch.targets.mean(1), expected, atol=0.01, rtol=0)
    fires = (batch.features != 0).float()
    assert torch.equal(batch.targets.unflatten(2, (4, 5)).sum(-1), fires)


@pytest.mark.parametrize("levels", [[], [1.0, 1.0], [0.0, 1.0]])
def test_bad_levels(levels: list[float]) -> None:
    with pytest.raises(UserError, match="levels is"):
        LevelOneHot(levels)
