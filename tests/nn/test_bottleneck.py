"""The closed-form gradient against autograd, and the law of the initial weights."""

from functools import partial
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F

from sup_lightning.errors import UserError
from sup_lightning.functional import weighted_squared_error
from sup_lightning.nn.activations import ToyActivationName
from sup_lightning.nn.bottleneck import BottleneckModel


@pytest.mark.parametrize("activation", ["relu", "linear"])
@pytest.mark.parametrize("hidden", ["relu", "linear"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dropout", [True, False])
@pytest.mark.parametrize("layout", ["feature-major", "row-major"])
def test_closed_form_gradient_is_that_of_autograd(
    activation: Any, hidden: Any, tied: bool, dropout: bool, layout: str
) -> None:
    torch.manual_seed(0)
    net = BottleneckModel(6, [0, 1, 2], 3, activation=activation, tied=tied, hidden_activation=hidden).double()
    torch.nn.init.normal_(net.b)
    x, y = torch.rand(3, 6, 40).double().mT, torch.rand(3, 6, 40).double().mT
    if layout == "row-major":
        x, y = x.contiguous(), y.contiguous()
    keep = (torch.rand(3, 40, 3) > 0.3).double() / 0.7 if dropout else None
    importance, weights = torch.rand(3, 6).double(), torch.rand(3).double()
    closed = net.loss(x, y, importance, keep)
    closed_grads = torch.autograd.grad((closed * weights).sum(), list(net.parameters()))
    plain = weighted_squared_error(net(x, keep), y, importance)
    plain_grads = torch.autograd.grad((plain * weights).sum(), list(net.parameters()))
    torch.testing.assert_close(closed, plain, rtol=1e-12, atol=0)
    for ours, reference in zip(closed_grads, plain_grads, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("activation", get_args(ToyActivationName))
@pytest.mark.parametrize("hidden", ["linear", "relu", "gelu"])
def test_any_activation_is_that_of_torch(activation: Any, hidden: Any) -> None:
    functions = {"linear": lambda x: x, "gelu_new": partial(F.gelu, approximate="tanh")}
    f, g = (functions.get(name) or getattr(F, name) for name in (hidden, activation))
    net = BottleneckModel(5, [3, 4], 2, activation=activation, hidden_activation=hidden).double()
    x, importance = torch.rand(2, 7, 5).double(), torch.rand(2, 5).double()
    output = g(f(x @ net.W) @ net.W.mT + net.b.unsqueeze(1))
    torch.testing.assert_close(net(x), output)
    torch.testing.assert_close(net.loss(x, x, importance), ((output - x).square().mean(1) * importance).sum(1))


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "silu", "softplus"])
def test_sharp_activations_become_relu(activation: Any) -> None:
    relu, x = BottleneckModel(5, [3], 2), torch.rand(1, 50, 5)

    def difference(scale: float) -> float:
        net = BottleneckModel(5, [3], 2, activation=activation, activation_scale=scale)
        return float((net(x) - relu(x)).detach().abs().max())

    assert difference(1.0) > 0.03
    assert difference(1000.0) < 1e-3


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_straight_activations_have_no_scale(activation: Any) -> None:
    net, x = BottleneckModel(5, [3], 2, activation=activation, activation_scale=7.0), torch.rand(1, 50, 5)
    assert torch.equal(net(x), BottleneckModel(5, [3], 2, activation=activation)(x))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_scale(scale: float) -> None:
    with pytest.raises(UserError, match=r"activation_scale is .*; allowed: a positive number"):
        BottleneckModel(5, [0], 2, activation="gelu", activation_scale=scale)


@pytest.mark.parametrize("option", ["activation", "hidden_activation"])
def test_unknown_activation(option: str) -> None:
    names = "relu, linear, gelu, gelu_new, silu, softplus, sigmoid, softshrink"
    message = f"{option} is 'rely'; allowed: {names} \\(did you mean relu\\?\\)"
    with pytest.raises(UserError, match=message):
        BottleneckModel(5, [0], 2, **{option: "rely"})  # type: ignore[arg-type]


def test_forward_is_the_formula() -> None:
    net = BottleneckModel(5, [3], n_hidden=2)
    x = torch.rand(1, 7, 5)
    torch.testing.assert_close(net(x)[0], torch.relu(x[0] @ net.W[0] @ net.W[0].T + net.b[0]))


@pytest.mark.parametrize("n_instances", [1, 10, 100])
@pytest.mark.parametrize(("n_features", "n_hidden", "std"), [(5, 2, 0.5345), (100, 20, 0.1291)])
def test_init_law_does_not_depend_on_the_number_of_instances(
    n_instances: int, n_features: int, n_hidden: int, std: float
) -> None:
    pooled = [
        BottleneckModel(n_features, range(start, start + n_instances), n_hidden).W.detach()
        for start in range(0, 400, n_instances)
    ]
    sample = torch.cat(pooled)
    assert sample.std().item() == pytest.approx(std, rel=5 * (2 * sample.numel()) ** -0.5)


def test_an_instance_starts_as_it_would_alone() -> None:
    together, alone = BottleneckModel(5, [4, 9, 2], 2), BottleneckModel(5, [9], 2)
    assert torch.equal(together.W[1], alone.W[0])


def test_tied_weights_are_one_parameter() -> None:
    net = BottleneckModel(5, [0], 2)
    assert [name for name, _ in net.named_parameters()] == ["W", "b"]
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    before = net.W.detach().clone()
    x = torch.rand(1, 100, 5)
    net.loss(x, x, torch.ones(1, 5)).sum().backward()
    optimizer.step()
    moved = (net.W - before).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.01), rtol=1e-3, atol=0)  # Adam's first step: lr, once
