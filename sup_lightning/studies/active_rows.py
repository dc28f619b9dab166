"""Expected losses of sparse features from rows in which something fires: the others all cost the same."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from sup_lightning.data import SyntheticFeatures
from sup_lightning.functional.keyed_random import keyed_uniform

ROWS, MOST_DRAWN = 32_768, 1_048_576
"""Rows in which some feature fires that are measured on, and the most that are drawn to find them."""


def expected_loss(
    squared_error: Callable[[Tensor], Tensor], p: Tensor, data: SyntheticFeatures, purpose: str
) -> Tensor:
    """Mean over rows of the features' law, those in which nothing fires included with their share, `[...]`.

    At p = .001 nine of ten rows of 100 features are silent; their cost is computed once.

    Args:
        squared_error: From features `[n_features, batch]` to the sum over these rows, `[...]`.
        p: Probability of each feature, `[n_features]`, or of all.
        data: Whose features.
        purpose: What the rows are for; different purposes draw independent rows.
    """
    silent = squared_error(torch.zeros(data.n_features, 1))
    total, n_rows, n_silent = torch.zeros_like(silent), 0, 0
    for x, drawn in active_rows(p, data, purpose):
        total += squared_error(x)
        n_rows, n_silent = n_rows + drawn, n_silent + drawn - x.shape[1]
    return (total + n_silent * silent) / n_rows


def active_rows(p: Tensor, data: SyntheticFeatures, purpose: str, chunk: int = 8192) -> Iterator[tuple[Tensor, int]]:
    """Rows `[n_features, batch]` in which some feature fires, and the number that was drawn to find them."""
    found = 0
    for step in range(MOST_DRAWN // chunk):
        if found >= ROWS:
            return
        uniform = keyed_uniform(purpose, [0], step, (data.features.n_draws(data.n_features), chunk))[0]
        x = data.features.sample(uniform, p.unsqueeze(-1))
        x = x[:, (x != 0).any(dim=0)]
        found += x.shape[1]
        yield x, chunk
