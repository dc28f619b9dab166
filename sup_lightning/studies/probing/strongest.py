"""The tokens that excite each neuron most."""

import math

import torch
from torch import Tensor

from sup_lightning.metrics.top_examples import TopExamples
from sup_lightning.nn.transformer import Transformer
from sup_lightning.studies.probing.sample import Sample
from sup_lightning.studies.subjects import stream

N_TOP = 20
"""Windows of which each gives its strongest token: what a person would look at."""


def strongest_tokens(
    net: Transformer, sample: Sample, directions: Tensor | None = None, k: int = N_TOP
) -> tuple[Tensor, Tensor]:
    """The training tokens that excite each neuron most, one of each window.

    Args:
        net: The model; its last layer is read.
        sample: The text.
        directions: `[d_mlp, n]` to be read in place of the neurons.
        k: Tokens of each.

    Returns:
        Their rows in the sample and their positions, `[k', n]`; k' is less than k if there are fewer windows.
    """
    name = f"blocks.{net.n_layers - 1}.mlp.hook_post"
    numbers = sample.windows.number
    store, row = None, 0
    for batch, found in stream(net, sample.windows, [name]):
        activations = found[name] if directions is None else found[name] @ directions
        store = store or TopExamples(activations.shape[-1], k, before=0, after=0)
        rows = slice(row, row + len(batch.tokens))
        row = rows.stop
        store.update(
            activations.masked_fill(~sample.training[rows].unsqueeze(-1), -math.inf), batch.tokens, batch.number
        )
    assert store is not None
    examples = store.compute()
    there = (examples.windows >= 0).all(dim=1)
    order = numbers.argsort()
    rows_of = order[torch.searchsorted(numbers[order], examples.windows[there].contiguous())]
    return rows_of, examples.positions[there]
