"""Widening the MLP of a trained transformer by copying its neurons, so that the function stays what it was.

After Chen, Goodfellow & Shlens 2016, "Net2Net: Accelerating Learning via Knowledge Transfer", with a rule for each
activation: what scales the copies' output weights, and what noise between copies leaves the output as it is.
"""

import copy
import math
from typing import Literal, get_args

import torch
from torch import Tensor

from sup_lightning.errors import did_you_mean, reject, require_positive
from sup_lightning.functional.keyed_random import keyed_normal
from sup_lightning.nn.transformer import MLP, Transformer

NoiseScheme = Literal["none", "iid", "antisymmetric", "zero_sum", "cancelling_pairs"]
"""How the copies of a neuron are made to differ; see `widen`."""

PAIRED = ("antisymmetric", "cancelling_pairs")


@torch.no_grad()
def widen(net: Transformer, layer: int, k: int, noise: NoiseScheme, noise_scale: float, seed: int) -> Transformer:
    """A transformer with k copies of each neuron of one layer, that computes the same function up to the noise.

    Copy j of neuron i is neuron i k + j. Input weights and biases are copied, output weights are also scaled by
    `output_scale`. With a LayerNorm over the neurons (`solu_ln`), its gain and bias are copied and its epsilon is
    divided by k², as the variance of k times as many SoLU activations is: with the old epsilon the output would shrink.
    Noise is Gaussian and on weights alone, with input weights W_i and copied output weights V_i:

    - `none`: equal copies. Gradient descent never tells them apart.
    - `iid`: independent noise on the input weights of each copy; the output changes in first order.
    - `antisymmetric`: copies 2p and 2p + 1 have input weights W_i + d_p and W_i - d_p; the output changes in second
      order. k is even.
    - `zero_sum`: output weights V_i + e_j with Σ_j e_j = 0; the output does not change.
    - `cancelling_pairs`: copies 2p and 2p + 1 share the input weights W_i + d_p, whatever d_p, and have output weights
      +e_p and -e_p. The first pair has d = 0 and carries the neuron: k V_i / 2 + e_0 and k V_i / 2 - e_0. The output
      does not change. k is even; not for SoLU, where d enters the normaliser of all neurons.

    Args:
        net: The trained transformer, which is left as it is.
        layer: The layer whose MLP is widened, from 0.
        k: Copies of each neuron; 1, which changes nothing, with noise `none` alone.
        noise: How the copies differ.
        noise_scale: Standard deviation of the noise, relative to the root mean square of the copied weights of each
            neuron: of W_i for d, of V_i for e. Not used by `none`.
        seed: Of the noise.

    Returns:
        A new transformer, with `d_mlps[layer]` k times as large.

    Raises:
        UserError: If the layer is not there or has no MLP, or k and the noise do not fit each other or the activation.
    """
    _check(net, layer, k, noise, noise_scale)
    mlp = net.layers[layer].mlp
    assert isinstance(mlp, MLP)
    n_neurons, d_model = mlp.fc_in.weight.shape
    W = mlp.fc_in.weight.repeat_interleave(k, dim=0).view(n_neurons, k, d_model)
    V = mlp.fc_out.weight.T.repeat_interleave(k, dim=0).view(n_neurons, k, d_model) * output_scale(net.activation, k)
    _add_noise(W, V, noise, noise_scale, seed, layer)

    eps = 1.0 if mlp.ln is None else mlp.ln.eps / k**2  # without a LayerNorm there is nothing that reads it
    wide = MLP(d_model, k * n_neurons, net.activation, eps, mlp.recompute)
    wide.to(mlp.fc_in.weight).train(mlp.training)
    wide.fc_in.weight.copy_(W.flatten(0, 1))
    wide.fc_in.bias.copy_(mlp.fc_in.bias.repeat_interleave(k))
    wide.fc_out.weight.copy_(V.flatten(0, 1).T)
    wide.fc_out.bias.copy_(mlp.fc_out.bias)
    if mlp.ln is not None and wide.ln is not None:
        wide.ln.weight.copy_(mlp.ln.weight.repeat_interleave(k))
        wide.ln.bias.copy_(mlp.ln.bias.repeat_interleave(k))

    widened = copy.deepcopy(net)
    widened.layers[layer].mlp = wide
    widened.d_mlps[layer] = k * n_neurons
    return widened


def output_scale(activation: str, k: int) -> float:
    """What multiplies the output weights of k copies: 1/k, but 1 for plain SoLU.

    k copies of a SoLU layer also make the softmax's normaliser k times as large, so each copy is 1/k of the neuron
    already. A LayerNorm after it takes that factor out again.

    >>> output_scale("gelu", 10), output_scale("solu", 10), output_scale("solu_ln", 10)
    (0.1, 1.0, 0.1)
    """
    return 1.0 if activation == "solu" else 1.0 / k


def _check(net: Transformer, layer: int, k: int, noise: str, noise_scale: float) -> None:
    if net.attn_only:
        reject("attn_only", True, "False, as a model of attention alone has no MLP to widen")
    if not 0 <= layer < net.n_layers:
        reject("layer", layer, f"0 to n_layers - 1 = {net.n_layers - 1}")
    schemes = get_args(NoiseScheme)
    if noise not in schemes:
        reject("noise", noise, ", ".join(schemes) + did_you_mean(noise, schemes))
    require_positive(k=k)
    if noise == "none":
        return
    if k == 1:
        reject("k", k, f"2 or more with noise {noise}, or noise none: k = 1 is the control of the same width")
    if not 0 < noise_scale < math.inf:
        reject("noise_scale", noise_scale, "a positive number, or noise none")
    if noise in PAIRED and k % 2:
        reject("k", k, f"an even number with noise {noise}")
    if noise == "cancelling_pairs" and net.activation in ("solu", "solu_ln"):
        reject("noise", noise, f"none, zero_sum (exact), antisymmetric, iid (approximate) with {net.activation}")


def _add_noise(W: Tensor, V: Tensor, noise: str, noise_scale: float, seed: int, layer: int) -> None:
    """Change input weights W and output weights V in place, `[n_neurons, k, d_model]` each."""
    n_neurons, k, d_model = W.shape

    def draw(weights: Tensor, part: str, n_draws: int) -> Tensor:
        """`[n_neurons, n_draws, d_model]` noise, of the scale of each neuron's weights."""
        size = noise_scale * weights[:, :1].square().mean(dim=-1, keepdim=True).sqrt()
        normal = keyed_normal(f"widen/layers.{layer}.mlp.{part}", [seed], 0, (n_neurons, n_draws, d_model))[0]
        return size * normal.to(weights)

    if noise == "iid":
        W += draw(W, "fc_in", k)
    elif noise == "antisymmetric":
        W += _plus_and_minus(draw(W, "fc_in", k // 2))
    elif noise == "zero_sum":
        e = draw(V, "fc_out", k)
        V += (e - e.mean(dim=1, keepdim=True)) * math.sqrt(k / (k - 1))  # the root restores the standard deviation
    elif noise == "cancelling_pairs":
        d, e = draw(W, "fc_in", k // 2), draw(V, "fc_out", k // 2)
        W[:, 2:] += d[:, 1:].repeat_interleave(2, dim=1)
        V[:, :2] *= k / 2
        V[:, 2:] = 0
        V += _plus_and_minus(e)


def _plus_and_minus(x: Tensor) -> Tensor:
    """Each of m draws with both signs, x_0, -x_0, x_1, -x_1 and so on: `[n, m, d]` to `[n, 2 m, d]`."""
    return torch.stack((x, -x), dim=2).flatten(1, 2)
