"""Paths of codes whose shape is known."""

import math

import torch

from sup_lightning.functional.code_paths import code_paths, path_nonlinearity, path_turning


def test_a_linear_code_has_straight_paths() -> None:
    W = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    paths = code_paths(lambda x: x @ W + 3, 4, n_steps=11)
    assert paths.shape == (4, 11, 2)
    torch.testing.assert_close(paths[:, -1] - paths[:, 0], W)
    assert path_nonlinearity(paths).max() < 1e-10
    assert path_turning(paths).max() < 1e-2


def test_a_jump_at_the_start_then_an_even_line() -> None:
    """Jump c, slope w: the best direction leaves c² / 4 of c² + c w + w² / 3."""
    t = torch.linspace(0, 1, 20_001).unsqueeze(1)
    path = torch.where(t > 0, 2 + 0.5 * t, 0.0)
    expected = 1 / (4 + 1 + 0.25 / 3)
    torch.testing.assert_close(path_nonlinearity(path), torch.tensor(expected), atol=1e-3, rtol=0)


def test_turning() -> None:
    angle = torch.linspace(0, math.pi / 2, 1001)
    quarter = torch.stack([angle.cos(), angle.sin()], dim=1)
    back_and_forth = 1 - (2 * torch.linspace(0, 1, 11).unsqueeze(1) - 1).abs()
    torch.testing.assert_close(path_turning(quarter), torch.tensor(math.pi / 2), atol=2e-2, rtol=0)
    torch.testing.assert_close(path_turning(back_and_forth), torch.tensor(math.pi))
