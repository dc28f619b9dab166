"""Probes against brute force and scikit-learn."""

from itertools import combinations

import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor

from sup_lightning.functional.class_statistics import Sums, linear_discriminant
from sup_lightning.functional.keyed_random import keyed_normal, keyed_uniform
from sup_lightning.functional.linear_probes import (
    class_rates,
    forward_selection,
    logistic_direction,
    sparse_discriminants,
    without_direction,
)


def samples(n: int = 600, d: int = 6) -> tuple[Tensor, Tensor]:
    """Correlated dimensions; the last repeats the first, which is the best, and the second cancels its noise."""
    labels = (torch.arange(n) % 3 == 0).long()
    noise = keyed_normal("probe test", [0], 0, (n, d))[0].double()
    x = noise.clone()
    x[:, 0] += 1.5 * labels + noise[:, 1]
    x[:, 2] += 1.0 * labels
    x[:, 3] += 0.5 * labels
    x[:, -1] = x[:, 0] + 0.1 * noise[:, -1]
    return x, labels


def sums_of(x: Tensor, labels: Tensor) -> Sums:
    one_hot = torch.nn.functional.one_hot(labels, 2).double()
    return Sums(one_hot.sum(0), one_hot.T @ x, x.T @ x)


def squared_distance(sums: Sums, chosen: list[int]) -> float:
    part = Sums(sums.n, sums.first[:, chosen], sums.second[chosen][:, chosen])
    direction, _ = linear_discriminant(*part, shrinkage=0.0)
    return float(direction @ (part.first[1] / part.n[1] - part.first[0] / part.n[0]))


def test_each_dimension_is_the_one_that_adds_most() -> None:
    sums = sums_of(*samples())
    order = forward_selection(sums, 6, shrinkage=0.0).tolist()
    assert sorted(order) == list(range(6))
    for k in range(1, 5):
        gains = {j: squared_distance(sums, [*order[: k - 1], j]) for j in range(6) if j not in order[: k - 1]}
        assert order[k - 1] == max(gains, key=lambda j: gains[j])
    best_pair = max(combinations(range(6), 2), key=lambda pair: squared_distance(sums, list(pair)))
    assert 1 in order[:3]  # alone it says nothing of the class
    assert squared_distance(sums, order[:2]) > 0.8 * squared_distance(sums, list(best_pair))


def test_a_constant_dimension_is_taken_last() -> None:
    x, labels = samples()
    sums = sums_of(torch.cat([torch.zeros(len(x), 1, dtype=x.dtype), x], dim=1), labels)
    assert int(forward_selection(sums, 7, shrinkage=0.0)[-1]) == 0


def test_sparse_probes_read_what_they_say() -> None:
    x, labels = samples()
    directions, order = sparse_discriminants(sums_of(x, labels), [1, 3, 6], shrinkage=0.0)
    assert [int((row != 0).sum()) for row in directions] == [1, 3, 6]
    for row, k in zip(directions, (1, 3, 6), strict=True):
        chosen = order[:k].sort().values
        reference = LinearDiscriminantAnalysis(solver="lsqr").fit(x[:, chosen].numpy(), labels.numpy())
        cosine = torch.cosine_similarity(row[chosen], torch.from_numpy(reference.coef_[0]), dim=0)
        assert float(cosine) == pytest.approx(1, abs=1e-9)


def test_sums_in_other_coordinates_and_of_two_parts() -> None:
    x, labels = samples()
    directions = keyed_normal("directions", [0], 0, (6, 2))[0].double()
    for one, other in zip(sums_of(x, labels).along(directions), sums_of(x @ directions, labels), strict=True):
        torch.testing.assert_close(one, other)
    factors = keyed_uniform("factors", [0], 0, (6,))[0].double()
    for one, other in zip(sums_of(x, labels).scaled(factors), sums_of(x * factors, labels), strict=True):
        torch.testing.assert_close(one, other)
    parts = sums_of(x[:200], labels[:200]).plus(sums_of(x[200:], labels[200:]))
    for one, other in zip(parts, sums_of(x, labels), strict=True):
        torch.testing.assert_close(one, other)


def test_nothing_is_left_along_a_direction_that_is_removed() -> None:
    x, labels = samples()
    direction = torch.tensor([1.0, 0, 2, 0, 0, 0], dtype=torch.float64)
    removed = without_direction(sums_of(x, labels), direction)
    unit = direction / direction.norm()
    for one, other in zip(removed, sums_of(x - torch.outer(x @ unit, unit), labels), strict=True):
        torch.testing.assert_close(one, other)


def test_logistic_regression_finds_the_direction_and_the_penalty() -> None:
    n, truth = 4000, torch.tensor([2.0, -1.0, 0.0, 0.5])
    x = keyed_normal("x", [0], 0, (n, 4))[0]
    odds = x.double() @ truth.double()
    labels = (keyed_uniform("y", [0], 0, (n,))[0].double() < odds.sigmoid()).long()
    found = logistic_direction(x, labels, torch.arange(n) % 3 == 0)
    assert float(torch.cosine_similarity(found, truth.double(), dim=0)) > 0.995
    # Few samples in many dimensions of noise: a strong penalty is chosen, which is near the difference of the means.
    wide = keyed_normal("wide", [0], 0, (60, 200))[0]
    wide[:, 0] += 2.0 * labels[:60]
    probe = logistic_direction(wide, labels[:60], torch.arange(60) % 3 == 0)
    means = wide[labels[:60] == 1].mean(0) - wide[labels[:60] == 0].mean(0)
    assert float(torch.cosine_similarity(probe, means.double(), dim=0)) > 0.9


def test_rates_shrink_to_the_overall_one() -> None:
    classes, labels = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([1, 1, 0, 0, -1, 1])
    overall = 3 / 5
    expected = [(2 + 2 * overall) / 5, (0 + 2 * overall) / 3, (1 + 2 * overall) / 3, overall]
    assert class_rates(classes, labels, 4, prior=2.0).tolist() == pytest.approx(expected)
