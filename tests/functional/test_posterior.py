"""The posterior of sparse features against closed forms, and against what defines a posterior mean."""

import math

import pytest
import torch
from torch import Tensor

from sup_lightning.errors import UserError
from sup_lightning.functional.expected_loss import bottleneck_expected_loss, independent_supports
from sup_lightning.functional.posterior import code_posterior

N = 4096


def pentagon(radius: float = 1.1346) -> Tensor:
    angle = 2 * math.pi * torch.arange(5, dtype=torch.float64) / 5
    return radius * torch.stack([angle.cos(), angle.sin()], dim=1)


def sparse(n_features: int, p: float, n: int = N) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    values, fires = torch.rand(2, n, n_features, generator=generator, dtype=torch.float64)
    return values * (fires < p)


def supports_of(n_features: int, p: float) -> tuple[Tensor, Tensor]:
    return independent_supports(torch.full((n_features,), p, dtype=torch.float64))


def test_loss_of_the_relu_readout_on_the_exact_pentagon() -> None:
    """0, .016 and .234 given none, one and two active at p = .05, for the optimal pentagon."""
    W, b = pentagon(), torch.full((5,), -0.2463, dtype=torch.float64)
    given = bottleneck_expected_loss(W, b, *supports_of(5, 0.05)).given_active[:3]
    assert given.tolist() == pytest.approx([0.0, 0.016, 0.234], abs=1e-3)


def test_an_antipodal_pair() -> None:
    """One dimension, x and y in opposite directions, h = s > 0: x alone (density (1-p) p), or both with x - y = s."""
    p, s = 0.3, torch.linspace(0.05, 0.95, 10, dtype=torch.float64)
    found = code_posterior(s.unsqueeze(1), torch.tensor([[1.0], [-1.0]]), *supports_of(2, p))
    alone, both = (1 - p) * torch.ones_like(s), p * (1 - s)
    x = (alone * s + both * (s + (1 - s) / 2)) / (alone + both)
    y = both * (1 - s) / 2 / (alone + both)
    torch.testing.assert_close(found.mean, torch.stack([x, y], dim=1), atol=1e-9, rtol=0)
    likely = torch.where(alone > both, 1, 3)
    assert torch.equal(found.support, likely)


def test_a_dimension_for_each_feature_leaves_nothing_open() -> None:
    x = sparse(4, 0.4, 500)
    W = torch.eye(4, dtype=torch.float64) * torch.tensor([1.0, 0.5, 2.0, 0.7])
    found = code_posterior(x @ W, W, *supports_of(4, 0.4))
    torch.testing.assert_close(found.mean, x, atol=5e-3, rtol=0)  # a few times the precision
    torch.testing.assert_close(found.most_likely, x, atol=5e-3, rtol=0)


def test_one_active_feature_of_a_pentagon_is_known() -> None:
    x = sparse(5, 0.05)
    found = code_posterior(x @ pentagon(), pentagon(), *supports_of(5, 0.05))
    one = (x > 0).sum(dim=1) <= 1
    assert (found.mean - x)[one].square().sum(dim=1).mean() < 1e-5


@pytest.mark.parametrize(("n_features", "n_hidden", "p"), [(5, 2, 0.3), (4, 1, 0.4), (6, 3, 0.5)])
def test_errors_of_the_posterior_mean_do_not_depend_on_the_code(n_features: int, n_hidden: int, p: float) -> None:
    """E (x - E[x | h]) g(h) = 0 for any g: that is what makes it the best of all estimates."""
    generator = torch.Generator().manual_seed(1)
    W = pentagon() if n_features == 5 else torch.randn(n_features, n_hidden, generator=generator, dtype=torch.float64)
    x = sparse(n_features, p)
    h = x @ W
    supports, probability = supports_of(n_features, p)
    found = code_posterior(h, W, supports, probability)
    error = x - found.mean
    for g in (torch.ones_like(h[:, :1]), h, h.square(), (3 * h).sin(), h.abs()):
        products = (error.unsqueeze(2) * g.unsqueeze(1)).flatten(1)
        standard_error = products.std(dim=0) / N**0.5
        assert (products.mean(dim=0).abs() <= 4.5 * standard_error + 2e-3).all()
    best, likely = ((x - each).square().sum(dim=1).mean() for each in (found.mean, found.most_likely))
    assert best < likely  # the mean, not the most likely support


def test_the_order_of_features_does_not_matter() -> None:
    x, order = sparse(5, 0.4, 200), torch.tensor([3, 0, 4, 1, 2])
    W = pentagon()
    found, turned = (code_posterior(x @ W, rows, *supports_of(5, 0.4), n_nodes=16).mean for rows in (W, W[order]))
    torch.testing.assert_close(turned, found[:, order], atol=2e-2, rtol=0)


def test_features_without_direction_keep_their_prior() -> None:
    W = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    found = code_posterior(torch.tensor([[0.4]]).double(), W, *supports_of(2, 0.2))
    torch.testing.assert_close(found.mean, torch.tensor([[0.4, 0.1]]).double())


def test_a_code_that_nothing_explains() -> None:
    found = code_posterior(torch.tensor([[3.0]]).double(), torch.tensor([[1.0]]).double(), *supports_of(1, 0.2))
    assert found.mean.isnan().all()
    with pytest.raises(UserError, match=r"precision is 0; allowed: a positive number"):
        code_posterior(torch.zeros(1, 1), torch.ones(1, 1), *supports_of(1, 0.2), precision=0)
