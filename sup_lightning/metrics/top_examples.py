"""The windows of text that excite each neuron most, kept while they stream past."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

OUTSIDE = -1
"""Stands for a token before the start or after the end of its window, or for an example not found yet."""


class Examples(NamedTuple):
    """The strongest examples of each neuron, strongest first.

    Attributes:
        activations: `[k, n_neurons]` float32; minus infinity where fewer than k windows were seen.
        tokens: `[k, n_neurons, before + 1 + after]`; the token that excites is at place `before`.
    """

    activations: Tensor
    tokens: Tensor


class TopExamples(Metric):
    """The k windows in which each neuron is most active, each at its strongest token.

    One example per window: else one passage would fill the list.

    Args:
        n_neurons: Size of the last dimension of the activations.
        k: Examples of each neuron.
        before: Tokens of context before the token.
        after: Tokens of context after it.
        kwargs: Arguments of `torchmetrics.Metric`.

    >>> metric = TopExamples(n_neurons=1, k=1, before=1, after=0)
    >>> metric.update(torch.tensor([[[0.0], [3.0]], [[2.0], [1.0]]]), torch.tensor([[10, 11], [12, 13]]))
    >>> metric.compute().tokens
    tensor([[[10, 11]]])
    """

    is_differentiable = False
    full_state_update = False
    activations: Tensor
    tokens: Tensor

    def __init__(self, n_neurons: int, k: int = 8, before: int = 8, after: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.k, self.before, self.after = k, before, after
        context = torch.full((k, n_neurons, before + 1 + after), OUTSIDE)
        self.add_state("activations", torch.full((k, n_neurons), -torch.inf), dist_reduce_fx="cat")
        self.add_state("tokens", context, dist_reduce_fx="cat")

    def update(self, activations: Tensor, tokens: Tensor) -> None:
        """Add a batch.

        Args:
            activations: `[B, T, n_neurons]`.
            tokens: `[B, T]` int64.
        """
        strongest, place = activations.float().max(dim=1)
        span = torch.arange(self.before + 1 + self.after, device=tokens.device)
        padded = F.pad(tokens, (self.before, self.after), value=OUTSIDE)
        window = torch.arange(len(tokens), device=tokens.device)[:, None, None]
        context = padded[window, place[:, :, None] + span]
        best = self._best(torch.cat([self.activations, strongest]), torch.cat([self.tokens, context]))
        self.activations, self.tokens = best

    def compute(self) -> Examples:
        """The strongest examples of everything seen."""
        # From several ranks the states come stacked, with a rank dimension in front.
        n_neurons, width = self.tokens.shape[-2:]
        return self._best(self.activations.reshape(-1, n_neurons), self.tokens.reshape(-1, n_neurons, width))

    def _best(self, activations: Tensor, tokens: Tensor) -> Examples:
        values, index = activations.topk(self.k, dim=0)
        return Examples(values, tokens.gather(0, index[:, :, None].expand(-1, -1, tokens.shape[-1])))
