"""Losses against numpy, and FVU against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score

from sup_lightning.functional import fraction_of_variance_unexplained, weighted_squared_error


def test_weighted_squared_error_is_a_sum_over_features() -> None:
    out, y, importance = torch.randn(3, 50, 4), torch.randn(3, 50, 4), torch.rand(3, 4)
    expected = (importance.numpy()[:, None] * (out - y).numpy() ** 2).sum(-1).mean(-1)
    np.testing.assert_allclose(weighted_squared_error(out, y, importance), expected, rtol=1e-5)


def test_fvu_is_one_minus_r2() -> None:
    out, y = torch.randn(500, 4, dtype=torch.float64), torch.randn(500, 4, dtype=torch.float64)
    fvu = fraction_of_variance_unexplained((out - y).square().mean(0), y.mean(0), y.square().mean(0))
    assert fvu.item() == pytest.approx(1 - r2_score(y, out, multioutput="variance_weighted"), rel=1e-10)
