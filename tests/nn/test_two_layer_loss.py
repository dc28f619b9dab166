"""Thousands of instances, a few at a time: the same numbers as all at once."""

import pytest
import torch

from sup_lightning.nn import BottleneckModel, ComputationModel, ToyNetwork, two_layer_loss


def loss_and_gradients(net: ToyNetwork, x: torch.Tensor, keep: torch.Tensor | None) -> list[torch.Tensor]:
    importance = torch.linspace(0.1, 1, net.n_outputs).repeat(net.n_instances, 1)
    losses = net.loss(x, x, importance, keep)
    return [losses, *torch.autograd.grad(losses.sum(), list(net.parameters()))]


@pytest.mark.parametrize("n_instances", [8, 9, 23, 160])
@pytest.mark.parametrize("kind", ["tied", "untied", "computation"])
@pytest.mark.parametrize("dropout", [True, False])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, n_instances: int, kind: str, dropout: bool) -> None:
    torch.manual_seed(0)
    seeds = range(n_instances)
    net: ToyNetwork = BottleneckModel(3, seeds, 2, tied=kind == "tied")
    if kind == "computation":
        net = ComputationModel(3, seeds, 4, hidden_bias=True)
    x = torch.rand(n_instances, 3, 64).sub(0.7).relu().mT
    keep = (torch.rand(n_instances, net.n_hidden, 64) > 0.3).float().mT / 0.7 if dropout else None
    monkeypatch.setattr(two_layer_loss, "BLOCK", 1)
    blocks = loss_and_gradients(net, x, keep)
    monkeypatch.setattr(two_layer_loss, "FEWEST", 1000)
    whole = loss_and_gradients(net, x, keep)
    for ours, reference in zip(blocks, whole, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-6, atol=1e-9)
