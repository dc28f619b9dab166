"""Responses of networks that are written out, and the best neuron for a pair against searches of another kind."""

import itertools

import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from sup_lightning.functional.pairs import (
    PAIR_STATES,
    area_under_curve,
    best_neuron,
    interaction,
    pair_inputs,
    pair_responses,
)


def test_responses_set_one_pair_and_leave_the_rest() -> None:
    features = torch.rand(2, 5, 4, generator=torch.Generator().manual_seed(0))
    before = features.clone()
    values = torch.rand(5, 2, generator=torch.Generator().manual_seed(1))

    def network(x: Tensor) -> Tensor:
        return torch.stack([10 * x[..., 0] + x[..., 1] + 100 * x[..., 2], x[..., 3] - x[..., 0]], dim=-1)

    responses = pair_responses(network, features, [(0, 1), (2, 3)], pair_inputs(values))
    torch.testing.assert_close(features, before)
    rest = 100 * features[..., 2]
    torch.testing.assert_close(responses[:, 0, 3], 10 * values[:, 0] + values[:, 1] + rest)
    torch.testing.assert_close(responses[:, 0, 0], rest)
    torch.testing.assert_close(responses[:, 1, 1], -features[..., 0])
    torch.testing.assert_close(responses[:, 1, 2], values[:, 1] - features[..., 0])


def test_interaction_is_what_a_sum_lacks() -> None:
    x, y = PAIR_STATES.T
    for function, expected in ((x * y, 1), (torch.maximum(x, y), -1), ((x - y).abs(), -2), (3 * x - 2 * y + 1, 0)):
        assert interaction(function).item() == expected


def test_area_counts_pairs_of_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 5, (3, 4, 20), generator=generator).float()
    positive, negative = torch.tensor([0.0, 0.2, 0.3, 0.0]), torch.tensor([0.4, 0.0, 0.0, 0.1])
    got = area_under_curve(scores, positive, negative)
    for k in range(3):
        total = 0.0
        for high, low in itertools.product((1, 2), (0, 3)):
            a, b = scores[k, high].unsqueeze(1), scores[k, low]
            total += float(positive[high] * negative[low] * ((a > b).float() + 0.5 * (a == b).float()).mean())
        assert got[k].item() == pytest.approx(total / 0.25, rel=1e-5)


def states(p: float) -> tuple[Tensor, Tensor]:
    return PAIR_STATES, torch.tensor([(1 - p) ** 2, p * (1 - p), p * (1 - p), p**2], dtype=torch.float64)


@pytest.mark.parametrize("p", [0.5, 0.05])
def test_one_neuron_computes_and_and_or_but_not_xor(p: float) -> None:
    inputs, weight = states(p)
    x, y = inputs.T
    assert float(best_neuron(inputs, x * y, weight).error) == pytest.approx(0, abs=1e-12)
    assert float(best_neuron(inputs, torch.maximum(x, y), weight).error) == pytest.approx(0, abs=1e-12)
    q, either = 2 * p * (1 - p), 2 * p - p**2
    by_or = q * (1 - q) - q**2 * (1 - either) / either  # what regression on OR leaves
    found = float(best_neuron(inputs, (x - y).abs(), weight).error)
    assert 0 < found <= by_or + 1e-12
    torch.testing.assert_close(1 - (1 - x - y).relu() - (x + y - 1).relu(), (x - y).abs())  # two do


def test_xor_of_dense_features_leaves_two_thirds_to_one_neuron() -> None:
    """Any monotone function of a sum has a correlation of at most 3^-1/2 with the XOR of two fair coins."""
    inputs, weight = states(0.5)
    xor = (inputs[:, 0] - inputs[:, 1]).abs()
    assert float(best_neuron(inputs, xor, weight).error) == pytest.approx(1 / 6, abs=1e-6)


def test_one_neuron_for_a_maximum_against_a_direct_search() -> None:
    """The grid finds what minimising over the neuron's weights finds, from several starts."""
    quantiles = (torch.arange(16) + 0.5) / 16
    inputs = torch.cartesian_prod(quantiles, quantiles)
    target, weight = inputs.amax(dim=1), torch.full((256,), 1 / 256, dtype=torch.float64)
    points, goal = inputs.double().numpy(), target.double().numpy()

    def loss(parameters: list[float]) -> float:
        u, v, t, a, c = parameters
        return float((((points @ [u, v] - t).clip(min=0) * a + c - goal) ** 2).mean())

    starts = ([1, 1, 0, 0.5, 0.3], [0.9, 0.9, 0.3, 0.5, 0.3], [1, -1, 0, 0.5, 0.5], [-1, -1, -1.5, -0.5, 1])
    best = min(minimize(loss, start, method="Nelder-Mead", options={"maxiter": 4000}).fun for start in starts)
    found = float(best_neuron(inputs, target, weight).error)
    assert found == pytest.approx(best, rel=0.02)
    neuron = best_neuron(inputs, target, weight)
    output = neuron.constant + neuron.slope * (inputs.double() @ neuron.direction - neuron.threshold).relu()
    assert float((output - target).square().mean()) == pytest.approx(found, rel=1e-6)
    assert found <= 1 / 72 + 1e-3  # a neuron in its linear range is one of those searched


def test_points_are_done_together() -> None:
    inputs, _ = states(0.5)
    xor = (inputs[:, 0] - inputs[:, 1]).abs()
    weights = torch.stack([states(p)[1] for p in (0.5, 0.2)])
    alone = torch.stack([best_neuron(inputs, xor, weight).error for weight in weights])
    torch.testing.assert_close(best_neuron(inputs, xor, weights).error, alone)
