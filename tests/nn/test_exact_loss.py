"""The expected loss as an objective of networks."""

import pytest
import torch

from sup_lightning.errors import UserError
from sup_lightning.functional.expected_loss import expected_loss, independent_supports
from sup_lightning.functional.reconstruction import weighted_squared_error
from sup_lightning.nn import BottleneckModel
from sup_lightning.nn.exact_loss import ExactLoss


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_it_is_the_mean_of_the_networks_own_loss(tied: bool, activation: str) -> None:
    net = BottleneckModel(4, [0, 1], 2, activation, tied)  # type: ignore[arg-type]
    p, importance = torch.tensor([[0.3], [0.6]]).expand(2, 4), torch.tensor([1.0, 0.5, 2.0, 1.0])
    with torch.no_grad():
        net.b.normal_(0, 0.2, generator=torch.Generator().manual_seed(0))
        objective = ExactLoss.independent(p, importance=importance, tolerance=1e-6)
        details = objective.details(net)
        g = torch.Generator().manual_seed(1)
        x = torch.rand(2, 100_000, 4, generator=g) * (torch.rand(2, 100_000, 4, generator=g) < p.unsqueeze(1))
        rows = ((net(x) - x).square() * importance).sum(-1).double()
    standard_error = rows.std(dim=1) / 100_000**0.5
    assert ((rows.mean(dim=1) - details.loss).abs() < 4 * standard_error).all()
    sampled = weighted_squared_error(net(x), x, importance)
    torch.testing.assert_close(net.loss(x, x, importance.expand(2, 4)), sampled, rtol=1e-4, atol=0)
    assert (details.error < 1e-4).all()
    assert torch.equal(objective(net), details.loss)
    assert details.loss.dtype == torch.float32


def test_gradient_reaches_every_parameter() -> None:
    net = BottleneckModel(3, [0, 1], 2, tied=False).double()
    objective = ExactLoss.independent(torch.full((3,), 0.2))
    gradients = torch.autograd.grad(objective(net).sum(), [net.W, net.W_out, net.b])
    readin = (net.W_out @ net.W.mT).detach().requires_grad_()  # type: ignore[operator]
    law = independent_supports(torch.full((3,), 0.2).double())
    (by_readin,) = torch.autograd.grad(expected_loss(readin, net.b, *law).loss.sum(), readin)
    torch.testing.assert_close(gradients[0], by_readin.mT @ net.W_out)
    torch.testing.assert_close(gradients[1], by_readin @ net.W)
    assert gradients[2].abs().sum(1).min() > 0  # not of each output: one may be dead


def test_any_network_with_these_tensors_will_do() -> None:
    class Plain:
        W = torch.tensor([[[1.0], [-1.0]]])
        W_out = None
        b = torch.zeros(1, 2)
        activation = "relu"

    assert ExactLoss.independent(torch.full((2,), 0.3))(Plain()).item() == pytest.approx(0.3**2 / 3, rel=1e-5)


def test_a_hidden_nonlinearity_is_refused() -> None:
    net = BottleneckModel(2, [0], n_hidden=1, hidden_activation="relu")
    with pytest.raises(UserError, match="hidden_activation is 'relu'; allowed: linear for the exact loss"):
        ExactLoss.independent(torch.tensor([0.1, 0.1]))(net)
