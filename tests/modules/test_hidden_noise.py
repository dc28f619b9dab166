"""Gaussian noise on the hidden layer: as strong as dropout, and the same whichever way the layer is turned."""

from pathlib import Path

import pytest
import torch

from sup_lightning.data import ToyBatch
from sup_lightning.errors import UserError
from sup_lightning.functional.basis import random_rotations
from sup_lightning.modules import ToyModel
from sup_lightning.nn import BottleneckModel, ComputationModel
from tests.helpers import same_weights, toy_data, toy_trainer, weights

RATES = [0.0, 0.2, 0.5]


def model(noise: str = "gaussian", n_hidden: int = 3, seed: object = 2) -> ToyModel:
    def net(n_features: int, seeds: list[int]) -> BottleneckModel:
        return BottleneckModel(n_features, seeds, n_hidden=n_hidden)

    sweep = {"seed": seed, "dropout": RATES}
    return ToyModel(5, net, dropout_noise=noise, sweep=sweep)  # type: ignore[arg-type]


def rows(n: int) -> ToyBatch:
    x = torch.ones(len(RATES) * 2, n, 5)
    return ToyBatch(3, (0, n), x, x)


def test_noise_has_the_variance_of_dropout_and_no_direction() -> None:
    n, n_hidden = 40_000, 3
    noise = model().disturbance(rows(n))["noise"]
    keep = model("mask").disturbance(rows(n))["keep"]
    h = torch.tensor([1.0, -2.0, 0.5])
    added, dropped = h.norm() * noise, h * keep - h
    for rate, gaussian, mask in zip(RATES, added[::2], dropped[::2], strict=True):  # one seed of each rate
        total = rate / (1 - rate) * float(h.square().sum())
        covariance = gaussian.T @ gaussian / n
        assert covariance == pytest.approx(torch.eye(n_hidden) * total / n_hidden, abs=0.03 * total + 1e-9)
        assert float(mask.square().sum(-1).mean()) == pytest.approx(total, rel=0.03, abs=1e-9)


def test_a_network_adds_it_in_units_of_the_hidden_norm() -> None:
    net = model().net.double()
    x, noise = torch.rand(6, 7, 5).double(), torch.randn(6, 7, 3).double()
    hidden = x @ net.W
    hidden = hidden + hidden.norm(dim=-1, keepdim=True) * noise
    expected = (hidden @ net.W.mT + net.b.unsqueeze(1)).relu()
    torch.testing.assert_close(net(x, noise=noise), expected)
    importance = torch.rand(6, 5).double()
    loss = ((expected - x).square().mean(1) * importance).sum(1)
    torch.testing.assert_close(net.loss(x, x, importance, noise=noise), loss)
    turn = random_rotations(3, 1)[0]
    with torch.no_grad():
        net.W.copy_(net.W @ turn)
    torch.testing.assert_close(net(x, noise=noise @ turn), expected)


def test_rows_without_features_give_a_finite_gradient() -> None:
    net = model().net
    x = torch.zeros(6, 4, 5)
    net.loss(x, x, torch.ones(6, 5), noise=torch.ones(6, 4, 3)).sum().backward()
    assert net.W.grad.isfinite().all()


def test_training_depends_on_seed_and_step_alone(tmp_path: Path) -> None:
    """An instance alone is that instance of the sweep, whatever the chunks."""
    together = model()
    sweep = {"seed": 2, "dropout": RATES}
    toy_trainer(tmp_path, max_steps=30).fit(together, toy_data(sweep, n_features=5, chunk_steps=7))
    again = model()
    toy_trainer(tmp_path, max_steps=30).fit(again, toy_data(sweep, n_features=5, chunk_steps=30))
    assert same_weights(weights(together), weights(again))
    quiet = model("mask")
    toy_trainer(tmp_path, max_steps=30).fit(quiet, toy_data(sweep, n_features=5))
    torch.testing.assert_close(quiet.net.W[:2], together.net.W[:2], rtol=0, atol=1e-5)  # rate 0: no noise of any kind
    assert (quiet.net.W[2:] - together.net.W[2:]).abs().max() > 1e-3


def test_bad_settings() -> None:
    with pytest.raises(UserError, match="dropout_noise is 'laplace'; allowed: mask or gaussian"):
        model("laplace")
    with pytest.raises(UserError, match="dropout_noise gaussian knows BottleneckModel, not ComputationModel"):
        ToyModel(5, ComputationModel, dropout_noise="gaussian")
