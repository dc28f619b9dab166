"""What a device can do at most."""

import time
from functools import cache

import torch

SIZE = 1024
"""Rows and columns of the matrices that are multiplied on a CPU; other devices get eight times as many."""


@cache
def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large square matrix product: the most that training can hope for.

    The best of several products counts, so that whatever else the machine does at that moment matters little.
    """
    size = SIZE if device.type == "cpu" else 8 * SIZE
    a = torch.ones(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(5):
        _wait(device)
        start = time.perf_counter()
        a @ a
        _wait(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
