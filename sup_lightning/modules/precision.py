"""Whether a device is good at a precision."""

import time
from functools import cache

import torch

from sup_lightning.errors import UserError


def check_precision(precision: str, device: torch.device) -> None:
    """Stop a run in a precision that only slows the device down.

    Raises:
        UserError: The precision is half, and products of small matrices in it are slower than in float32 here.
    """
    half = {"bf16": torch.bfloat16, "16": torch.float16}.get(str(precision).split("-")[0])
    if half is None or device.type != "cpu":
        return
    rates = [_small_rate(dtype) for dtype in (half, torch.float32)]
    if rates[0] < rates[1]:
        raise UserError(
            f"trainer.precision is {precision!r}, in which this CPU is {rates[1] / rates[0]:.0f} times slower than in "
            "float32; allowed: 32-true"
        )


@cache
def _small_rate(dtype: torch.dtype) -> float:
    a = torch.ones(256, 256, dtype=dtype)
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return 1 / best
