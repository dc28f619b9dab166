"""Probes on activations that hold known things."""

import pytest
import torch

from sup_lightning.errors import UserError
from sup_lightning.functional.probing import probe_r2

X = torch.rand(2000, 4, generator=torch.Generator().manual_seed(0))


def test_linear_probes_cannot_read_more_features_than_there_are_neurons() -> None:
    """Bessel: the R² of independent features add up to the width at most (and a little, off the fitted rows)."""
    W = torch.randn(4, 2, generator=torch.Generator().manual_seed(1))
    assert probe_r2(X @ W, X).sum() < 2.05
    torch.testing.assert_close(probe_r2(X @ torch.randn(4, 4), X), torch.ones(4))


def test_an_mlp_reads_what_is_not_linear() -> None:
    code, target = 2 * X[:, :1] - 1, (2 * X[:, :1] - 1).square()
    assert probe_r2(code, target) < 0.05
    assert probe_r2(code, target, "mlp") > 0.95
    assert probe_r2(code, target[torch.randperm(2000)], "mlp") < 0.05


def test_what_does_not_vary_has_no_r2() -> None:
    assert probe_r2(X, torch.zeros(2000, 1)).isnan().all()
    with pytest.raises(UserError, match="probe is 'tree'; allowed: linear or mlp"):
        probe_r2(X, X, "tree")  # type: ignore[arg-type]
