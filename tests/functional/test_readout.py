"""Readouts against scikit-learn and numpy, and random neurons that do what is said of them."""

import numpy as np
import pytest
import torch

from sup_lightning.functional.readout import (
    explained_variance,
    fit_readout,
    kinked_features,
    train_readout,
)


@pytest.fixture
def rows() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, 200, 4, generator=generator, dtype=torch.float64)
    return hidden, torch.randn(3, 200, 5, generator=generator, dtype=torch.float64) + hidden[..., :1]


def test_readout_is_ridge_regression(rows: tuple[torch.Tensor, torch.Tensor]) -> None:
    from sklearn.linear_model import Ridge

    hidden, target = rows
    weights, bias = fit_readout(hidden, target, ridge=0.1)
    for k in range(3):
        size = float(hidden[k].var(dim=0, correction=0).mean())
        reference = Ridge(alpha=0.1 * size * 200).fit(hidden[k].numpy(), target[k].numpy())
        np.testing.assert_allclose(weights[k].T, reference.coef_, rtol=1e-9)
        np.testing.assert_allclose(bias[k], reference.intercept_, rtol=1e-9)


def test_explained_variance_is_r2(rows: tuple[torch.Tensor, torch.Tensor]) -> None:
    from sklearn.metrics import r2_score

    hidden, target = rows
    weights, bias = fit_readout(hidden, target)
    output = hidden @ weights + bias.unsqueeze(-2)
    for k in range(3):
        reference = r2_score(target[k].numpy(), output[k].numpy(), multioutput="raw_values")
        np.testing.assert_allclose(explained_variance(output, target)[k], reference, rtol=1e-9)


def test_weights_are_repeated_rows(rows: tuple[torch.Tensor, torch.Tensor]) -> None:
    hidden, target = (each[0, :10] for each in rows)
    times = torch.arange(10) % 3
    repeated = [each.repeat_interleave(times, dim=0) for each in (hidden, target)]
    for weighted, plain in zip(fit_readout(hidden, target, times), fit_readout(*repeated), strict=True):
        torch.testing.assert_close(weighted, plain)
    output = torch.zeros_like(target)
    weighted = explained_variance(output, target, times.double().unsqueeze(1))
    torch.testing.assert_close(weighted, explained_variance(output[:1], repeated[1]))


def test_readout_with_a_relu_finds_what_no_affine_one_can() -> None:
    hidden = torch.linspace(-1, 1, 101, dtype=torch.float64).unsqueeze(1)
    target = torch.cat([(hidden - 0.2).relu(), (-hidden - 0.3).relu()], dim=1)
    weights, bias = train_readout(hidden, target, torch.relu, n_steps=400)
    assert (explained_variance((hidden @ weights + bias).relu(), target) > 0.999).all()
    weights, bias = fit_readout(hidden, target)
    assert (explained_variance(hidden @ weights + bias, target) < 0.9).all()


def test_a_layer_that_never_fires_is_read_as_the_mean() -> None:
    target = torch.arange(6.0).view(3, 2)
    weights, bias = fit_readout(torch.zeros(3, 4), target)
    assert weights.abs().max() == 0
    assert bias.tolist() == [2.0, 3.0]


def test_random_neurons_start_to_fire_at_their_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, directions = torch.randn(6, 3, generator=generator), torch.randn(2, 3, 6, generator=generator)
    weights, bias = kinked_features(rows, directions)
    at_rows = rows @ weights + bias.unsqueeze(-2)  # [2, row, neuron]
    torch.testing.assert_close(at_rows.diagonal(dim1=-2, dim2=-1), torch.zeros(2, 6), atol=1e-6, rtol=0)
