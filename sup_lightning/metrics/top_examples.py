"""The tokens that excite each neuron most, and tokens of every strength, kept while text streams past."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sup_lightning.functional.chunking import row_chunks
from sup_lightning.functional.grouping import first_of_each
from sup_lightning.functional.keyed_random import keyed_hash
from sup_lightning.metrics.shapes import ShapedMetric

OUTSIDE = -1
"""Stands for a token before the start or after the end of its window, or for an example not found yet."""


class Examples(NamedTuple):
    """Examples of each neuron.

    Attributes:
        activations: `[k, n_neurons]` float32; minus infinity where fewer than k were seen.
        windows: `[k, n_neurons]` int64, the number of the window; `OUTSIDE` where fewer were seen.
        positions: `[k, n_neurons]` int64, the place of the token in its window.
        tokens: `[k, n_neurons, before + 1 + after]`; the token that excites is at place `before`.
    """

    activations: Tensor
    windows: Tensor
    positions: Tensor
    tokens: Tensor


class _ExampleStore(ShapedMetric):
    """The k best examples in each of some columns, one for each neuron or stratum of a neuron.

    Ranks exchange what they keep, so the result is that of one rank that sees everything: every choice is by values
    and window numbers, never by the order in which they come. Stores can be merged (`merge_state`).
    """

    is_differentiable = False
    full_state_update = False
    activations: Tensor
    windows: Tensor
    positions: Tensor
    tokens: Tensor

    def __init__(self, n_columns: int, k: int, before: int, after: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.k, self.before, self.after = k, before, after
        for name, state in _nothing(k, n_columns, before + 1 + after)._asdict().items():
            self.add_state(name, state, dist_reduce_fx="cat")

    def _stored(self) -> Examples:
        """What is kept, `[k, n_columns]`; the states of several ranks come stacked or one after the other."""
        n_columns, width = self.tokens.shape[-2:]
        examples = Examples(
            self.activations.reshape(-1, n_columns),
            self.windows.reshape(-1, n_columns),
            self.positions.reshape(-1, n_columns),
            self.tokens.reshape(-1, n_columns, width),
        )
        return examples if len(examples.windows) == self.k else self._best(examples)

    def _enter(self, new: Examples, columns: Tensor) -> None:
        """Let examples `[n, len(columns)]` compete with what is kept in some columns."""
        stored = self._stored()
        here = (each[:, columns] for each in stored)
        best = self._best(Examples(*(torch.cat(both) for both in zip(here, new, strict=True))))
        kept = (old.index_copy(1, columns, each) for old, each in zip(stored, best, strict=True))
        self.activations, self.windows, self.positions, self.tokens = kept

    def _best(self, examples: Examples) -> Examples:
        index = self._order(examples)[: self.k]
        around = index.unsqueeze(-1).expand(-1, -1, examples.tokens.shape[-1])
        return Examples(
            examples.activations.gather(0, index),
            examples.windows.gather(0, index),
            examples.positions.gather(0, index),
            examples.tokens.gather(0, around),
        )

    def _order(self, examples: Examples) -> Tensor:
        """Where the examples of each column are, best first."""
        raise NotImplementedError

    def _context(self, tokens: Tensor, row: Tensor, position: Tensor) -> Tensor:
        """Tokens around positions, `[..., before + 1 + after]`, from `tokens[B, T]`, rows and positions `[...]`."""
        span = torch.arange(self.before + 1 + self.after, device=tokens.device)
        padded = F.pad(tokens, (self.before, self.after), value=OUTSIDE)
        return padded[row.unsqueeze(-1), position.unsqueeze(-1) + span]


def _nothing(k: int, n_columns: int, width: int, device: torch.device | None = None) -> Examples:
    """Places without an example."""
    activations = torch.full((k, n_columns), -torch.inf, device=device)
    windows, positions = (torch.full((k, n_columns), OUTSIDE, device=device) for _ in range(2))
    return Examples(activations, windows, positions, torch.full((k, n_columns, width), OUTSIDE, device=device))


class TopExamples(_ExampleStore):
    """The k windows in which each neuron is most active, each at its strongest token; strongest first.

    One example per window: else one passage would fill the list. Of windows that are equally strong the one with the
    lower number comes first, so that one rank and many keep the same. Takes `(20 + 8 width) k` bytes a neuron.

    Args:
        n_neurons: Size of the last dimension of the activations.
        k: Examples of each neuron.
        before: Tokens of context before the token.
        after: Tokens of context after it.
        kwargs: Arguments of `torchmetrics.Metric`.

    >>> metric = TopExamples(n_neurons=2, k=1, before=1, after=0)
    >>> activations = torch.tensor([[[0.0, 4.0], [3.0, 0.0]], [[2.0, 0.0], [1.0, 0.0]]])
    >>> metric.update(activations, torch.tensor([[10, 11], [12, 13]]), torch.tensor([5, 6]))
    >>> metric.compute().tokens, metric.compute().windows
    (tensor([[[10, 11],
             [-1, 10]]]), tensor([[5, 5]]))
    """

    def __init__(self, n_neurons: int, k: int = 8, before: int = 8, after: int = 2, **kwargs: Any) -> None:
        super().__init__(n_neurons, k, before, after, **kwargs)

    def update(self, activations: Tensor, tokens: Tensor, windows: Tensor) -> None:
        """Add a batch.

        Args:
            activations: `[B, T, n_neurons]`; minus infinity where a token is to be left out.
            tokens: `[B, T]` int64.
            windows: `[B]` int64, the number of each window in the text, the same on every rank.
        """
        strongest, position = activations.float().max(dim=1)
        stored = self._stored()
        better = (strongest > stored.activations[-1]) | (
            (strongest == stored.activations[-1]) & (windows[:, None] < stored.windows[-1])
        )
        columns = better.any(dim=0).nonzero().squeeze(1)
        if not len(columns):
            return  # nothing enters: the usual case after a while
        strongest, position = strongest[:, columns], position[:, columns]
        row = torch.arange(len(tokens), device=tokens.device)[:, None].expand_as(position)
        left_out = strongest == -torch.inf
        numbers, places = (each.masked_fill(left_out, OUTSIDE) for each in (windows[row], position))
        context = self._context(tokens, row, position).masked_fill(left_out.unsqueeze(-1), OUTSIDE)
        self._enter(Examples(strongest, numbers, places, context), columns)

    def compute(self) -> Examples:
        """The strongest examples of everything seen."""
        return self._stored()

    def _order(self, examples: Examples) -> Tensor:
        by_window = examples.windows.argsort(dim=0, stable=True)
        order = examples.activations.gather(0, by_window).argsort(dim=0, descending=True, stable=True)
        return by_window.gather(0, order)


class ExamplesByStrength(_ExampleStore):
    """Tokens drawn at random from each stratum of a neuron's activation, so that weak responses are seen as well.

    Of the tokens in a stratum those with the smallest hash of (window, position) are kept: a random draw that is the
    same for any order, number of batches or ranks. Takes `(20 + 8 width) n_strata n_each` bytes a neuron.
    Neurons that respond alike have the same examples.

    Args:
        edges: `[n_strata - 1, n_neurons]`, ascending activations that part the strata.
        n_each: Tokens of each stratum.
        before: Tokens of context before the token.
        after: Tokens of context after it.
        seed: Picks the draw.
        kwargs: Arguments of `torchmetrics.Metric`.

    >>> metric = ExamplesByStrength(torch.tensor([[1.0]]), n_each=1, before=0, after=0)
    >>> metric.update(torch.tensor([[[0.0], [3.0]]]), torch.tensor([[10, 11]]), torch.tensor([5]))
    >>> metric.compute().tokens.flatten()
    tensor([10, 11])
    """

    edges: Tensor

    def __init__(
        self, edges: Tensor, n_each: int = 5, before: int = 8, after: int = 2, seed: int = 0, **kwargs: Any
    ) -> None:
        n_strata, n_neurons = len(edges) + 1, edges.shape[1]
        super().__init__(n_strata * n_neurons, n_each, before, after, **kwargs)
        self.n_strata, self.n_neurons, self.seed = n_strata, n_neurons, seed
        self.register_buffer("edges", edges.float(), persistent=False)

    def update(self, activations: Tensor, tokens: Tensor, windows: Tensor) -> None:
        """Add a batch.

        Args:
            activations: `[B, T, n_neurons]`; minus infinity where a token is to be left out.
            tokens: `[B, T]` int64.
            windows: `[B]` int64, the number of each window in the text, the same on every rank.
        """
        n_ctx = activations.shape[1]
        place = torch.arange(tokens.numel(), device=tokens.device)
        row, position = place.div(n_ctx, rounding_mode="floor"), place % n_ctx
        priority = self._priority(windows[row], position)
        order = priority.argsort(stable=True)  # so that the first tokens of a stratum are those to keep
        flat = activations.reshape(-1, self.n_neurons)
        for some in row_chunks(*flat.shape):
            token, column, values = self._candidates(flat[order[some]].float(), priority[order[some]])
            columns, index, rank, where = first_of_each(column, self.k)
            at = order[some][token[index]]
            found = (values[index], windows[row[at]], position[at], self._context(tokens, row[at], position[at]))
            new = _nothing(self.k, len(columns), self.tokens.shape[-1], tokens.device)
            for places, each in zip(new, found, strict=True):
                places[rank, where] = each
            self._enter(new, columns)

    def compute(self) -> Examples:
        """The examples, `n_each` of each stratum, weakest stratum first."""
        columns = (self.n_strata, self.n_neurons)
        return Examples(*(each.unflatten(1, columns).transpose(0, 1).flatten(0, 1) for each in self._stored()))

    def _candidates(self, activations: Tensor, priority: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The tokens that a column would rather have than its last one: token, column and activation, in order."""
        stratum = torch.searchsorted(self.edges.T.contiguous(), activations.T.contiguous(), right=True).T
        column = stratum * self.n_neurons + torch.arange(self.n_neurons, device=stratum.device)
        stored = self._stored()
        last = self._priority_of(stored)[-1]
        token, neuron = ((priority[:, None] < last[column]) & (activations > -torch.inf)).nonzero(as_tuple=True)
        return token, column[token, neuron], activations[token, neuron]

    def _order(self, examples: Examples) -> Tensor:
        return self._priority_of(examples).argsort(dim=0, stable=True)

    def _priority_of(self, examples: Examples) -> Tensor:
        priority = self._priority(examples.windows, examples.positions)
        return priority.where(examples.windows != OUTSIDE, torch.iinfo(torch.int64).max)

    def _priority(self, windows: Tensor, positions: Tensor) -> Tensor:
        """A hash of the token's place: those with the least are kept."""
        return keyed_hash("examples by strength", self.seed, (windows << 20) + positions)
