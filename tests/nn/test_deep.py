"""The deep computation model: its formula, its initial weights, and networks that are exact."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F

from sup_lightning.errors import UserError
from sup_lightning.nn import DeepComputationModel


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(0))


def shuffled(net: DeepComputationModel) -> DeepComputationModel:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for bias in (*net.b_in, net.b):
            bias.normal_(generator=generator)
    return net


@pytest.mark.parametrize(("first", "keep"), list(product([None, "linear"], [False, True])))
def test_plain_forward_is_the_formula(x: torch.Tensor, first: str | None, keep: bool) -> None:
    net = shuffled(DeepComputationModel(5, [3, 8], 4, n_layers=3, n_outputs=2, first_activation=first))  # type: ignore[arg-type]
    factors = torch.rand(2, 7, 4, generator=torch.Generator().manual_seed(2)) if keep else None
    state = x[1] @ net.W_in[0][1] + net.b_in[0][1]
    state = state if first == "linear" else state.relu()
    state = state if factors is None else state * factors[1]
    for layer in (1, 2):
        state = F.relu(state @ net.W_in[layer][1] + net.b_in[layer][1])
    torch.testing.assert_close(net(x, factors)[1], state @ net.W[1] + net.b[1])


def test_residual_forward_is_the_formula(x: torch.Tensor) -> None:
    net = shuffled(DeepComputationModel(5, [3, 8], 4, n_outputs=2, residual=True, output_activation="relu"))
    stream = x[0]
    for layer in range(2):
        stream = stream + F.relu(stream @ net.W_in[layer][0] + net.b_in[layer][0]) @ net.W_out[layer][0]
    torch.testing.assert_close(net(x)[0], F.relu(stream @ net.W[0] + net.b[0]))


@pytest.mark.parametrize("residual", [False, True])
def test_the_rest_of_the_network_goes_on_from_any_layer(x: torch.Tensor, residual: bool) -> None:
    net = shuffled(DeepComputationModel(5, [3, 8], 4, n_layers=3, residual=residual))
    for n_done, state in enumerate([x, *net.states(x)]):
        torch.testing.assert_close(net.read(state, n_done), net(x))


def test_init_is_that_of_one_model() -> None:
    net = DeepComputationModel(30, range(40), 20, n_layers=2, n_outputs=10)
    for weight, variance in ((net.W_in[0], 2 / 30), (net.W_in[1], 2 / 20), (net.W, 2 / 30)):
        assert weight.var().item() == pytest.approx(variance, rel=5 * (2 / weight.numel()) ** 0.5)
    alone = DeepComputationModel(30, [7], 20, n_layers=2, n_outputs=10)
    for weight, one in zip(net.parameters(), alone.parameters(), strict=True):
        assert torch.equal(weight[7], one[0])
    assert not torch.equal(*DeepComputationModel(4, [0], 4, n_layers=3).W_in[1:])


@pytest.mark.parametrize("residual", [False, True])
def test_instances_do_not_see_each_other(x: torch.Tensor, residual: bool) -> None:
    net = DeepComputationModel(5, [3, 8], 4, residual=residual)
    net(x)[0].sum().backward()
    assert all(p.grad is not None and p.grad[1].abs().sum() == 0 for p in net.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_layers": 0}, "n_layers is 0; allowed: a positive integer"),
        ({"first_activation": "tanh"}, "first_activation is 'tanh'; allowed: relu, linear"),
        ({"n_hidden": -1}, "n_hidden is -1"),
    ],
)
def test_bad_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DeepComputationModel(5, [0], **settings)  # type: ignore[arg-type]


def test_no_layer_beyond_the_last() -> None:
    with pytest.raises(UserError, match="n_done is 3; allowed: 0 to 2 layers"):
        DeepComputationModel(5, [0]).read(torch.zeros(1, 1, 4), 3)
