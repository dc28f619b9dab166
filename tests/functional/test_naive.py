import itertools

import pytest
import torch

from sup_lightning.errors import UserError
from sup_lightning.functional.naive import absolute_value_variance, naive_loss, naive_n_exact, sparse_variance

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
