"""Jumps of staircases whose steps are known, and none of slow drifts."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from sup_lightning.errors import UserError
from sup_lightning.functional.dynamics import energy_jumps, log_spaced_steps

STEPS = log_spaced_steps(10_000, per_decade=20)
TIME = torch.tensor([math.log10(max(step, 1)) for step in STEPS], dtype=torch.float64)


def staircase(*levels: tuple[float, float], width: float = 0.01) -> Tensor:
    """0, then each level from its time on, with a logistic rise of that width in decades."""
    total, low = torch.zeros_like(TIME), 0.0
    for at, level in levels:
        total = total + (level - low) * torch.sigmoid((TIME - at) / width)
        low = level
    return total


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_log_spaced_steps() -> None:
    assert log_spaced_steps(1000, 1) == [0, 1, 10, 100, 1000]
    assert log_spaced_steps(1, 20) == [0, 1]
    assert log_spaced_steps(50, 2) == [0, 1, 3, 10, 32, 50]
    for max_step in (7, 1000, 12_345):
        steps = log_spaced_steps(max_step)
        assert steps == sorted(set(steps))
        assert (steps[0], steps[-1]) == (0, max_step)
        late = [step for step in steps if step > 100]
        assert all(b / a < 1.13 for a, b in pairwise(late))  # 10^(1/20) = 1.122, and rounding
    with pytest.raises(UserError, match="max_step is 0"):
        log_spaced_steps(0)


def test_a_staircase_has_its_steps() -> None:
    D = torch.stack([staircase((2.0, 0.5), (3.2, 2 / 3)), staircase((2.6, 0.5)), torch.full_like(TIME, 0.4)], dim=1)
    loss = 1 - 0.3 * staircase((2.0, 1.0)) - 0.2 * staircase((3.2, 1.0)) - 0.01 * TIME  # none at 2.6
    jumps = energy_jumps(D + 0.003 * noise(*D.shape), loss, STEPS)
    assert [(jump.feature, jump.instance) for jump in jumps] == [(0, ()), (0, ()), (1, ())]
    for jump, at, before, after in zip(jumps, (2.0, 3.2, 2.6), (0, 0.5, 0), (0.5, 2 / 3, 0.5), strict=True):
        assert math.log10(jump.start) <= at <= math.log10(jump.end)
        assert math.log10(jump.end / jump.start) <= 0.3 + 1e-9
        assert (jump.before, jump.after) == pytest.approx((before, after), abs=0.02)
    assert [jump.with_loss_drop for jump in jumps] == [True, True, False]
    assert jumps[0].loss_drop == pytest.approx(0.3, abs=0.03)
    assert jumps[0].typical_drop == pytest.approx(0.002, abs=0.002)


def test_falls_are_jumps_too() -> None:
    D = (1 - staircase((2.5, 0.5))).unsqueeze(1)
    (jump,) = energy_jumps(D, 2 - staircase((2.5, 1.0)), STEPS)
    assert (jump.before, jump.after) == pytest.approx((1.0, 0.5), abs=0.01)
    assert jump.with_loss_drop


@pytest.mark.parametrize("duration", [1.0, 2.0, 4.0])
def test_a_drift_has_no_jumps(duration: float) -> None:
    ramp = ((TIME - 0.5) / duration).clamp(0, 1)
    smooth = staircase((2.0, 1.0), width=duration / 8)
    assert energy_jumps(torch.stack([ramp, smooth], dim=1), 1 - 0.1 * ramp, STEPS) == []


def test_noise_has_no_jumps_and_flat_noisy_losses_no_drops() -> None:
    flat = 0.4 + 0.005 * noise(len(STEPS), 50)
    assert energy_jumps(flat, torch.ones(len(STEPS)), STEPS) == []
    drops = 0
    for seed in range(40):
        jumps = energy_jumps(staircase((2.5, 0.5)).unsqueeze(1), 1 + 0.02 * noise(len(STEPS), seed=seed), STEPS)
        drops += sum(jump.with_loss_drop for jump in jumps)
        assert len(jumps) == 1
    assert drops <= 2


def test_small_moves_and_unfinished_ones_do_not_count() -> None:
    loss = torch.ones_like(TIME)
    assert energy_jumps(staircase((2.5, 0.08)).unsqueeze(1), loss, STEPS) == []
    assert energy_jumps(staircase((2.5, 0.08)).unsqueeze(1), loss, STEPS, least_move=0.05) != []
    assert energy_jumps(staircase((3.95, 0.5)).unsqueeze(1), loss, STEPS) == []  # no level after it


def test_instances() -> None:
    D = torch.stack([staircase((2.0, 0.5)), staircase((2.5, 0.5)), torch.zeros_like(TIME)], dim=1)
    D = D[:, torch.tensor([[2, 0], [2, 2], [1, 2]])].unsqueeze(1)  # [n_times, 1, 3 instances, 2 features]
    loss = (1 - 0.3 * staircase((2.0, 1.0)))[:, None, None].expand(-1, 1, 3)
    first, second = energy_jumps(D, loss, STEPS)
    assert (first.instance, first.feature, first.with_loss_drop) == ((0, 0), 1, True)
    assert (second.instance, second.feature, second.with_loss_drop) == ((0, 2), 0, False)


def test_shapes_are_checked() -> None:
    with pytest.raises(UserError, match="shapes of D and losses"):
        energy_jumps(torch.zeros(3, 2), torch.zeros(3, 2), [0, 1, 2])
    with pytest.raises(UserError, match="ascending"):
        energy_jumps(torch.zeros(3, 2), torch.zeros(3), [0, 2, 2])
