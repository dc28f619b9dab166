"""Folded weights against the forward pass that they are taken from."""

import pytest
import torch

from sup_lightning.errors import UserError
from sup_lightning.interop.head_weights import head_weights, token_embeddings, unembedding
from sup_lightning.interop.hook_names import activations
from sup_lightning.nn.transformer import Transformer


def trained_like() -> Transformer:
    """LayerNorms with weights and biases, in float64."""
    net = Transformer(2, 16, 4, 20, 10, d_head=6, attn_only=True, init="published").double().eval()
    with torch.no_grad():
        for number, (name, parameter) in enumerate(net.named_parameters()):
            if parameter.ndim == 1 and "attn" not in name:
                parameter += 0.3 * torch.randn(len(parameter), generator=torch.Generator().manual_seed(number)).double()
    return net


TOKENS = torch.arange(10).view(1, 10)


def test_a_head_is_its_folded_weights_up_to_a_constant() -> None:
    net = trained_like()
    names = ["blocks.1.ln1.hook_in", "blocks.1.ln1.hook_scale", *(f"blocks.1.attn.hook_{part}" for part in "qkv")]
    found = activations(net, TOKENS, [*names, "blocks.1.attn.hook_z", "blocks.1.hook_attn_out"])
    x = found[names[0]][0] / found[names[1]][0]
    weights = head_weights(net, 1)
    for part, W in zip("qkv", weights[:3], strict=True):
        actual = found[f"blocks.1.attn.hook_{part}"][0]
        folded = torch.einsum("td,hde->the", x, W)
        constant = actual - folded  # of the LayerNorm's bias alone: the same at all places
        torch.testing.assert_close(constant, constant[:1].expand_as(constant), rtol=0, atol=1e-12)
    written = torch.einsum("the,hed->td", found["blocks.1.attn.hook_z"][0], weights.W_O)
    out = found["blocks.1.hook_attn_out"][0]
    torch.testing.assert_close(written, out - out.mean(dim=1, keepdim=True), rtol=0, atol=1e-12)


def test_circuits_are_products_of_the_weights() -> None:
    weights = head_weights(trained_like(), 0)
    ov, keys = weights.ov(2), weights.keys(2)
    assert torch.equal(ov.left @ ov.right, weights.W_V[2] @ weights.W_O[2])
    assert torch.equal(keys.left @ keys.right, weights.W_K[2] @ weights.W_Q[2].mT)


def test_logits_are_the_folded_unembedding_up_to_a_constant() -> None:
    net = trained_like()
    found = activations(net, TOKENS, ["ln_final.hook_in", "ln_final.hook_scale", "hook_unembed"])
    folded = (found["ln_final.hook_in"] / found["ln_final.hook_scale"])[0] @ unembedding(net)
    constant = found["hook_unembed"][0] - folded
    torch.testing.assert_close(constant, constant[:1].expand_as(constant), rtol=0, atol=1e-12)


def test_embeddings_are_centred() -> None:
    net = trained_like()
    found = token_embeddings(net)
    torch.testing.assert_close(found.mean(dim=1), torch.zeros(20).double(), rtol=0, atol=1e-15)
    torch.testing.assert_close(net.ln_out(found), net.ln_out(net.tok_embed.weight))


def test_a_layer_that_is_not_there() -> None:
    with pytest.raises(UserError, match="layer is 2; allowed: 0 to 1"):
        head_weights(trained_like(), 2)
