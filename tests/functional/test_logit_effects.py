"""Direct logit attribution adds up to the logits."""

import torch

from sup_lightning.functional.logit_effects import logit_directions, logit_effects
from sup_lightning.interop.hook_names import activations
from sup_lightning.nn.transformer import Transformer


def test_what_is_written_adds_up_to_the_logits() -> None:
    net = Transformer(1, d_model=8, n_heads=2, d_vocab=11, n_ctx=5).eval()
    with torch.no_grad():
        for number, parameter in enumerate(net.parameters()):
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    tokens = torch.arange(15).view(3, 5) % 11
    names = ["blocks.0.hook_resid_mid", "blocks.0.mlp.hook_post", "ln_final.hook_scale", "hook_unembed"]
    stream, post, scale, logits = activations(net, tokens, names).values()
    with torch.no_grad():
        neurons = post.unsqueeze(-1) * net.layers[0].mlp.fc_out.weight.T  # [B, T, d_mlp, d_model]
        directions = logit_directions(net.head.weight, net.ln_out.weight)
        parts = [stream, neurons.sum(dim=2), net.layers[0].mlp.fc_out.bias.expand_as(stream)]
        total = sum(logit_effects(part, directions, scale) for part in parts) + net.head(net.ln_out.bias)
    expected = logits - logits.mean(dim=-1, keepdim=True)
    torch.testing.assert_close(total - total.mean(dim=-1, keepdim=True), expected, rtol=1e-4, atol=1e-4)
    one_neuron = logit_effects(neurons[:, :, 3], directions[[4]], scale)[..., 0]
    by_hand = post[..., 3] * (net.layers[0].mlp.fc_out.weight[:, 3] @ directions[4]) / scale[..., 0]
    torch.testing.assert_close(one_neuron, by_hand)
