"""What training a transformer will take, known before the first step."""

from dataclasses import dataclass

from sup_lightning.nn.linear_cross_entropy import logits_held
from sup_lightning.nn.transformer import Transformer, neurons_held

NUMBERS_PER_NEURON = {"relu": 1, "gelu": 2, "gelu_new": 2, "silu": 2, "solu": 3, "solu_ln": 4}
"""Numbers that autograd keeps of each neuron and token, for the backward pass."""
STATE_BYTES = 16
"""Of each parameter in float32: itself, its gradient, and Adam's two moments."""


@dataclass(frozen=True)
class Estimate:
    """What training takes.

    Attributes:
        n_parameters: All parameters, a tied one once.
        n_mlp_parameters: Those of the MLPs.
        flops_per_token: Floating-point operations of forward and backward pass, without what is computed twice.
        state_bytes: Parameters, gradients and the optimiser's moments.
        activation_bytes: What is kept and held while one micro-batch is computed, at its peak.
    """

    n_parameters: int
    n_mlp_parameters: int
    flops_per_token: float
    state_bytes: float
    activation_bytes: float

    @property
    def bytes(self) -> float:
        """Of both."""
        return self.state_bytes + self.activation_bytes

    def __str__(self) -> str:
        return (
            f"{self.n_parameters / 1e6:.3g} M parameters ({self.n_mlp_parameters / 1e6:.3g} M in MLPs), "
            f"{self.flops_per_token / 1e6:.3g} MFLOP a token, about {self.bytes / 1e9:.2g} GB "
            f"({self.state_bytes / 1e9:.2g} GB of them weights, gradients and moments)"
        )


def estimate(net: Transformer, n_tokens: int, activation_bytes: int = 4) -> Estimate:
    """Estimate what a training step takes.

    Products of matrices take two operations for each parameter and token, and twice that in the backward pass;
    attention takes 6 T d_attn a layer, as its causal half is skipped.

    Args:
        net: The model.
        n_tokens: Tokens of a micro-batch on one device.
        activation_bytes: Bytes of an activation: 4 in float32, 2 in bfloat16.
    """
    parameters = dict(net.named_parameters())
    in_mlps = sum(p.numel() for name, p in parameters.items() if ".mlp." in name)
    embeddings = net.tok_embed.weight.numel() + (0 if net.pos is None else net.pos.weight.numel())
    products = sum(p.numel() for p in parameters.values() if p.ndim > 1) - embeddings
    products += net.head.weight.numel() if net.tied else 0
    d_attn, device = net.n_heads * net.d_head, net.head.weight.device.type
    n_parameters = sum(p.numel() for p in parameters.values())

    kept = 2 * net.d_model  # the last LayerNorm's input and output
    held = 0.0
    for d_mlp in net.d_mlps:
        kept += (2 if net.attn_only else 4) * net.d_model + 4 * d_attn  # of LayerNorms; queries, keys, values, mix
        if not net.attn_only:
            numbers = (NUMBERS_PER_NEURON[net.activation] + 2) * d_mlp
            if net.recompute_mlp:
                held = max(held, float(numbers * min(n_tokens, neurons_held(device) // d_mlp)))
            else:
                kept += NUMBERS_PER_NEURON[net.activation] * d_mlp
                held = max(held, 2.0 * d_mlp * n_tokens)  # gradients of one layer's activations
    logits = 2 * 4 * min(logits_held(device), n_tokens * net.d_vocab)
    return Estimate(
        n_parameters,
        in_mlps,
        6 * products + 6 * net.n_layers * d_attn * net.n_ctx,
        STATE_BYTES * n_parameters,
        activation_bytes * (kept * n_tokens + held) + logits,
    )
