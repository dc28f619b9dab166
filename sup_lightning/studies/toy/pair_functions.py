"""What a run that computes functions of pairs of features reaches, pair by pair and state by state.

A row in which a whole pair is on is rare where features are rare, and it is there that AND, XOR and max differ from a
sum. So each pair is set to each of its states while the other features follow their law, and the states are weighted
by their exact probabilities.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from sup_lightning.data import PairTask, SyntheticFeatures
from sup_lightning.errors import reject
from sup_lightning.experiment import Run
from sup_lightning.functional.naive import greedy_loss, linear_readout_floor, unshared_loss
from sup_lightning.functional.pairs import PAIR_STATES, best_neuron, pair_inputs, pair_responses
from sup_lightning.nn import ComputationModel

GRID = 64
"""Values of a feature that is on: its quantiles at so many midpoints; a pair takes all combinations, in 4,096 rows."""
COARSE = 32
"""The same where the best neuron for a pair is searched for."""


@dataclass(frozen=True)
class PairMeasures:
    """What a run's models do for each pair; shapes are of `[n_points, n_seeds, n_pairs, 4 states]`.

    Attributes:
        p: Feature probability of each point.
        n_hidden: Neurons.
        probability: Of each state of a pair, `[n_points, 4]`.
        target: Mean of the function in each state, `[4]`.
        target_variance: Its variance within the state, `[4]`.
        mean: Mean output in each state.
        deviation: Standard deviation of the output around the function in each state: interference.
        error: Mean squared error in each state.
        outputs: Outputs `[n_points, n_seeds, n_pairs, 4, n_rows]`.
        variance: Of the function, `[n_points]`.
        naive: Loss of the network that shares no neurons, `[n_points]`.
        floor: What no network with a linear readout can pass, `[n_points]`; NaN with another readout.
    """

    p: list[float]
    n_hidden: int
    probability: Tensor
    target: Tensor
    target_variance: Tensor
    mean: Tensor
    deviation: Tensor
    error: Tensor
    outputs: Tensor
    variance: Tensor
    naive: Tensor
    floor: Tensor

    @property
    def n_pairs(self) -> int:
        return self.mean.shape[2]

    @property
    def pair_loss(self) -> Tensor:
        """Expected squared error of each pair, `[n_points, n_seeds, n_pairs]`."""
        return (self.error * self.probability[:, None, None]).sum(dim=-1)

    @property
    def ratio(self) -> Tensor:
        """Loss over naive loss, `[n_points, n_seeds]`."""
        return self.pair_loss.sum(dim=-1) / self.naive.unsqueeze(1)

    @property
    def unexplained(self) -> Tensor:
        """Loss over that of predicting the mean, `[n_points, n_seeds]`."""
        return self.pair_loss.mean(dim=-1) / self.variance.unsqueeze(1)


def pair_measures(run: Run) -> PairMeasures:
    """Measure all models of a run whose task is a `PairTask`."""
    model, data = run.toy, cast(SyntheticFeatures, run.data)
    net, task, sweep = cast(ComputationModel, model.net), data.task, model.sweep
    if not isinstance(task, PairTask):
        reject("task", type(task).__name__, "PairTask")
    pairs = task.members(data.n_features).tolist()
    inputs = _inputs(data, GRID)
    targets = task_of_pair(task, inputs)
    features = data.batch("pairs", 0, range(GRID**2), GRID**2).features
    shape = (sweep.n_points, sweep.n_seeds)
    outputs = pair_responses(net, features, pairs, inputs).unflatten(0, shape)
    error = outputs - targets
    p = data.feature_probability[:: sweep.n_seeds]
    probability = torch.stack([state_probability(data, float(value)) for value in p[:, 0]])
    mean_of_state, variance_of_state = targets.mean(dim=1), targets.var(dim=1, correction=0)
    mean = (probability * mean_of_state).sum(dim=1)
    variance = (probability * targets.square().mean(dim=1)).sum(dim=1) - mean.square()
    naive, floor = _baselines(run, probability, variance)
    return PairMeasures(
        p=[round(float(value), 6) for value in p[:, 0]],
        n_hidden=net.n_hidden,
        probability=probability,
        target=mean_of_state,
        target_variance=variance_of_state,
        mean=outputs.mean(dim=-1),
        deviation=error.std(dim=-1, correction=0),
        error=error.square().mean(dim=-1),
        outputs=outputs,
        variance=variance,
        naive=naive,
        floor=floor,
    )


def task_of_pair(task: PairTask, inputs: Tensor) -> Tensor:
    """The function of `inputs[..., batch, 2]`, `[..., batch]`."""
    return task(inputs.mT).squeeze(-2)


def state_probability(data: SyntheticFeatures, p: float) -> Tensor:
    """How often a pair is in each state, `[4]`."""
    supports, probability = data.features.supports(2, torch.tensor([p, p]))
    found = torch.zeros(4)
    for support, value in zip(supports.float(), probability, strict=True):
        found[(support == PAIR_STATES).all(dim=1)] += value
    return found


def _inputs(data: SyntheticFeatures, n: int) -> Tensor:
    """A pair in each state with all combinations of n quantiles of its values, `[4, n², 2]`."""
    quantiles = data.features.values.quantile((torch.arange(n) + 0.5) / n)  # type: ignore[attr-defined]
    return pair_inputs(torch.cartesian_prod(quantiles, quantiles))


def _baselines(run: Run, probability: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Naive loss and floor of each point, `[n_points]` each."""
    data, net = cast(SyntheticFeatures, run.data), cast(ComputationModel, run.toy.net)
    task = cast(PairTask, data.task)
    if task.pairs == "all":
        p = data.feature_probability[:: run.toy.sweep.n_seeds, 0].tolist()
        found = [_of_all_pairs(task, data.n_features, value, net.n_hidden) for value in p]
        naive, floor = torch.tensor(found).unbind(dim=1)
    else:
        inputs = _inputs(data, COARSE)
        weight = probability.unsqueeze(2).expand(-1, -1, inputs.shape[1]).flatten(1) / inputs.shape[1]
        one = best_neuron(inputs.flatten(0, 1), task_of_pair(task, inputs).flatten(), weight).error.to(variance)
        # Two neurons compute any of these functions (max = y + ReLU(x - y), XOR = 1 - ReLU(1-x-y) - ReLU(x+y-1)).
        left = torch.stack([variance, one, torch.zeros_like(one)], dim=1)
        naive = unshared_loss(left, net.n_outputs, net.n_hidden)
        floor = linear_readout_floor(variance[:, None, None] * torch.eye(net.n_outputs), net.n_hidden)
    return naive, floor if net.output_activation == "linear" else torch.full_like(floor, torch.nan)


def _of_all_pairs(task: PairTask, n_features: int, p: float, n_neurons: int) -> tuple[float, float]:
    """Naive loss and floor for a function of every pair of independent binary features, by enumeration.

    A naive neuron computes the function of one pair, or a feature, or the sum of all; which of them is chosen greedily.
    """
    x = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * n_features)
    weight = (x * p + (1 - x) * (1 - p)).prod(dim=1)
    y = task(x.T).T
    variables = torch.cat([y, x, x.sum(dim=1, keepdim=True)], dim=1)
    centred = variables - weight @ variables
    covariance = (centred * weight.unsqueeze(1)).T @ centred
    targets = torch.arange(y.shape[1])
    naive = greedy_loss(covariance, targets, n_neurons)
    return float(naive), float(linear_readout_floor(covariance[: len(targets), : len(targets)], n_neurons))
