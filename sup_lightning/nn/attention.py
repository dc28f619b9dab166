"""One attention layer that reads a bag of tokens and outputs what its heads write: a toy of attention heads."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sup_lightning.errors import reject, require_positive
from sup_lightning.nn.activations import ToyActivationName, get_toy_activation
from sup_lightning.nn.toy import ToyNetwork

OPEN = 0.1
"""Scale of W_O at the start, over Xavier's, and the output bias there: every ReLU is on, and none dies at once."""


class AttentionModel(ToyNetwork):
    """y = g(sum_h sum_t α_h(B, t) V_h(t) + b): heads that attend from the current token B to the tokens t of a context.

    The first n_context = n_features - n_destinations features count the context's tokens, the last n_destinations say
    which token is the current one (`data.SkipTrigramContexts`). A head attends to a token by exp(Q_h(B) · K_h(t) /
    sqrt(d_head)) times its count, which is the softmax over positions of attention without positional embeddings. What
    it writes is V_h(t) = W_V W_O. Embeddings are one-hot, so that nothing but heads can be in superposition; the
    current token is not attended to and has no direct path to the output, so all that is known of it went through α.

    Scores and writes of a head are matrices of rank d_head; with d_head of the number of tokens or more they are free.

    Args:
        n_features: Tokens of the context and destinations.
        seeds: Seed of each instance.
        n_heads: Number of heads.
        d_head: Width of each head's queries, keys and values.
        n_destinations: Tokens that can be the current one.
        n_outputs: Tokens that can follow; as many as destinations if left out.
        activation: Of the output, g.
    """

    def __init__(
        self,
        n_features: int,
        seeds: Sequence[int],
        n_heads: int = 3,
        d_head: int = 16,
        n_destinations: int = 6,
        n_outputs: int | None = None,
        activation: ToyActivationName = "relu",
    ) -> None:
        require_positive(n_heads=n_heads, d_head=d_head, n_destinations=n_destinations)
        if n_features <= n_destinations:
            reject("n_features", n_features, f"more than the {n_destinations} destinations")
        super().__init__(n_features, seeds, n_heads * d_head, n_destinations if n_outputs is None else n_outputs)
        self._output_function = get_toy_activation("activation", activation)
        self.activation = activation
        self.n_heads, self.d_head, self.n_destinations = n_heads, d_head, n_destinations
        n_context = n_features - n_destinations
        self.W_Q = self.xavier_normal("W_Q", n_heads, n_destinations, d_head)
        self.W_K = self.xavier_normal("W_K", n_heads, n_context, d_head)
        self.W_V = self.xavier_normal("W_V", n_heads, n_context, d_head)
        self.W_O = self.xavier_normal("W_O", n_heads, d_head, self.n_outputs)
        self.b = self.zeros(self.n_outputs)
        with torch.no_grad():
            self.W_O.mul_(OPEN)
            self.b.fill_(OPEN)

    def scores(self) -> Tensor:
        """QK circuit: of each destination for each token, `[n_instances, n_heads, n_destinations, n_context]`."""
        return self.W_Q @ self.W_K.mT / self.d_head**0.5

    def writes(self) -> Tensor:
        """OV circuit: what a head adds if it attends to one token, `[n_instances, n_heads, n_context, n_outputs]`."""
        return self.W_V @ self.W_O

    def attention(self, features: Tensor) -> Tensor:
        """How much each head attends to each token, `[n_instances, batch, n_heads, n_context]`; adds up to 1."""
        counts, current = features.tensor_split([self.n_features - self.n_destinations], dim=-1)
        scores = self.scores().movedim(2, 1)  # [n_instances, n_destinations, n_heads, n_context]
        of_current = (current @ scores.flatten(2)).unflatten(-1, scores.shape[2:])
        return (of_current + counts.log().unsqueeze(-2)).softmax(dim=-1)

    def head_outputs(self, features: Tensor) -> Tensor:
        """What each head adds to the output before g, `[n_instances, batch, n_heads, n_outputs]`."""
        return torch.einsum("ibht,ihto->ibho", self.attention(features), self.writes())

    def readout(self, total: Tensor) -> Tensor:
        """The output from the sum of what heads add, `[..., n_instances, batch, n_outputs]`."""
        return self._output_function(total + self.b.unsqueeze(-2))

    def forward(self, features: Tensor, keep: Tensor | None = None) -> Tensor:
        attention = self.attention(features)
        if keep is None:
            return self.readout(attention.flatten(2) @ self.writes().flatten(1, 2))
        hidden = torch.einsum("ibht,ihtd->ibhd", attention, self.W_V).flatten(2) * keep
        return self.readout(hidden @ self.W_O.flatten(1, 2))

    def feature_directions(self) -> Tensor:
        """The values of all heads beside each other; a destination is never a value, so its row is 0."""
        values = self.W_V.movedim(1, 2).flatten(2)
        return torch.cat([values, values.new_zeros(self.n_instances, self.n_destinations, self.n_hidden)], dim=1)
