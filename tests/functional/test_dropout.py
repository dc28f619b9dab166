"""The exact loss under dropout against sampling, a closed form, and the loss without dropout."""

import pytest
import torch

from sup_lightning.errors import UserError
from sup_lightning.functional.dropout import dropout_expected_loss, dropout_masks
from sup_lightning.functional.expected_loss import bottleneck_expected_loss, independent_supports
from sup_lightning.nn import BottleneckModel, ExactLoss
from sup_lightning.nn.dropout_loss import DropoutLoss


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_masks_are_all_there_with_their_probabilities() -> None:
    rate = torch.tensor([0.2, 0.5], dtype=torch.float64)
    factors, probability = dropout_masks(3, rate)
    assert factors.shape == (2, 8, 3)
    torch.testing.assert_close(probability.sum(-1), torch.ones(2, dtype=torch.float64))
    mean = (factors * probability.unsqueeze(-1)).sum(1)
    torch.testing.assert_close(mean, torch.ones_like(mean))  # inverted dropout keeps the mean
    variance = (factors.square() * probability.unsqueeze(-1)).sum(1) - mean.square()
    torch.testing.assert_close(variance, (rate / (1 - rate)).unsqueeze(1).expand(2, 3))


def test_one_feature_on_one_neuron_has_a_closed_form() -> None:
    """q E x² where it is dropped, (1 - q) (w² / (1 - q) - 1)² E x² where it is kept; E x² = p / 3."""
    q, w, p = 0.3, 0.8, 0.4
    law = independent_supports(torch.tensor([p], dtype=torch.float64))
    W = torch.tensor([[w]], dtype=torch.float64)
    found = dropout_expected_loss(W, torch.zeros(1).double(), torch.tensor(q, dtype=torch.float64), *law)
    exact = p / 3 * (q + (1 - q) * (w**2 / (1 - q) - 1) ** 2)
    assert found.loss.item() == pytest.approx(exact, rel=1e-12)
    assert found.error.item() < 1e-12


def test_against_sampled_masks_and_features() -> None:
    n_features, n_hidden, q, p, n = 4, 3, 0.25, 0.3, 400_000
    W, b, importance = random(n_features, n_hidden) * 0.7, random(n_features, seed=1) * 0.2, random(4, seed=2).abs()
    law = independent_supports(torch.full((n_features,), p, dtype=torch.float64))
    exact = float(dropout_expected_loss(W, b, torch.tensor(q, dtype=torch.float64), *law, importance=importance).loss)
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(n, n_features, generator=generator).double()
    x *= torch.rand(n, n_features, generator=generator) < p
    keep = (torch.rand(n, n_hidden, generator=generator) >= q) / (1 - q)
    rows = ((((x @ W * keep) @ W.T + b).relu() - x).square() * importance).sum(1)
    assert float(rows.mean()) == pytest.approx(exact, abs=4 * float(rows.std()) / n**0.5)


def test_without_dropout_and_as_an_objective() -> None:
    p = torch.full((3,), 0.2, dtype=torch.float64)
    net = BottleneckModel(3, [0, 1], n_hidden=2).double()
    law = independent_supports(p)
    plain = ExactLoss(*law)(net)
    torch.testing.assert_close(DropoutLoss(torch.tensor(0.0), *law)(net), plain)
    torch.testing.assert_close(bottleneck_expected_loss(net.W, net.b, *law).loss, plain)
    rates, importance = (
        torch.tensor([0.1, 0.4], dtype=torch.float64),
        torch.tensor([[1.0, 2.0, 0.5], [0.3, 1.0, 1.0]]).double(),
    )
    objective = DropoutLoss(rates, *law, importance=importance)
    losses = objective(net)
    alone = [dropout_expected_loss(net.W[k], net.b[k], rates[k], *law, importance=importance[k]).loss for k in range(2)]
    torch.testing.assert_close(losses, torch.stack(alone))
    losses.sum().backward()
    step, gradient = 1e-6, net.W.grad[1, 0, 0].item()
    with torch.no_grad():
        net.W[1, 0, 0] += step
        higher = objective(net)[1]
        net.W[1, 0, 0] -= 2 * step
        lower = objective(net)[1]
    assert gradient == pytest.approx(float(higher - lower) / (2 * step), rel=1e-4)


def test_bad_settings() -> None:
    with pytest.raises(UserError, match="n_hidden is 9; allowed: at most 8 to enumerate the masks"):
        dropout_masks(9, torch.tensor(0.1))
    with pytest.raises(UserError, match=r"rate is 1.0; allowed: numbers in \[0, 1\)"):
        dropout_masks(2, torch.tensor(1.0))
