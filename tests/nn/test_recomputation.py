"""Layers that are run in parts, against the same layers run whole."""

import pytest
import torch
from torch import Tensor, nn

from sup_lightning.nn.recomputation import in_parts, run_in_parts

torch.manual_seed(0)
X = torch.randn(3, 5, 4, dtype=torch.float64)
TARGET = torch.randn(3, 5, 2, dtype=torch.float64)


def layer() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 7), nn.GELU(), nn.Linear(7, 2)).double()


def gradients(net: nn.Sequential, x: Tensor, result: Tensor) -> list[Tensor | None]:
    ((result - TARGET) ** 2).sum().backward()
    return [x.grad, *(parameter.grad for parameter in net.parameters())]


@pytest.mark.parametrize("n_held", [1, 4, 15, 100])
def test_values_and_gradients_are_those_of_the_whole(n_held: int) -> None:
    net, again = layer(), layer()
    x, x_again = X.clone().requires_grad_(), X.clone().requires_grad_()
    whole, parts = net(x), in_parts(again, lambda: list(again.parameters()), x_again, n_held)
    torch.testing.assert_close(parts, whole, rtol=1e-14, atol=1e-14)
    for one, other in zip(gradients(again, x_again, parts), gradients(net, x, whole), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_what_is_frozen_gets_no_gradient() -> None:
    net = layer()
    net[0].weight.requires_grad_(False)
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    result = in_parts(net, lambda: trained, X, 4)
    of_x, of_frozen, *others = gradients(net, X, result)
    assert of_x is None
    assert of_frozen is None
    assert all(each is not None and bool(each.abs().sum() > 0) for each in others)


def test_nothing_inside_is_kept() -> None:
    """Between the passes only the input is held, whatever the width of the layer."""
    kept: list[int] = []
    x = X.clone().requires_grad_()
    net = layer()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        in_parts(net, lambda: list(net.parameters()), x, 4)
    assert kept == [X.numel()]


def test_no_more_rows_than_may_be_held() -> None:
    seen: list[int] = []

    def run(rows: Tensor) -> Tensor:
        seen.append(len(rows))
        return rows

    assert run_in_parts(run, X.flatten(0, -2), 4).equal(X.flatten(0, -2))
    assert seen == [4, 4, 4, 3]


def test_reduced_precision_is_the_same_in_both_passes() -> None:
    """Autocast ends before the backward pass begins; what is run again there runs as it did before."""
    net, dtypes = layer().float(), []
    net[0].register_forward_hook(lambda module, inputs, output: dtypes.append(output.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = in_parts(net, lambda: list(net.parameters()), X.float(), 15)
    result.float().sum().backward()
    assert dtypes == [torch.bfloat16, torch.bfloat16]
