"""The learning rate over a run."""

import math

import pytest
import torch

from sup_lightning.errors import UserError
from sup_lightning.modules import WarmupCosine


def rates(steps: int, **settings: float) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = WarmupCosine(optimizer, **settings)  # type: ignore[arg-type]
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def test_warm_up_then_half_a_cosine_then_the_floor() -> None:
    seen = rates(14, total_steps=12, warmup_steps=4, final_fraction=0.1)
    assert seen[:4] == pytest.approx([0.5, 1.0, 1.5, 2.0])
    cosine = [2 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * k / 8))) for k in range(9)]
    assert seen[4:13] == pytest.approx(cosine)
    assert seen[12:] == pytest.approx([0.2, 0.2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"total_steps": 0}, "total_steps is 0; allowed: a positive integer"),
        ({"total_steps": 5, "warmup_steps": 5}, "warmup_steps is 5; allowed: 0 to total_steps - 1 = 4"),
        ({"total_steps": 5, "final_fraction": 2.0}, r"final_fraction is 2.0; allowed: a number in \[0, 1\]"),
    ],
)
def test_bad_settings(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        rates(1, **settings)
