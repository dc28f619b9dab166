import pytest
import torch
from scipy.stats import spearmanr

from sup_lightning.errors import UserError
from sup_lightning.functional.correlation import rank_correlation


def test_agrees_with_scipy() -> None:
    a, b = torch.randn(2, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    b[:10] = b[0]  # ties
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-9)
    assert rank_correlation(a.view(5, 10), -a.view(5, 10)) == -1.0


def test_rounding_errors_make_no_ranks() -> None:
    constant = 1 + 1e-9 * torch.randn(20, dtype=torch.float64)
    assert rank_correlation(torch.arange(20.0), constant.float()) == 0.0


def test_shapes_must_agree() -> None:
    with pytest.raises(UserError, match="shapes"):
        rank_correlation(torch.ones(2), torch.ones(3))
