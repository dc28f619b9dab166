"""Objectives against PyTorch's own losses, and as options of a run."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from sup_lightning.errors import UserError
from sup_lightning.functional.reconstruction import weighted_squared_error
from sup_lightning.nn import BinaryCrossEntropy, CrossEntropy, Objective, PowerError, SquaredError
from tests.helpers import toy_data, toy_model, toy_trainer

OUTPUT, IMPORTANCE = torch.randn(3, 7, 4), torch.rand(3, 4)


def test_squared_error_is_the_papers_loss() -> None:
    target = torch.rand(3, 7, 4)
    rows = SquaredError().row_losses(OUTPUT, target, IMPORTANCE)
    torch.testing.assert_close(rows.mean(dim=-1), weighted_squared_error(OUTPUT, target, IMPORTANCE))
    torch.testing.assert_close(PowerError(2.0).row_losses(OUTPUT, target, IMPORTANCE), rows)


def test_cross_entropy_of_soft_targets() -> None:
    target = torch.rand(3, 7, 4).softmax(dim=-1)
    rows = CrossEntropy().row_losses(OUTPUT, target, torch.ones(3, 4))
    reference = F.cross_entropy(OUTPUT.flatten(0, 1), target.flatten(0, 1), reduction="none").view(3, 7)
    torch.testing.assert_close(rows, reference)


def test_binary_cross_entropy_is_least_at_the_targets_logit() -> None:
    target = torch.rand(3, 7, 4)
    at = BinaryCrossEntropy().row_losses(target.logit(), target, IMPORTANCE)
    entropy = -(target * target.log() + (1 - target) * (1 - target).log())
    torch.testing.assert_close(at, (entropy * IMPORTANCE.unsqueeze(1)).sum(dim=-1))
    torch.testing.assert_close(BinaryCrossEntropy().prediction(target.logit()), target)


@pytest.mark.parametrize("objective", [PowerError(), BinaryCrossEntropy()], ids=lambda each: type(each).__name__)
def test_training_lowers_the_objective(objective: Objective, tmp_path: Path) -> None:
    model, data = toy_model({"seed": 2}, objective=objective), toy_data({"seed": 2})
    rows = next(iter(data.val_dataloader()))

    def loss() -> torch.Tensor:
        with torch.no_grad():
            return objective.row_losses(model(rows.features), rows.targets, model.importance).mean(dim=-1)

    before = loss()
    toy_trainer(tmp_path, max_steps=60).fit(model, data)
    assert (loss() < before).all()
    assert model.instance_values["loss"].shape == (2,)


def test_a_power_below_one_is_refused() -> None:
    with pytest.raises(UserError, match=r"exponent is 0\.5; allowed: a number ≥ 1"):
        PowerError(0.5)
