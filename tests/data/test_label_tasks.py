"""Labels: their chances, their draws, and that drawing them changes nothing else."""

import pytest
import torch

from sup_lightning.data import IndependentFeatures, SampledLabel, SignedValues, SoftLabel, SyntheticFeatures
from sup_lightning.functional.keyed_random import keyed_uniform


def test_soft_labels() -> None:
    x = torch.tensor([[0.5, 0.0, 0.0], [0.25, 0.0, 0.3], [-0.25, 0.0, 0.0]])  # [n_features, batch]
    expected = torch.tensor([[0.5, 0.0, 0.0], [0.25, 0.0, 1.0], [0.25, 0.0, 0.0], [0.0, 1.0, 0.0]])
    torch.testing.assert_close(SoftLabel()(x), expected)
    assert SoftLabel().n_outputs(3) == 4


def test_sampled_labels_have_the_soft_ones_as_their_mean() -> None:
    task, n = SampledLabel(), 200_000
    x = torch.tensor([0.1, 0.0, 0.6, 0.3]).unsqueeze(1).expand(4, n)
    y = task.sample(x, keyed_uniform("u", [0], 0, (1, n))[0])
    assert (y.sum(dim=0) == 1).all()
    assert set(y.unique().tolist()) == {0.0, 1.0}
    chance = task(x)[:, 0]
    torch.testing.assert_close(y.mean(dim=1), chance, rtol=0, atol=4 * 0.5 / n**0.5)
    assert y[1].sum() == y[4].sum() == 0  # what has no chance is never drawn


def test_the_last_draw_falls_on_something_that_fires() -> None:
    x = torch.rand(7, 1000, generator=torch.Generator().manual_seed(0))
    x[4:] = 0.0
    y = SampledLabel().sample(x, torch.full((1, 1000), 1 - 2**-24))
    assert (y.argmax(dim=0) == 3).all()
    assert (SampledLabel().sample(torch.zeros(7, 3), torch.tensor([[0.0, 0.5, 1 - 2**-24]])).argmax(dim=0) == 7).all()


def test_drawing_labels_leaves_the_features_alone_and_belongs_to_seed_step_and_row() -> None:
    sweep = {"seed": 2, "feature_probability": [0.2, 0.5]}
    soft, sampled = (SyntheticFeatures(4, task=task, sweep=sweep) for task in (SoftLabel(), SampledLabel()))
    whole = sampled.batch("features", 3, range(64), 64)
    assert torch.equal(whole.features, soft.batch("features", 3, range(64), 64).features)
    part = sampled.batch("features", 3, range(16, 48), 64)
    assert torch.equal(part.targets, whole.targets[:, 16:48])
    alone = SyntheticFeatures(4, 0.5, task=SampledLabel(), sweep={"seed": [1]})
    assert torch.equal(alone.batch("features", 3, range(64), 64).targets[0], whole.targets[3])
    assert not torch.equal(sampled.batch("features", 4, range(64), 64).targets, whole.targets)
    assert not torch.equal(whole.targets[0], whole.targets[1])


def test_the_mean_of_sampled_targets_over_steps_is_the_soft_target() -> None:
    data = SyntheticFeatures(3, 0.6, task=SampledLabel())
    batches = [data.batch("features", step, range(2000), 2000) for step in range(40)]
    drawn = torch.cat([each.targets[0] for each in batches]).mean(dim=0)
    soft = torch.cat([data.task(each.features.mT).mT[0] for each in batches]).mean(dim=0)
    torch.testing.assert_close(drawn, soft, rtol=0, atol=4 * 0.5 / 80_000**0.5)


def test_validation_rows_are_the_same_for_all_instances() -> None:
    data = SyntheticFeatures(3, task=SampledLabel(), features=IndependentFeatures(SignedValues()), sweep={"seed": 3})
    batch = data.batch("validation", 0, range(50), 50)
    assert batch.targets.shape == (3, 50, 4)
    assert torch.equal(batch.targets[0], batch.targets[2])
    assert batch.targets.sum(dim=-1).unique().item() == pytest.approx(1)
