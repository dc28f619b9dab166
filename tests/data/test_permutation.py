import numpy as np
import pytest

from sup_lightning.data.permutation import permute


@pytest.mark.parametrize("n", [1, 2, 3, 5, 16, 17, 1000, 4096, 39062, 65537])
def test_each_index_comes_once(n: int) -> None:
    assert np.array_equal(np.sort(permute(np.arange(n), n, seed=1, epoch=2)), np.arange(n))


def test_an_index_does_not_depend_on_the_others() -> None:
    whole = permute(np.arange(1000), 1000, seed=0, epoch=0)
    assert np.array_equal(permute(np.array([[3], [999]]), 1000, seed=0, epoch=0), whole[[[3], [999]]])


def test_large_ranges_cost_nothing() -> None:
    out = permute(np.array([0, 10**12 - 1]), 10**12, seed=0, epoch=7)
    assert out.min() >= 0
    assert out.max() < 10**12


def test_orders_look_random() -> None:
    """Compared with 5 standard errors of a uniformly random permutation, over 40 seeds and epochs."""
    n, index = 10_000, np.arange(10_000)
    orders = [permute(index, n, seed, epoch) for seed in range(8) for epoch in range(5)]
    for order in orders:
        assert abs(np.corrcoef(index, order)[0, 1]) < 5 / np.sqrt(n)
        steps = np.abs(np.diff(order)) / n  # mean 1/3, variance 1/18 of the distance of two uniform numbers
        assert abs(steps.mean() - 1 / 3) < 5 * np.sqrt(1 / 18 / n) * 1.5  # neighbouring distances are correlated
        assert (order == index).sum() < 12  # Poisson of mean 1
    agree = [(a == b).mean() for i, a in enumerate(orders) for b in orders[:i]]
    assert max(agree) < 12 / n
