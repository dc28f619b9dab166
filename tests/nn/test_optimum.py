"""Batched minimisation against known minima, scipy, and itself with fewer instances."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from sup_lightning.errors import UserError
from sup_lightning.nn import BottleneckModel
from sup_lightning.nn.exact_loss import ExactLoss
from sup_lightning.nn.optimum import antipodal_optimum, best_instances, find_optimum

Z = torch.tensor([1.0, 3.0, -2.0, 0.5, 30.0])


class Points(nn.Module):
    """One vector for each instance."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.x = nn.Parameter(x)


def rosenbrock(net: Points) -> Tensor:
    x = net.x
    return (100 * (x[:, 1:] - x[:, :-1].square()).square() + (1 - x[:, :-1]).square()).sum(1)


def test_rosenbrock_from_many_starts() -> None:
    starts = 2 * torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    net = Points(starts.clone())
    found = find_optimum(net, rosenbrock)
    assert found.converged.all()
    assert net.x.dtype == torch.float64
    # The known minima: all ones, and one near (-1, 1, 1, 1).
    local = net.x[:, 0] < 0
    torch.testing.assert_close(net.x[~local], torch.ones_like(net.x[~local]), atol=1e-6, rtol=0)
    assert found.losses[local].numpy() == pytest.approx(3.7014, abs=1e-3)
    assert found.evaluations < 300
    assert torch.allclose(rosenbrock(net), found.losses)


def test_an_instance_does_not_see_the_others() -> None:
    starts = torch.randn(6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    together, alone = Points(starts.clone()), Points(starts[2:3].clone())
    many, one = find_optimum(together, rosenbrock), find_optimum(alone, rosenbrock)
    assert many.iterations[2] == one.iterations[0]
    torch.testing.assert_close(together.x[2], alone.x[0], rtol=0, atol=1e-12)


def test_kinks_and_flat_functions_end() -> None:
    net = Points(torch.tensor([[3.0, -2.0], [0.0, 0.0]]))
    found = find_optimum(net, lambda net: net.x.abs().sum(1) + net.x.square().sum(1), max_evaluations=300)
    assert found.losses.tolist() == pytest.approx([0, 0], abs=1e-6)
    flat = find_optimum(Points(torch.ones(2, 3)), lambda net: 0 * net.x.sum(1) + 1)
    assert flat.converged.all()
    assert flat.evaluations == 1


def test_a_loss_that_is_not_finite_does_not_spoil_the_others() -> None:
    """log diverges on the way for one start, and from the beginning for another."""
    net = Points(torch.tensor([[5.0], [0.01], [-1.0]]))
    found = find_optimum(net, lambda net: (net.x - net.x.log()).sum(1), max_evaluations=200)
    assert net.x[:2, 0].tolist() == pytest.approx([1, 1], abs=1e-6)
    assert found.converged.tolist() == [True, True, False]
    assert net.x[2].item() == -1


def test_scipy_finds_the_same_triangle() -> None:
    objective = ExactLoss.independent(torch.full((3,), 0.1).double(), tolerance=1e-6)
    net = BottleneckModel(3, [0, 1], 2).double()
    start = torch.cat([net.W[0].flatten(), net.b[0]]).detach().numpy()
    found = find_optimum(net, objective)
    single = BottleneckModel(3, [0], 2).double()

    def value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        with torch.no_grad():
            single.W.copy_(torch.from_numpy(x[:6]).view(1, 3, 2))
            single.b.copy_(torch.from_numpy(x[6:]).view(1, 3))
        loss = objective(single).sum()
        gradients = torch.autograd.grad(loss, [single.W, single.b])
        return loss.item(), torch.cat([each.flatten() for each in gradients]).numpy()

    reference = minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options={"gtol": 1e-9, "ftol": 1e-15})
    assert found.losses[0].item() == pytest.approx(reference.fun, abs=2e-7)
    assert found.converged.all()


def test_adam_comes_near() -> None:
    objective = ExactLoss.independent(torch.full((2,), 0.4).double(), tolerance=1e-6)
    exact, adam = (BottleneckModel(2, [0, 1, 2], 1) for _ in range(2))
    best = find_optimum(exact, objective).losses
    found = find_optimum(adam, objective, method="adam", max_evaluations=200, learning_rate=0.05)
    assert found.evaluations == 200
    torch.testing.assert_close(found.losses, best, rtol=1e-3, atol=0)
    assert torch.allclose(objective(adam), found.losses)


def test_frozen_parameters_stay() -> None:
    net = BottleneckModel(2, [0, 1], 1)
    net.W.requires_grad_(False)
    before = net.W.clone()
    find_optimum(net, ExactLoss.independent(torch.full((2,), 0.4)))
    assert torch.equal(net.W, before.double())


def test_antipodal_optimum_is_below_the_named_solution() -> None:
    importance, p = torch.tensor([[0.5], [1.0]]), torch.tensor([0.1, 0.4])
    losses = antipodal_optimum(importance, p)
    assert losses.shape == (2, 2)
    assert (losses < (1 + importance) * p**2 / 6).all()
    assert losses[1, 1].item() == pytest.approx(0.05099, abs=5e-6)


def test_best_instances() -> None:
    assert best_instances(torch.tensor([math.nan, 2.0, 4.0, 3.0, 1.0, math.inf]), 3).tolist() == [1, 4]
    with pytest.raises(UserError, match="n_seeds is 4; allowed: a divisor of the 6 instances"):
        best_instances(torch.zeros(6), 4)


def test_bad_settings() -> None:
    with pytest.raises(UserError, match="method is 'sgd'; allowed: lbfgs or adam"):
        find_optimum(Points(torch.zeros(1, 2)), rosenbrock, method="sgd")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="history is 0; allowed: a positive integer"):
        find_optimum(Points(torch.zeros(1, 2)), rosenbrock, history=0)
    with pytest.raises(UserError, match="net is 'Linear'; allowed: a network whose trainable parameters all have one"):
        find_optimum(nn.Linear(3, 2).requires_grad_(False), lambda net: torch.zeros(2))
