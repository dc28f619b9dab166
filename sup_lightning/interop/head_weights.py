"""The weights of attention heads as they act on the residual stream, with the LayerNorm before them folded in."""

from typing import Any, NamedTuple

from torch import Tensor

from sup_lightning.errors import reject
from sup_lightning.functional.low_rank import LowRank
from sup_lightning.nn.transformer import Transformer


class HeadWeights(NamedTuple):
    """Weights of the heads of a layer, float64, vectors as rows: `x W_V W_O`.

    A LayerNorm takes off the mean of the residual stream and scales it by its weights; both are in the weights here, so
    that what is left of it is a division by its standard deviation, and its bias.

    Attributes:
        W_Q: `[n_heads, d_model, d_head]`.
        W_K: `[n_heads, d_model, d_head]`.
        W_V: `[n_heads, d_model, d_head]`.
        W_O: `[n_heads, d_head, d_model]`.
    """

    W_Q: Tensor
    W_K: Tensor
    W_V: Tensor
    W_O: Tensor

    def ov(self, head: int) -> LowRank:
        """What a head writes of what it looks at, W_V W_O."""
        return LowRank(self.W_V[head], self.W_O[head])

    def keys(self, head: int) -> LowRank:
        """What a head's scores read of a key, W_K W_Qᵀ; transposed, of a query. Rotary positions come in between."""
        return LowRank(self.W_K[head], self.W_Q[head].mT)


def head_weights(net: Transformer, layer: int) -> HeadWeights:
    """The weights of the heads of a layer.

    >>> head_weights(Transformer(n_layers=1, d_model=8, n_heads=2, d_vocab=5, n_ctx=4), 0).W_O.shape
    torch.Size([2, 4, 8])
    """
    if not 0 <= layer < net.n_layers:
        reject("layer", layer, f"0 to {net.n_layers - 1}")
    block: Any = net.layers[layer]
    gain = block.ln1.weight.detach().double()
    shape = (net.n_heads, net.d_head)

    def reads(part: Any) -> Tensor:
        folded = _centred(part.weight.detach().double().mT * gain.unsqueeze(1), 0)
        return folded.unflatten(1, shape).transpose(0, 1)

    writes = _centred(block.attn.o.weight.detach().double(), 0).mT.unflatten(0, shape)
    return HeadWeights(reads(block.attn.q), reads(block.attn.k), reads(block.attn.v), writes)


def token_embeddings(net: Transformer) -> Tensor:
    """What the tokens put into the residual stream, without the mean over it, `[d_vocab, d_model]` float64."""
    return _centred(net.tok_embed.weight.detach().double(), 1)


def unembedding(net: Transformer) -> Tensor:
    """Logits of what is in the residual stream, with the last LayerNorm folded in, `[d_model, d_vocab]` float64."""
    gain = net.ln_out.weight.detach().double()
    return _centred(net.head.weight.detach().double().mT * gain.unsqueeze(1), 0)


def _centred(weight: Tensor, dim: int) -> Tensor:
    return weight - weight.mean(dim=dim, keepdim=True)
