"""A forward pass that is stopped at the neurons of one layer, and goes on from whatever they are then said to hold."""

from typing import NamedTuple, cast

import torch
from torch import Tensor

from sup_lightning.errors import reject
from sup_lightning.interop.hook_names import activations
from sup_lightning.nn.transformer import MLP, Transformer


class Stopped(NamedTuple):
    """A forward pass at the neurons of a layer.

    Attributes:
        layer: Which layer.
        residual: `[B, T, d_model]`, the stream that the MLP is about to be added to.
        post: `[B, T, d_mlp]`, what the neurons hold.
    """

    layer: int
    residual: Tensor
    post: Tensor


def stop_at_neurons(net: Transformer, tokens: Tensor, layer: int) -> Stopped:
    """Run a model up to the neurons of a layer.

    Args:
        net: The model.
        tokens: `[B, T]` int64.
        layer: Which layer, from 0.

    Raises:
        UserError: If there is no such layer, or it has no neurons.
    """
    if net.attn_only or not 0 <= layer < net.n_layers:
        last = f"0 to {net.n_layers - 1}" if not net.attn_only else "none, as the model has no MLPs"
        reject("layer", layer, last)
    names = [f"blocks.{layer}.hook_resid_mid", f"blocks.{layer}.mlp.hook_post"]
    found = activations(net, tokens, names)
    return Stopped(layer, *(found[name] for name in names))


def neurons_of(net: Transformer, layer: int) -> MLP:
    """The MLP of a layer."""
    return cast(MLP, net.get_submodule(f"layers.{layer}.mlp"))


def resume_hidden(net: Transformer, stopped: Stopped, post: Tensor) -> Tensor:
    """The rest of the forward pass up to the unembedding, with the neurons holding `post`.

    With `stopped.post` it is, bit for bit, `net.hidden(tokens)`. Gradients flow into `post`.

    Args:
        net: The model, in evaluation mode.
        stopped: Where to go on from.
        post: `[B, T, d_mlp]`.

    Returns:
        `[B, T, d_model]`; `net.head` makes logits of it.
    """
    x = stopped.residual + neurons_of(net, stopped.layer).fc_out(post)
    for layer in net.layers[stopped.layer + 1 :]:
        x = layer(x)
    return net.ln_out(x)


class LastToken:
    """Puts other activations into the neurons of a layer at the last token, and reads the next token off.

    In the last layer nothing after the neurons looks at earlier tokens, so they are dropped at once.

    Args:
        net: The model, in evaluation mode.
        tokens: `[N, T]` int64, contexts.
        layer: Whose neurons.
    """

    def __init__(self, net: Transformer, tokens: Tensor, layer: int) -> None:
        stopped = stop_at_neurons(net, tokens, layer)
        kept = slice(-1, None) if layer == net.n_layers - 1 else slice(None)
        self.net, self.stopped = net, Stopped(layer, stopped.residual[:, kept], stopped.post[:, kept])

    @property
    def post(self) -> Tensor:
        """What the neurons hold at the last token, `[N, d_mlp]`."""
        return self.stopped.post[:, -1]

    def logits(self, post: Tensor) -> Tensor:
        """Logits of the next token with the neurons holding `post` `[N, d_mlp]` at the last one, `[N, d_vocab]`."""
        whole = torch.cat([self.stopped.post[:, :-1], post.unsqueeze(1)], dim=1)
        return self.net.head(resume_hidden(self.net, self.stopped, whole)[:, -1])

    def logprobs(self, post: Tensor) -> Tensor:
        """The same as log-probabilities in nats."""
        return self.logits(post).log_softmax(dim=-1)
