"""How often neurons, or features, are active: together, and at each strength."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from sup_lightning.functional.chunking import row_chunks


class CoFiring(Metric):
    """How much more often two neurons fire together than if they were independent, `[d, d]` float64.

    The lift P(i, j) / (P(i) P(j)): 1 if independent, 0 if never together; NaN for a neuron that never fires. Takes
    `8 d²` bytes.

    Args:
        n_neurons: Size d of the last dimension of the activations.
        threshold: What a neuron that fires exceeds.
        kwargs: Arguments of `torchmetrics.Metric`.

    >>> metric = CoFiring(n_neurons=2)
    >>> metric.update(torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]))
    >>> metric.compute()
    tensor([[2., 2.],
            [2., 4.]], dtype=torch.float64)
    """

    is_differentiable = False
    full_state_update = False
    n: Tensor
    together: Tensor

    def __init__(self, n_neurons: int, threshold: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold = threshold
        self.add_state("n", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("together", torch.zeros(n_neurons, n_neurons, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, activations: Tensor) -> None:
        """Add a batch of activations `[..., d]`."""
        flat = activations.flatten(end_dim=-2)
        self.n += len(flat)
        for rows in row_chunks(*flat.shape):
            fires = (flat[rows] > self.threshold).float()  # exact: a chunk has fewer than 2^24 rows
            self.together += fires.T @ fires

    def compute(self) -> Tensor:
        """Lift over everything seen."""
        alone = self.together.diagonal()
        return self.n * self.together / torch.outer(alone, alone).where(torch.outer(alone, alone) > 0, torch.nan)


class ActivationHistogram(Metric):
    """How often each neuron's activation lies in each bin, `[d, n_edges + 1]` float64; nothing falls outside.

    The first bin is below the first edge, the last one at or above the last. Takes `8 d (n_edges + 1)` bytes;
    `functional.histograms` makes quantiles and AUCs of it.

    Args:
        n_neurons: Size d of the last dimension of the activations.
        edges: `[n_edges]`, ascending, in units of `scale`.
        scale: Of each neuron `[d]`, such as its standard deviation on a first batch; 1 if left out, and where it is 0.
        kwargs: Arguments of `torchmetrics.Metric`.

    >>> metric = ActivationHistogram(1, torch.tensor([0.0, 1.0]))
    >>> metric.update(torch.tensor([[-3.0], [0.0], [7.0], [8.0]]))
    >>> metric.compute()
    tensor([[1., 1., 2.]], dtype=torch.float64)
    """

    is_differentiable = False
    full_state_update = False
    edges: Tensor
    scale: Tensor
    counts: Tensor

    def __init__(self, n_neurons: int, edges: Tensor, scale: Tensor | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.register_buffer("edges", edges.float(), persistent=False)
        unit = torch.ones(n_neurons) if scale is None else torch.where(scale > 0, scale, 1.0).float()
        self.register_buffer("scale", unit, persistent=False)
        self.add_state("counts", torch.zeros(n_neurons, len(edges) + 1, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, activations: Tensor) -> None:
        """Add a batch of activations `[..., d]`."""
        n_neurons, n_bins = self.counts.shape
        flat = activations.flatten(end_dim=-2)
        first_bin = torch.arange(n_neurons, device=flat.device) * n_bins
        for rows in row_chunks(*flat.shape):
            bins = torch.bucketize(flat[rows].float() / self.scale, self.edges, right=True).add_(first_bin)
            self.counts += torch.bincount(bins.flatten(), minlength=n_neurons * n_bins).view(n_neurons, n_bins)

    def compute(self) -> Tensor:
        """Counts over everything seen."""
        return self.counts.clone()
