"""Stopping at neurons and going on: bit-equal if nothing is patched, and what hooks do if something is."""

import pytest
import torch

from sup_lightning.errors import UserError
from sup_lightning.interop.hook_names import activations
from sup_lightning.interop.patching import LastToken, resume_hidden, stop_at_neurons
from sup_lightning.nn.transformer import Transformer

CASES = [(1, 0), (2, 0), (2, 1)]


def network(n_layers: int, activation: str = "gelu") -> Transformer:
    net = Transformer(n_layers, d_model=8, n_heads=2, d_vocab=13, n_ctx=6, activation=activation)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return net.eval()


TOKENS = torch.arange(18).view(3, 6) % 13


@pytest.mark.parametrize("activation", ["gelu", "solu_ln"])
@pytest.mark.parametrize(("n_layers", "layer"), CASES)
def test_patching_nothing_changes_no_bit(n_layers: int, layer: int, activation: str) -> None:
    net = network(n_layers, activation)
    stopped = stop_at_neurons(net, TOKENS, layer)
    with torch.no_grad():
        assert torch.equal(net.head(resume_hidden(net, stopped, stopped.post)), net(TOKENS))


@pytest.mark.parametrize(("n_layers", "layer"), CASES)
def test_patching_the_last_token_is_what_a_hook_does(n_layers: int, layer: int) -> None:
    net, other = network(n_layers), torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    last = LastToken(net, TOKENS, layer)
    assert torch.equal(last.post, activations(net, TOKENS, name := f"blocks.{layer}.mlp.hook_post")[name][:, -1])

    def patch(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        return torch.cat([output[:, :-1], other.unsqueeze(1)], dim=1)

    handle = net.layers[layer].mlp.hook_post.register_forward_hook(patch)
    with torch.no_grad():
        expected = net(TOKENS)[:, -1]
        handle.remove()
        torch.testing.assert_close(last.logits(other), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(last.logits(last.post), net(TOKENS)[:, -1], rtol=1e-5, atol=1e-5)
        assert not torch.allclose(last.logits(other), last.logits(last.post), atol=0.1)
        assert last.logprobs(other).exp().sum(-1).tolist() == pytest.approx([1] * 3, abs=1e-5)


def test_gradients_reach_the_neurons() -> None:
    net = network(2)
    last = LastToken(net, TOKENS, 0)
    post = last.post.clone().requires_grad_()
    score = last.logprobs(post)[:, 4].sum()
    (gradient,) = torch.autograd.grad(score, post)
    moved = torch.zeros_like(post)
    moved[1, 5] = 1e-2
    with torch.no_grad():
        difference = (last.logprobs(post + moved) - last.logprobs(post - moved))[:, 4].sum() / 2e-2
    assert float(gradient[1, 5]) == pytest.approx(float(difference), abs=2e-3)


def test_layers_that_are_not_there() -> None:
    with pytest.raises(UserError, match="layer is 2; allowed: 0 to 1"):
        stop_at_neurons(network(2), TOKENS, 2)
    attention = Transformer(1, 8, 2, 13, 6, attn_only=True)
    with pytest.raises(UserError, match="layer is 0; allowed: none, as the model has no MLPs"):
        stop_at_neurons(attention, TOKENS, 0)
