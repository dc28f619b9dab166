"""The tokens that excite each neuron most, and tokens of every strength, kept while text streams past."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

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


class _ExampleStore(Metric):
    """Examples of each neuron, with what decides which are kept.

    Ranks exchange what they keep, so the result is that of one rank that sees everything: every choice is by values
    and window numbers, never by the order in which they come.
    """

    is_differentiable = False
    full_state_update = False
    activations: Tensor
    windows: Tensor
    positions: Tensor
    tokens: Tensor

    def __init__(self, n_neurons: int, k: int, before: int, after: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.k, self.before, self.after = k, before, after
        nothing = torch.full((k, n_neurons), OUTSIDE)
        self.add_state("activations", torch.full((k, n_neurons), -torch.inf), dist_reduce_fx="cat")
        self.add_state("windows", nothing, dist_reduce_fx="cat")
        self.add_state("positions", nothing.clone(), dist_reduce_fx="cat")
        context = torch.full((k, n_neurons, before + 1 + after), OUTSIDE)
        self.add_state("tokens", context, dist_reduce_fx="cat")

    def _kept(self) -> Examples:
        return Examples(self.activations, self.windows, self.positions, self.tokens)

    def _keep(self, examples: Examples) -> None:
        self.activations, self.windows, self.positions, self.tokens = examples

    def _all_ranks(self) -> Examples:
        """From several ranks the states come stacked, with a rank dimension in front."""
        n_neurons, width = self.tokens.shape[-2:]
        return Examples(
            self.activations.reshape(-1, n_neurons),
            self.windows.reshape(-1, n_neurons),
            self.positions.reshape(-1, n_neurons),
            self.tokens.reshape(-1, n_neurons, width),
        )

    def _context(self, tokens: Tensor, row: Tensor, position: Tensor) -> Tensor:
        """Tokens around positions, `[..., before + 1 + after]`, from `tokens[B, T]`, rows and positions `[...]`."""
        span = torch.arange(self.before + 1 + self.after, device=tokens.device)
        padded = F.pad(tokens, (self.before, self.after), value=OUTSIDE)
        return padded[row.unsqueeze(-1), position.unsqueeze(-1) + span]


def _joined(one: Examples, other: Examples) -> Examples:
    return Examples(*(torch.cat(parts) for parts in zip(one, other, strict=True)))


def _chosen(examples: Examples, index: Tensor) -> Examples:
    """The examples at places `[k, n_neurons]`."""
    return Examples(
        examples.activations.gather(0, index),
        examples.windows.gather(0, index),
        examples.positions.gather(0, index),
        examples.tokens.gather(0, index.unsqueeze(-1).expand(-1, -1, examples.tokens.shape[-1])),
    )


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
            activations: `[B, T, n_neurons]`.
            tokens: `[B, T]` int64.
            windows: `[B]` int64, the number of each window in the text, the same on every rank.
        """
        strongest, position = activations.float().max(dim=1)
        if not len(windows) or bool((strongest < self.activations[-1]).all()):
            return  # nothing enters: the usual case after a while
        row = torch.arange(len(tokens), device=tokens.device)[:, None].expand_as(position)
        new = Examples(strongest, windows[row], position, self._context(tokens, row, position))
        self._keep(self._strongest(_joined(self._kept(), new)))

    def compute(self) -> Examples:
        """The strongest examples of everything seen."""
        return self._strongest(self._all_ranks())

    def _strongest(self, examples: Examples) -> Examples:
        by_window = examples.windows.argsort(dim=0, stable=True)
        order = examples.activations.gather(0, by_window).argsort(dim=0, descending=True, stable=True)
        return _chosen(examples, by_window.gather(0, order)[: self.k])


class ExamplesByStrength(_ExampleStore):
    """Tokens drawn at random from each stratum of a neuron's activation, so that weak responses are seen as well.

    Of the tokens in a stratum those with the smallest hash of (window, position) are kept: a random draw that is the
    same for any order, number of batches or ranks. Takes `(20 + 8 width) n_strata n_each` bytes a neuron.

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
        super().__init__(n_neurons, n_strata * n_each, before, after, **kwargs)
        self.n_strata, self.n_each, self.seed = n_strata, n_each, seed
        self.register_buffer("edges", edges.float(), persistent=False)

    def update(self, activations: Tensor, tokens: Tensor, windows: Tensor) -> None:
        """Add a batch.

        Args:
            activations: `[B, T, n_neurons]`.
            tokens: `[B, T]` int64.
            windows: `[B]` int64, the number of each window in the text, the same on every rank.
        """
        if not len(windows):
            return
        n_ctx, n_neurons = activations.shape[1:]
        flat = activations.float().reshape(-1, n_neurons)
        place = torch.arange(len(flat), device=flat.device)
        row, position = place.div(n_ctx, rounding_mode="floor"), place % n_ctx
        stratum_of = self._stratum(flat)
        priority = self._priority(windows[row], position)
        for stratum in range(self.n_strata):
            inside = stratum_of == stratum
            n_new = min(self.n_each, len(flat))
            found = priority[:, None].where(inside, LAST).topk(n_new, dim=0, largest=False)
            empty = found.values == LAST
            at, where = row[found.indices], position[found.indices]
            context = self._context(tokens, at, where)
            new = Examples(
                flat.gather(0, found.indices).masked_fill(empty, -torch.inf),
                windows[at].masked_fill(empty, OUTSIDE),
                where.masked_fill(empty, OUTSIDE),
                context.masked_fill(empty.unsqueeze(-1), OUTSIDE),
            )
            part = slice(stratum * self.n_each, (stratum + 1) * self.n_each)
            kept = Examples(*(each[part] for each in self._kept()))
            for state, chosen in zip(self._kept(), self._drawn(_joined(kept, new)), strict=True):
                state[part] = chosen

    def compute(self) -> Examples:
        """The examples, `n_each` of each stratum, weakest stratum first."""
        examples = self._all_ranks()
        stratum = torch.arange(len(examples.activations), device=examples.activations.device)
        stratum = stratum.div(self.n_each, rounding_mode="floor") % self.n_strata  # whichever rank it is from
        parts = [
            self._drawn(Examples(*(each[stratum == number] for each in examples))) for number in range(self.n_strata)
        ]
        return Examples(*(torch.cat(each) for each in zip(*parts, strict=True)))

    def _stratum(self, activations: Tensor) -> Tensor:
        return (activations.unsqueeze(0) >= self.edges.unsqueeze(1)).sum(dim=0)

    def _drawn(self, examples: Examples) -> Examples:
        priority = self._priority(examples.windows, examples.positions).where(examples.windows >= 0, LAST)
        return _chosen(examples, priority.argsort(dim=0, stable=True)[: self.n_each])

    def _priority(self, windows: Tensor, positions: Tensor) -> Tensor:
        """A hash of the token's place, in [0, LAST): SplitMix64 (Steele et al. 2014)."""
        x = (windows << 20) + positions + (self.seed + 1) * -7046029254386353131
        for shift, factor in ((30, -4658895280553007687), (27, -7723592293110705685)):
            x = (x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))) * factor
        return (x ^ ((x >> 31) & ((1 << 33) - 1))) & (LAST - 1)


LAST = 2**62
"""Above every priority."""
