"""The computation model: its formula, its gradient, its initial weights, and a network that is exact."""

from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from sup_lightning.data import AbsoluteValue
from sup_lightning.errors import UserError
from sup_lightning.functional import weighted_squared_error
from sup_lightning.nn import ComputationModel


@pytest.mark.parametrize(
    ("activation", "output", "bias", "dropout"),
    list(product(["relu", "linear", "gelu"], ["relu", "linear", "softplus"], [True, False], [True, False])),
)
def test_loss_and_gradient_are_those_of_autograd(activation: Any, output: Any, bias: bool, dropout: bool) -> None:
    torch.manual_seed(0)
    net = ComputationModel(
        6, [0, 1, 2], 5, n_outputs=4, activation=activation, output_activation=output, hidden_bias=bias
    ).double()
    for parameter in (net.b, net.b_in):
        if parameter is not None:
            torch.nn.init.normal_(parameter)
    x, y = torch.rand(3, 6, 40).double().mT * 2 - 1, torch.rand(3, 4, 40).double().mT
    keep = (torch.rand(3, 40, 5) > 0.3).double() / 0.7 if dropout else None
    importance, weights = torch.rand(3, 4).double(), torch.rand(3).double()
    closed = net.loss(x, y, importance, keep)
    closed_grads = torch.autograd.grad((closed * weights).sum(), list(net.parameters()))
    plain = weighted_squared_error(net(x, keep), y, importance)
    plain_grads = torch.autograd.grad((plain * weights).sum(), list(net.parameters()))
    torch.testing.assert_close(closed, plain, rtol=1e-12, atol=0)
    for ours, reference in zip(closed_grads, plain_grads, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("bias", [True, False])
def test_forward_is_the_formula(bias: bool) -> None:
    net = ComputationModel(5, [3, 8], 4, n_outputs=2, hidden_bias=bias)
    torch.nn.init.normal_(net.b)
    hidden_bias = 0
    if net.b_in is not None:
        hidden_bias = torch.nn.init.normal_(net.b_in)[1]
    x, keep = torch.randn(2, 7, 5), torch.rand(2, 7, 4)
    hidden = F.relu(x[1] @ net.W_in[1] + hidden_bias) * keep[1]
    torch.testing.assert_close(net(x, keep)[1], F.relu(F.linear(hidden, net.W_out[1], net.b[1])))
    assert net.feature_directions().shape == (2, 5, 4)
    assert [weight.shape for weight in net.neuron_weights()] == [(2, 5, 4), (2, 2, 4)]


def test_two_neurons_for_each_feature_are_exact() -> None:
    net = ComputationModel(3, [0], 6)
    eye = torch.eye(3)
    with torch.no_grad():
        net.W_in[0], net.W_out[0] = torch.cat([eye, -eye], dim=1), torch.cat([eye, eye], dim=1)
    x = torch.rand(1, 3, 50).mT * 2 - 1
    torch.testing.assert_close(net(x), AbsoluteValue()(x.mT).mT)
    assert net.loss(x, x.abs(), torch.ones(1, 3)).item() < 1e-14


@pytest.mark.parametrize(
    ("init", "std_in", "std_out"), [("xavier", (2 / 140) ** 0.5, (2 / 70) ** 0.5), ("he", 0.02**0.5, 0.05**0.5)]
)
def test_init(init: Any, std_in: float, std_out: float) -> None:
    net = ComputationModel(100, range(20), 40, n_outputs=30, init=init)
    assert net.W_in.std().item() == pytest.approx(std_in, rel=5 * (2 * net.W_in.numel()) ** -0.5)
    assert net.W_out.std().item() == pytest.approx(std_out, rel=5 * (2 * net.W_out.numel()) ** -0.5)
    alone = ComputationModel(100, [7], 40, n_outputs=30, init=init)
    assert torch.equal(alone.W_out[0], net.W_out[7])


def test_transposed_init() -> None:
    net = ComputationModel(100, range(5), 40, init="transpose")
    assert torch.equal(net.W_out, net.W_in.abs())
    assert torch.equal(net.W_in, ComputationModel(100, range(5), 40, init="he").W_in)
    assert [name for name, _ in net.named_parameters()] == ["W_in", "W_out", "b"]


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_without_output_bias(activation: Any) -> None:
    net = ComputationModel(3, [0, 1], 4, activation=activation, output_activation="linear", output_bias=False)
    assert [name for name, _ in net.named_parameters()] == ["W_in", "W_out"]
    assert "b" not in net.state_dict()
    assert not net(torch.zeros(2, 1, 3)).any()
    x = torch.rand(2, 9, 3)
    net.loss(x, x, torch.ones(2, 3)).sum().backward()
    with_bias = ComputationModel(3, [0, 1], 4, activation=activation, output_activation="linear")
    with_bias.loss(x, x, torch.ones(2, 3)).sum().backward()
    torch.testing.assert_close(net.W_out.grad, with_bias.W_out.grad)


def test_scaled_neurons_are_neurons_with_scaled_weights() -> None:
    net = ComputationModel(5, [0], 4, activation="gelu", activation_scale=3.0, output_activation="linear")
    plain = ComputationModel(5, [0], 4, activation="gelu", output_activation="linear")
    with torch.no_grad():
        plain.W_in.mul_(3)
        plain.W_out.div_(3)
    x = torch.randn(1, 20, 5)
    torch.testing.assert_close(net(x), plain(x))


def test_output_biases_start_where_they_are_told_to() -> None:
    net = ComputationModel(5, [0, 1], 4, n_outputs=3, initial_output_bias=-2.0)
    assert torch.equal(net.b, torch.full((2, 3), -2.0))
    assert torch.equal(net.W_in, ComputationModel(5, [0, 1], 4, n_outputs=3).W_in)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activation_scale": 0.0}, "activation_scale is 0.0; allowed: a positive number"),
        ({"init": "zero"}, "init is 'zero'; allowed: xavier, he or transpose"),
        ({"init": "transpose", "n_outputs": 3}, "init is 'transpose'; allowed: xavier or he, as 5 features have 3"),
        ({"activation": "tanh"}, "activation is 'tanh'; allowed: relu, linear, gelu"),
        ({"output_activation": "tanh"}, "output_activation is 'tanh'; allowed: relu, linear, gelu"),
        ({"n_outputs": 0}, "n_outputs is 0; allowed: a positive integer"),
    ],
)
def test_bad_settings(settings: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ComputationModel(5, [0], 4, **settings)
