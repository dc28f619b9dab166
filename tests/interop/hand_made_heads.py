"""Two layers of attention whose circuit is written by hand, so that what the heads do is known."""

import torch
from torch import Tensor

from sup_lightning.functional.codebook import gaussian_code
from sup_lightning.nn.transformer import Transformer

SHARP = 5.0


def unit_code(n_tokens: int, d: int, seed: int = 0) -> Tensor:
    """Random directions, `[n_tokens, d]` float32."""
    code = gaussian_code(n_tokens, d, seed).float()
    return code / code.norm(dim=1, keepdim=True)


@torch.no_grad()
def hand_made(
    d_vocab: int = 24,
    n_ctx: int = 24,
    d_head: int = 16,
    delta: int = 1,
    fixed_period: int | None = None,
    values: Tensor | None = None,
    keys: Tensor | None = None,
    strength: float = 1.0,
) -> Transformer:
    """An induction circuit, or one that copies from a fixed distance. The other two heads do nothing at `delta` 1.

    The residual stream is [token one-hot | position one-hot | key buffer | value buffer | output one-hot]. L0H0 attends
    `delta` back and writes the token's key code into the key buffer; L1H0 looks for the present token's key code there,
    and writes out the token that it finds: at `delta` 1 the one at that place, by its value code; at 2 the one before,
    which L0H1 has put into the value buffer.

    Args:
        d_vocab: Number of tokens.
        n_ctx: Longest sequence.
        d_head: Width of heads and buffers.
        delta: 1 for the standard circuit, 2 for the shifted one.
        fixed_period: If given, L1H0 attends to the place that is right for blocks of this length, whatever is there.
        values: Code of each token in the head's values, `[d_vocab, d_head]`; random directions if left out.
        keys: The same in its keys.
        strength: Of what L1H0 writes.
    """
    widths = [d_vocab, n_ctx, d_head, d_head, d_vocab]
    d_model = sum(widths)
    token, position, key, value, output = torch.arange(d_model).split(widths)
    net = Transformer(2, d_model, 2, d_vocab, n_ctx, d_head=d_head, attn_only=True, ln_eps=1e-8)
    for name, parameter in net.named_parameters():
        if not (".ln" in f".{name}" and name.endswith("weight")):
            parameter.zero_()
    net.tok_embed.weight[:, token] = torch.eye(d_vocab)
    net.pos.weight[:, position] = torch.eye(n_ctx)
    net.head.weight[:, output] = SHARP * torch.eye(d_vocab)
    keys = unit_code(d_vocab, d_head, 1) if keys is None else keys
    values = unit_code(d_vocab, d_head, 2) if values is None else values
    unit = torch.eye(d_head)
    gain = (d_model / 2) ** 0.5  # of the first LayerNorm, about: two ones in d_model entries

    def set_head(layer: int, head: int, **maps: tuple[Tensor, Tensor]) -> None:
        """Write maps from (or, of the output, to) some dimensions of the residual stream."""
        rows = torch.arange(head * d_head, (head + 1) * d_head)
        for part, (dimensions, weight) in maps.items():
            matrix = getattr(net.layers[layer].attn, part).weight
            if part == "o":
                matrix[dimensions.unsqueeze(1), rows] = weight.T
            else:
                matrix[rows.unsqueeze(1), dimensions] = weight.T

    def looks_back(distance: int) -> dict[str, tuple[Tensor, Tensor]]:
        place = torch.arange(n_ctx)
        return {
            "q": (position, SHARP * _waves(place - distance, d_head, n_ctx)),
            "k": (position, _waves(place, d_head, n_ctx)),
        }

    set_head(0, 0, v=(token, keys), o=(key, unit / gain), **looks_back(delta))
    if delta == 2:
        set_head(0, 1, v=(token, values), o=(value, unit / gain), **looks_back(1))
    if fixed_period is None:
        set_head(1, 0, q=(token, SHARP * keys), k=(key, unit))
    else:
        set_head(1, 0, **looks_back(fixed_period - 1))
    read = (token, values) if delta == 1 else (value, unit)
    set_head(1, 0, v=read, o=(output, strength * values.T))
    return net.eval()


def _waves(place: Tensor, d_head: int, n_ctx: int) -> Tensor:
    """Codes of positions whose inner products fall off with their distance, `[n, d_head]`."""
    frequency = torch.arange(1, d_head // 2 + 1) * torch.pi / n_ctx
    angle = place.unsqueeze(1) * frequency
    return torch.cat([angle.cos(), angle.sin()], dim=1)
