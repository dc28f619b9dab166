import itertools

import pytest
import torch

from sup_lightning.errors import UserError
from sup_lightning.functional.naive import (
    absolute_value_variance,
    greedy_loss,
    level_neurons,
    linear_readout_floor,
    naive_loss,
    naive_n_exact,
    sparse_variance,
    unshared_loss,
)

P = torch.tensor([1, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001], dtype=torch.float64)
FLOORS = [0.004804, 0.004468, 0.001777, 5.63e-4, 1.91e-4, 5.75e-5, 1.92e-5]


def test_absolute_values_of_the_paper() -> None:
    """100 features of importance .8^i, 40 neurons, so 20 exact: sums over features."""
    importance = 0.8 ** torch.arange(100, dtype=torch.float64)
    variance = absolute_value_variance(P).unsqueeze(1).expand(7, 100)
    floor = naive_loss(variance, importance, naive_n_exact(40, 2))
    assert floor.tolist() == pytest.approx(FLOORS, rel=3e-3)
    tail = (0.8**20 - 0.8**100) / 0.2  # of the geometric series
    torch.testing.assert_close(floor, (P / 3 - P**2 / 4) * tail)
    share = floor / naive_loss(variance, importance, 0)
    torch.testing.assert_close(share, torch.full_like(share, 0.01153), rtol=1e-3, atol=0)


def test_variance_of_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    x = (2 * torch.rand(400_000, generator=generator) - 1) * (torch.rand(400_000, generator=generator) < 0.3)
    assert x.abs().var().item() == pytest.approx(absolute_value_variance(torch.tensor(0.3)).item(), rel=0.01)
    constant = 2 * (torch.rand(400_000, generator=generator) < 0.3).float()
    expected = sparse_variance(torch.tensor(0.3), mean=2.0, mean_square=4.0)
    assert constant.var().item() == pytest.approx(expected.item(), rel=0.01)


def test_the_best_choice_of_exact_functions() -> None:
    generator = torch.Generator().manual_seed(0)
    variance, importance = torch.rand(2, 3, 6, generator=generator, dtype=torch.float64)
    for n_exact in range(7):
        got = naive_loss(variance, importance, n_exact)
        for k in range(3):
            cost = (variance[k] * importance[k]).tolist()
            best = min(sum(cost) - sum(chosen) for chosen in itertools.combinations(cost, n_exact))
            assert got[k].item() == pytest.approx(best, abs=1e-12)
    assert naive_loss(variance, importance, 10).tolist() == [0, 0, 0]


def test_bad_numbers() -> None:
    assert naive_n_exact(5, 2) == 2
    with pytest.raises(UserError, match="n_exact is -1; allowed"):
        naive_loss(torch.ones(3), torch.ones(3), -1)
    with pytest.raises(UserError, match="neurons_per_function is 0"):
        naive_n_exact(5, 0)


def left_by_regression(regressors: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor) -> float:
    """Squared error of the best linear readout with a constant, summed over targets; `[n_states, ...]` each."""
    root = weight.sqrt().unsqueeze(1)
    inputs = torch.cat([torch.ones(len(weight), 1, dtype=torch.float64), regressors], dim=1)
    solution = torch.linalg.lstsq(root * inputs, root * targets, driver="gelsd").solution
    return float((root * (inputs @ solution - targets)).square().sum())


def all_ands(n_features: int, p: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """States `[n_states, n_features]`, their probabilities, and the ANDs of all pairs."""
    x = torch.tensor(list(itertools.product([0.0, 1.0], repeat=n_features)), dtype=torch.float64)
    weight = (x * p + (1 - x) * (1 - p)).prod(dim=1)
    y = torch.stack([x[:, i] * x[:, j] for i, j in itertools.combinations(range(n_features), 2)], dim=1)
    return x, weight, y


def covariance_of(variables: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    centred = variables - weight @ variables
    return (centred * weight.unsqueeze(1)).T @ centred


def test_neurons_are_shared_out_over_functions_in_the_best_way() -> None:
    generator = torch.Generator().manual_seed(0)
    left = torch.rand(5, 4, generator=generator, dtype=torch.float64).sort(dim=1, descending=True).values
    for n_neurons in range(9):
        got = unshared_loss(left, n_functions=3, n_neurons=n_neurons)
        shares = [s for s in itertools.product(range(4), repeat=3) if sum(s) <= n_neurons]
        best = torch.stack([sum(left[:, k] for k in share) for share in shares]).amin(dim=0)  # type: ignore[arg-type]
        torch.testing.assert_close(got, best)
    with pytest.raises(UserError, match="n_neurons is -1"):
        unshared_loss(left, 3, -1)


@pytest.mark.parametrize("p", [0.5, 0.1])
def test_the_greedy_choice_is_a_regression_and_near_the_best(p: float) -> None:
    x, weight, y = all_ands(4, p)
    variables = torch.cat([y, x, x.sum(dim=1, keepdim=True)], dim=1)
    covariance = covariance_of(variables, weight)
    for n_chosen in range(5):
        chosen = itertools.combinations(range(variables.shape[1]), n_chosen)
        best = min(left_by_regression(variables[:, list(each)], y, weight) for each in chosen)
        greedy = float(greedy_loss(covariance, torch.arange(6), n_chosen))
        assert best - 1e-9 <= greedy <= 1.1 * best
    assert float(greedy_loss(covariance, torch.arange(6), 11)) == pytest.approx(0, abs=1e-12)  # all that there is


def test_no_network_passes_the_floor_of_a_linear_readout() -> None:
    x, weight, y = all_ands(5, 0.2)
    covariance = covariance_of(y, weight)
    generator = torch.Generator().manual_seed(0)
    for n_neurons in (1, 3, 6, 9):
        floor = float(linear_readout_floor(covariance, n_neurons))
        for _ in range(20):
            W, b = torch.randn(6, n_neurons, generator=generator, dtype=torch.float64).split([5, 1])
            assert left_by_regression((x @ W + b).relu(), y, weight) >= floor - 1e-12
        best = torch.linalg.eigh(covariance).eigenvectors[:, -n_neurons:]
        assert left_by_regression(y @ best, y, weight) == pytest.approx(floor, rel=1e-9)


def test_the_floor_of_independent_and_of_all_pairs() -> None:
    assert float(linear_readout_floor(0.3 * torch.eye(5, dtype=torch.float64), 2)) == pytest.approx(0.9)
    assert float(linear_readout_floor(torch.eye(5), 7)) == 0
    for p in (0.5, 0.05):  # a sum of n linear functions and products of (x - p): all but the largest n are p² (1 - p)²
        x, weight, y = all_ands(6, p)
        floor = float(linear_readout_floor(covariance_of(y, weight), 8))
        assert floor == pytest.approx((15 - 8) * (p * (1 - p)) ** 2, rel=1e-9)
        linear = torch.cat([x, y[:, :2]], dim=1)
        assert left_by_regression(linear, y, weight) == pytest.approx((15 - 2) * (p * (1 - p)) ** 2, rel=1e-9)


def corners(points: torch.Tensor) -> list[int]:
    """The points that a half space holds alone, `[n_points, n_dimensions]`, by linear programming."""
    from scipy.optimize import linprog

    found = []
    for k in range(len(points)):
        others = torch.cat([points[:k], points[k + 1 :]]) - points[k]  # some w with w · (other - point) ≤ -1?
        answer = linprog([0.0] * points.shape[1], A_ub=others.numpy(), b_ub=[-1.0] * len(others), bounds=(None, None))
        found += [k] if answer.status == 0 else []
    return found


@pytest.mark.parametrize("n_levels", [1, 2, 3, 4, 5, 6, 7, 8])
def test_neurons_that_tell_levels_apart(n_levels: int) -> None:
    """Neurons with kinks between the levels, as many as are said to do, make each level a corner."""
    x = torch.arange(n_levels + 1.0, dtype=torch.float64)  # the levels, and 0
    kinks = [0.5] if n_levels == 1 else [1.5 + 2 * k for k in range(level_neurons(n_levels))]
    hidden = torch.stack([(kink - x if k == 1 else x - kink).relu() for k, kink in enumerate(kinks)], dim=1)
    assert len(kinks) == level_neurons(n_levels)
    assert set(range(1, n_levels + 1)) <= set(corners(hidden))


def test_one_neuron_tells_one_level_of_five() -> None:
    x = torch.arange(6.0, dtype=torch.float64).unsqueeze(1)
    for sign, kink in itertools.product((1, -1), torch.linspace(-1, 6, 57).tolist()):
        assert len(set(corners((sign * (x - kink)).relu())) - {0}) <= 1
