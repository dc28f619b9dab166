"""Learning-rate schedules whose length is given in the config, never asked of the trainer."""

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from sup_lightning.errors import reject, require_positive


class WarmupCosine(LambdaLR):
    """Linear warm-up to the optimiser's learning rate, then a half cosine down to a fraction of it.

    Args:
        optimizer: The optimiser whose rates are scaled.
        total_steps: Optimiser steps until the cosine ends; the rate stays at its floor after that.
        warmup_steps: Optimiser steps of linear warm-up, from `1 / warmup_steps` of the rate.
        final_fraction: The floor, as a fraction of the rate.
    """

    def __init__(
        self, optimizer: Optimizer, total_steps: int, warmup_steps: int = 0, final_fraction: float = 0.0
    ) -> None:
        require_positive(total_steps=total_steps)
        if not 0 <= warmup_steps < total_steps:
            reject("warmup_steps", warmup_steps, f"0 to total_steps - 1 = {total_steps - 1}")
        if not 0 <= final_fraction <= 1:
            reject("final_fraction", final_fraction, "a number in [0, 1]")
        self.total_steps, self.warmup_steps, self.final_fraction = total_steps, warmup_steps, final_fraction
        super().__init__(optimizer, self.factor)

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule is. What it is comes from the config, so a resumed run can be given more steps."""
        constants = ("total_steps", "warmup_steps", "final_fraction")
        return {name: value for name, value in super().state_dict().items() if name not in constants}

    def factor(self, step: int) -> float:
        """The rate at a step, as a fraction of the full one."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        progress = min(1.0, (step - self.warmup_steps) / (self.total_steps - self.warmup_steps))
        return self.final_fraction + (1 - self.final_fraction) * 0.5 * (1 + math.cos(math.pi * progress))
