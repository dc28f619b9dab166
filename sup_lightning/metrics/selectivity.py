"""torchmetrics twins of `functional.selectivity`: they take activations batch by batch, and add over ranks."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from sup_lightning.functional import selectivity


class PowerSums(Metric):
    """Count and sums of the first four powers of each neuron: what its moments are made of. 40 bytes a neuron.

    Args:
        n_neurons: Size of the last dimension of the activations.
        kwargs: Arguments of `torchmetrics.Metric`.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    power_sums: Tensor

    def __init__(self, n_neurons: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("power_sums", torch.zeros(5, n_neurons, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, activations: Tensor) -> None:
        """Add a batch of activations `[..., n_neurons]`."""
        self.power_sums += selectivity.power_sums(activations)

    def moments(self) -> selectivity.Moments:
        """The moments over everything seen by all ranks."""
        return selectivity.moments_from_power_sums(self.power_sums)


class NeuronMoments(PowerSums):
    """Mean, variance, skewness and kurtosis of each neuron, `functional.selectivity.Moments`.

    >>> metric = NeuronMoments(n_neurons=2)
    >>> metric.update(torch.tensor([[0.0, 1.0], [0.0, 3.0], [3.0, 5.0]]))
    >>> metric.compute().mean
    tensor([1., 3.], dtype=torch.float64)
    """

    def compute(self) -> selectivity.Moments:
        """Moments over everything seen."""
        return self.moments()


class Kurtosis(PowerSums):
    """Kurtosis of each neuron, `[n_neurons]` float64 (3 for a Gaussian, NaN for a constant one).

    >>> metric = Kurtosis(n_neurons=2)
    >>> for batch in torch.tensor([[[0.0, 1.0], [0.0, -1.0]], [[0.0, 1.0], [4.0, -1.0]]]):
    ...     metric.update(batch)
    >>> metric.compute()
    tensor([2.3333, 1.0000], dtype=torch.float64)
    """

    plot_lower_bound = 1.0

    def compute(self) -> Tensor:
        """Kurtosis over everything seen."""
        return self.moments().kurtosis


class RotatedKurtosis(Kurtosis):
    """Kurtosis along random orthonormal directions, `[n_directions]` float64.

    Args:
        n_neurons: Size of the last dimension of the activations.
        seed: Picks the directions.
        kwargs: Arguments of `torchmetrics.Metric`.

    >>> metric = RotatedKurtosis(n_neurons=64)
    >>> metric.update(torch.eye(64))
    >>> bool(metric.compute().median() < 5)
    True
    """

    directions: Tensor

    def __init__(self, n_neurons: int, seed: int = 0, **kwargs: Any) -> None:
        directions = selectivity.random_directions(n_neurons, seed)
        super().__init__(directions.shape[1], **kwargs)
        self.register_buffer("directions", directions, persistent=False)

    def update(self, activations: Tensor) -> None:
        """Add a batch of activations `[..., n_neurons]`."""
        super().update(activations.float() @ self.directions)


class DeadFraction(Metric):
    """Fraction of neurons that never rise above a threshold, a scalar.

    Args:
        n_neurons: Size of the last dimension of the activations.
        threshold: What a live neuron exceeds at least once.
        kwargs: Arguments of `torchmetrics.Metric`.

    >>> metric = DeadFraction(n_neurons=2)
    >>> metric.update(torch.tensor([[0.0, 1.0], [-1.0, 0.0]]))
    >>> metric.compute()
    tensor(0.5000)
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    largest: Tensor

    def __init__(self, n_neurons: int, threshold: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold = threshold
        self.add_state("largest", torch.full((n_neurons,), -torch.inf), dist_reduce_fx="max")

    def update(self, activations: Tensor) -> None:
        """Add a batch of activations `[..., n_neurons]`."""
        if activations.numel():
            self.largest = torch.maximum(self.largest, activations.float().flatten(end_dim=-2).amax(dim=0))

    def compute(self) -> Tensor:
        """Fraction over everything seen."""
        return (self.largest <= self.threshold).float().mean()
