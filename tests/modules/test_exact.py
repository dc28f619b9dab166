"""Training on the expected loss."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sup_lightning.data import SyntheticFeatures
from sup_lightning.data.features import IndependentFeatures
from sup_lightning.data.tasks import Identity, Task
from sup_lightning.errors import UserError
from sup_lightning.modules.exact import ExactToyModel
from sup_lightning.nn import BottleneckModel
from sup_lightning.nn.exact_loss import ExactLoss
from sup_lightning.nn.toy import ToyNetwork
from tests.helpers import same_weights, toy_data, toy_trainer, weights

SWEEP = {"seed": [0, 3], "feature_probability": [0.1, 0.3]}


def exact_model(sweep: Any = None, n_features: int = 5, **settings: Any) -> ExactToyModel:
    return ExactToyModel(n_features, partial(BottleneckModel, n_hidden=2), sweep=sweep, **settings)


def test_each_step_goes_down_the_gradient_of_the_expected_loss(tmp_path: Path) -> None:
    """Plain gradient descent by hand gives the same weights, whatever the batches are."""
    model = exact_model(SWEEP, importance_decay=0.9, optimizer=partial(torch.optim.SGD, lr=0.1), tolerance=1e-7)
    net = BottleneckModel(5, model.sweep.seeds, 2)
    toy_trainer(tmp_path, max_steps=9, limit_val_batches=0).fit(model, toy_data(SWEEP, batch_size=1))
    p = torch.tensor([[0.1], [0.1], [0.3], [0.3]]).expand(4, 5)
    objective = ExactLoss.independent(p, importance=0.9 ** torch.arange(5.0), tolerance=1e-7)
    for _ in range(9):
        gradients = torch.autograd.grad(objective(net).sum(), [net.W, net.b])
        with torch.no_grad():
            net.W -= 0.1 * gradients[0]
            net.b -= 0.1 * gradients[1]
    torch.testing.assert_close(model.net.W, net.W, rtol=0, atol=1e-5)
    torch.testing.assert_close(model.net.b, net.b, rtol=0, atol=1e-5)


def test_batches_and_chunks_do_not_matter(tmp_path: Path) -> None:
    results = []
    for settings in ({"batch_size": 1}, {"batch_size": 64, "chunk_steps": 3}):
        model = exact_model(SWEEP)
        toy_trainer(tmp_path, max_steps=12, limit_val_batches=0).fit(model, toy_data(SWEEP, **settings))
        results.append(weights(model))
    assert same_weights(*results)


def test_validation_rows_confirm_the_exact_loss(tmp_path: Path) -> None:
    model = exact_model({"seed": 3})
    data = toy_data({"seed": 3}, feature_probability=0.3, val_batch_size=8192, val_batches=4)
    toy_trainer(tmp_path, max_steps=40).fit(model, data)
    assert model.measured_at_step == 40
    torch.testing.assert_close(model.instance_values["loss"], model.exact_losses(), rtol=0.02, atol=0)


def test_bad_settings(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dropout is 0.5; allowed: 0 for the exact loss"):
        exact_model(dropout=0.5)
    with pytest.raises(UserError, match=r"tolerance is 0; allowed: a positive number"):
        exact_model(tolerance=0)

    class Other(ToyNetwork):
        def forward(self, features: Tensor, keep: Tensor | None = None) -> Tensor:
            return features

        def feature_directions(self) -> Tensor:
            return torch.zeros(self.n_instances, self.n_features, self.n_hidden)

    with pytest.raises(UserError, match="the exact loss knows BottleneckModel, not Other"):
        ExactToyModel(5, partial(Other, n_hidden=2))


def test_a_task_or_law_that_is_not_known_is_refused() -> None:
    class Cube(Task):
        def __call__(self, features: Tensor) -> Tensor:
            return features**3

    class Hidden(IndependentFeatures):
        def supports(self, n_features: int, feature_probability: Tensor) -> tuple[Tensor, Tensor]:
            return super(IndependentFeatures, self).supports(n_features, feature_probability)

    with pytest.raises(UserError, match=r"data.task is Cube; allowed: Identity or AbsoluteValue for the exact loss"):
        exact_model().exact_loss_of(SyntheticFeatures(5, task=Cube()))
    with pytest.raises(UserError, match="Hidden does not say which features fire together"):
        exact_model().exact_loss_of(SyntheticFeatures(5, features=Hidden(), task=Identity()))
