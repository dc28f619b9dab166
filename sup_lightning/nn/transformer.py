"""A lean pre-LayerNorm transformer whose parameters are named as those of TransformerLens' native model.

So a state dict loads strictly there (`sup_lightning.interop.transformer_lens`), while training runs on fused attention
and without hooks on every activation.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sup_lightning.errors import UserError, reject, require_positive
from sup_lightning.functional.keyed_random import keyed_normal
from sup_lightning.nn.activations import get_activation, has_mid_layernorm
from sup_lightning.nn.linear_cross_entropy import linear_cross_entropy, token_losses
from sup_lightning.nn.recomputation import in_parts, run_in_parts

Number = TypeVar("Number", int, float)

InitName = Literal["by_width", "published", "sinusoidal"]

CPU_NEURONS, DEVICE_NEURONS = 2**22, 2**28
"""Most activations that an MLP holds at once if it recomputes: 16 MB in float32 on a CPU, to fit its cache."""


def neurons_held(device: str) -> int:
    """Most activations that an MLP which recomputes holds at once on a type of device."""
    return CPU_NEURONS if device == "cpu" else DEVICE_NEURONS


def _of_each_layer(name: str, value: Number | Sequence[Number], n_layers: int) -> list[Number]:
    """One value for each layer, from one for all or a list."""
    if not isinstance(value, Sequence):
        return [value] * n_layers
    if len(value) != n_layers:
        reject(name, list(value), f"one number, or one for each of {n_layers} layers")
    return list(value)


def sinusoids(n_ctx: int, d_model: int, base: float = 200.0) -> Tensor:
    """Sines and cosines of the position (Vaswani et al. 2017), `[n_ctx, d_model]`; wavelengths from 2π to 2π base.

    >>> sinusoids(3, 2)
    tensor([[ 0.0000,  1.0000],
            [ 0.8415,  0.5403],
            [ 0.9093, -0.4161]])
    """
    frequency = 1.0 / base ** (torch.arange(0, d_model, 2).float() / d_model)
    angle = torch.outer(torch.arange(n_ctx).float(), frequency)
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(-2)[:, :d_model]


class Rotary(nn.Module):
    """Rotary position embedding (Su et al. 2021, "RoFormer"): the i-th pair turns by position / 10000^(2i/d_head).

    Args:
        n_ctx: Longest sequence.
        d_head: Size of a head, even; all of it is rotated.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, n_ctx: int, d_head: int) -> None:
        super().__init__()
        frequency = 1.0 / 10000 ** (torch.arange(0, d_head, 2).float() / d_head)
        angle = torch.outer(torch.arange(n_ctx).float(), frequency).repeat_interleave(2, dim=-1)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Rotate `[..., T, d_head]` queries or keys."""
        cos, sin = self.cos[: x.shape[-2]].to(x.dtype), self.sin[: x.shape[-2]].to(x.dtype)
        turned = torch.stack((-x[..., 1::2], x[..., 0::2]), dim=-1).flatten(-2)
        return x * cos + turned * sin


class Attention(nn.Module):
    """Causal self-attention.

    Args:
        d_model: Width of the residual stream.
        n_heads: Number of heads.
        d_head: Size of a head.
        rotary: Applied to queries and keys, if any.
    """

    def __init__(self, d_model: int, n_heads: int, d_head: int, rotary: Rotary | None) -> None:
        super().__init__()
        self.n_heads, self.d_head = n_heads, d_head
        self.q = nn.Linear(d_model, n_heads * d_head)
        self.k = nn.Linear(d_model, n_heads * d_head)
        self.v = nn.Linear(d_model, n_heads * d_head)
        self.o = nn.Linear(n_heads * d_head, d_model)
        self.rotary = rotary

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T, d_model]` to `[B, T, d_model]`."""
        q, k, v = (
            part(x).unflatten(-1, (self.n_heads, self.d_head)).transpose(1, 2) for part in (self.q, self.k, self.v)
        )
        if self.rotary is not None:
            q, k = self.rotary(q), self.rotary(k)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o(mixed.transpose(1, 2).flatten(-2))


class MLP(nn.Module):
    """Two linear maps with an activation between them, and a LayerNorm after it for `solu_ln`.

    `hook_post` does nothing; it is where hooks find the neurons' activations.

    Args:
        d_model: Width of the residual stream.
        d_mlp: Number of neurons.
        activation: A name of `sup_lightning.nn.activations`.
        mid_ln_eps: Epsilon of the LayerNorm over the neurons.
        recompute: Whether training computes activations again in the backward pass, for some tokens at a time, so that
            they never take more memory than those of a few tokens.
    """

    def __init__(self, d_model: int, d_mlp: int, activation: str, mid_ln_eps: float, recompute: bool = False) -> None:
        super().__init__()
        self.fc_in = nn.Linear(d_model, d_mlp)
        self.activation = get_activation(activation)
        self.ln = nn.LayerNorm(d_mlp, eps=mid_ln_eps) if has_mid_layernorm(activation) else None
        self.hook_post = nn.Identity()
        self.fc_out = nn.Linear(d_mlp, d_model)
        self.d_mlp, self.recompute = d_mlp, recompute
        self._for_training: Callable[[Tensor], Tensor] = self._forward

    def compile_for_training(self) -> None:
        """Compile what training runs; its first call then takes seconds. Evaluation stays open to hooks."""
        self._for_training = torch.compile(self._forward, dynamic=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T, d_model]` to `[B, T, d_model]`."""
        if not torch.is_grad_enabled() and self.recompute:
            return self.fc_out(self.hook_post(self._post_in_parts(x)))
        if not (self.training and torch.is_grad_enabled()) or self.hook_post._forward_hooks:
            return self._forward(x)
        if not self.recompute:
            return self._for_training(x)
        return in_parts(self._for_training, self._weights, x, self._tokens_held(x))

    def _forward(self, x: Tensor) -> Tensor:
        return self.fc_out(self.hook_post(self._post(x)))

    def _post(self, x: Tensor) -> Tensor:
        """What `hook_post` sees, `[..., d_mlp]`."""
        post = self.activation(self.fc_in(x))
        return post if self.ln is None else self.ln(post)

    def _post_in_parts(self, x: Tensor) -> Tensor:
        """The same, without ever holding what comes before the activation for all tokens at once."""
        return run_in_parts(self._post, x.flatten(0, -2), self._tokens_held(x)).view(*x.shape[:-1], self.d_mlp)

    def _tokens_held(self, x: Tensor) -> int:
        """How many tokens' neurons may be held at once."""
        return max(1, neurons_held(x.device.type) // self.d_mlp)

    def _weights(self) -> list[Tensor]:
        """What is trained, as the layers hold it now: a sharded model has other tensors in each pass."""
        layers: list[nn.Module] = [self.fc_in, self.fc_out, *([] if self.ln is None else [self.ln])]
        weights = [getattr(layer, name) for layer in layers for name in ("weight", "bias")]
        return [weight for weight in weights if weight.requires_grad]


class Block(nn.Module):
    """One layer: attention, then the MLP if there is one, each added to the residual stream."""

    def __init__(self, attn: Attention, mlp: MLP | None, d_model: int, ln_eps: float, dropout: float) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(d_model, eps=ln_eps)
        self.attn = attn
        if mlp is not None:
            self.ln2 = nn.LayerNorm(d_model, eps=ln_eps)
        self.mlp = mlp
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T, d_model]` to `[B, T, d_model]`."""
        x = x + self.dropout(self.attn(self.ln1(x)))
        if self.mlp is not None:
            x = x + self.dropout(self.mlp(self.ln2(x)))
        return x


class Transformer(nn.Module):
    """Decoder-only pre-LayerNorm language model.

    Initial weights are a function of (seed, parameter name): two models that differ in the activation, or in the number
    of layers, share every parameter that both have, up to the depth's scale. Standard deviations are 0.02, and 0.01 for
    positions; what writes to the residual stream is scaled as `init` says.

    Args:
        n_layers: Number of layers.
        d_model: Width of the residual stream.
        n_heads: Attention heads per layer.
        d_vocab: Number of tokens.
        n_ctx: Longest sequence.
        d_head: Size of a head; `d_model / n_heads` if not given.
        d_mlp: Neurons per layer, for all layers or for each; `4 d_model` if not given.
        activation: Of the MLP: gelu, gelu_new, relu, silu, solu or solu_ln.
        attn_only: Whether to leave the MLPs out.
        positions: `learned` or `rotary`.
        tied: Whether the unembedding is the embedding.
        dropout: Probability of dropping an element of the embedding and of what a layer adds.
        ln_eps: Epsilon of the LayerNorms on the residual stream.
        mid_ln_eps: Epsilon of the LayerNorm over the neurons (`solu_ln`), for all layers or for each.
        init: `by_width` divides output projections by sqrt(2 n_layers), as GPT-2, and multiplies those of MLPs by
            sqrt(4 d_model / d_mlp), so that what an MLP adds does not grow with its width; `published` divides by
            sqrt(n_layers), as the code that trained the published one- to four-layer models. `sinusoidal` is for small
            models that are to attend to neighbours early: all standard deviations are 0.1, and learned positions begin
            as sines and cosines.
        recompute_mlp: Whether training computes the neurons' activations again in the backward pass, a few tokens at a
            time: bounded memory for very wide MLPs, and on a CPU no slower.
        seed: Of the initial weights.
    """

    def __init__(
        self,
        n_layers: int,
        d_model: int,
        n_heads: int,
        d_vocab: int,
        n_ctx: int,
        d_head: int | None = None,
        d_mlp: int | Sequence[int] | None = None,
        activation: str = "gelu",
        attn_only: bool = False,
        positions: str = "learned",
        tied: bool = False,
        dropout: float = 0.0,
        ln_eps: float = 1e-5,
        mid_ln_eps: float | Sequence[float] = 1e-5,
        init: InitName = "by_width",
        recompute_mlp: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        require_positive(n_layers=n_layers, d_model=d_model, n_heads=n_heads, d_vocab=d_vocab, n_ctx=n_ctx)
        if d_head is None:
            if d_model % n_heads:
                reject("n_heads", n_heads, f"a divisor of d_model = {d_model}, or give d_head")
            d_head = d_model // n_heads
        d_mlps = _of_each_layer("d_mlp", 4 * d_model if d_mlp is None else d_mlp, n_layers)
        mid_ln_epss = _of_each_layer("mid_ln_eps", mid_ln_eps, n_layers)
        require_positive(d_head=d_head, d_mlp=min(d_mlps))
        if positions not in ("learned", "rotary"):
            reject("positions", positions, "learned, rotary")
        if positions == "rotary" and d_head % 2:
            reject("d_head", d_head, "an even number with rotary positions")
        if init not in get_args(InitName):
            reject("init", init, ", ".join(get_args(InitName)))
        if init == "sinusoidal" and positions != "learned":
            reject("init", init, f"by_width or published with {positions} positions")
        if not 0 <= dropout < 1:
            reject("dropout", dropout, "a number in [0, 1)")
        for name, eps in {"ln_eps": ln_eps, "mid_ln_eps": min(mid_ln_epss)}.items():
            if not eps > 0:
                reject(name, eps, "a positive number")
        get_activation(activation)  # rejects an unknown name, also where there is no MLP

        self.n_layers, self.d_model, self.n_heads, self.d_head = n_layers, d_model, n_heads, d_head
        self.d_vocab, self.n_ctx, self.d_mlps = d_vocab, n_ctx, d_mlps
        self.activation, self.attn_only, self.positions, self.tied = activation, attn_only, positions, tied
        self.ln_eps, self.init, self.recompute_mlp = ln_eps, init, recompute_mlp

        self.tok_embed = nn.Embedding(d_vocab, d_model)
        self.pos = nn.Embedding(n_ctx, d_model) if positions == "learned" else None
        rotary = Rotary(n_ctx, d_head) if positions == "rotary" else None
        self.layers = nn.ModuleList(
            Block(
                Attention(d_model, n_heads, d_head, rotary),
                None if attn_only else MLP(d_model, width, activation, eps, recompute_mlp),
                d_model,
                ln_eps,
                dropout,
            )
            for width, eps in zip(d_mlps, mid_ln_epss, strict=True)
        )
        self.ln_out = nn.LayerNorm(d_model, eps=ln_eps)
        self.head = nn.Linear(d_model, d_vocab, bias=False)
        if tied:
            self.head.weight = self.tok_embed.weight
        self.dropout = nn.Dropout(dropout)
        self.reset_parameters(seed)

    @torch.no_grad()
    def reset_parameters(self, seed: int) -> None:
        """Set the initial weights of `seed`."""
        for name, parameter in self.named_parameters():
            if name == "pos.weight" and self.init == "sinusoidal":
                parameter.copy_(sinusoids(self.n_ctx, self.d_model).mul_(0.1))
            elif parameter.ndim > 1:
                std = self._initial_std(name)
                parameter.copy_(keyed_normal(f"init/{name}", [seed], 0, parameter.shape)[0].mul_(std))
            else:  # biases and LayerNorms
                parameter.fill_(1.0 if ".ln" in f".{name}" and name.endswith("weight") else 0.0)

    def _initial_std(self, name: str) -> float:
        if self.init == "sinusoidal":
            return 0.1
        if name == "pos.weight":
            return 0.01
        writes, by_width = name.endswith(("attn.o.weight", "mlp.fc_out.weight")), self.init == "by_width"
        std = 0.02 / math.sqrt(self.n_layers * (2 if by_width else 1)) if writes else 0.02
        if by_width and name.endswith("mlp.fc_out.weight"):
            std *= math.sqrt(4 * self.d_model / self.d_mlps[int(name.split(".")[1])])
        return std

    def compile_for_training(self) -> None:
        """Compile what training spends its time on besides matrix products: the MLPs."""
        for part in self.modules():
            if isinstance(part, MLP):
                part.compile_for_training()

    def hidden(self, tokens: Tensor) -> Tensor:
        """The normalised residual stream that the unembedding reads.

        Args:
            tokens: `[B, T]` int64, T at most `n_ctx`.

        Returns:
            `[B, T, d_model]`.
        """
        n_tokens = tokens.shape[-1]
        if n_tokens > self.n_ctx:
            raise UserError(f"the sequence has {n_tokens} tokens; allowed: at most n_ctx = {self.n_ctx}")
        x = self.tok_embed(tokens)
        if self.pos is not None:
            x = x + self.pos.weight[:n_tokens]
        x = self.dropout(x)
        for layer in self.layers:
            x = layer(x)
        return self.ln_out(x)

    def forward(self, tokens: Tensor) -> Tensor:
        """`[B, T]` tokens to `[B, T, d_vocab]` logits."""
        return self.head(self.hidden(tokens))

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of the targets in nats, for training; the logits are never held all at once.

        Args:
            tokens: `[B, T]` int64.
            targets: `[B, T]` int64, the token that follows each.

        Returns:
            A scalar in float32 or wider.
        """
        return linear_cross_entropy(self.hidden(tokens).flatten(0, 1), self.head.weight, targets.flatten())

    @torch.no_grad()
    def token_losses(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of each target in nats, `[B, T]`, without a gradient; arguments as for `loss`."""
        flat = token_losses(self.hidden(tokens).flatten(0, 1), self.head.weight, targets.flatten())
        return flat.view_as(targets)
