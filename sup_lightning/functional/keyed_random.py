"""Random numbers as a pure function of (purpose, seed, step): nothing to save, nothing to advance.

Every random thing in training (initial weights, batches, dropout masks) is drawn here, so that a run can start at any
step, on any number of processes, and see what an uninterrupted run would have seen. The generator is Philox-4x64
(Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): its 128-bit key is (purpose, seed) and its 256-bit
counter starts at the step, so two different (purpose, seed, step) never share a number.
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from math import prod

import numpy as np
import torch
from torch import Tensor

_U64 = np.uint64
_MASK64 = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


@cache
def _purpose_key(purpose: str) -> int:
    return int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=8).digest(), "little")


class _Philox:
    """One Philox bit generator, moved to a key and counter before each draw (1 µs, against 6 µs for a new one)."""

    def __init__(self) -> None:
        self.bits = np.random.Philox(0)
        self.state = self.bits.state
        self.state["buffer_pos"] = 4  # nothing buffered
        self.state["has_uint32"] = 0

    def raw(self, purpose: str, seed: int, step: int, n: int) -> np.ndarray:
        key, counter = self.state["state"]["key"], self.state["state"]["counter"]
        key[0], key[1] = _U64(_purpose_key(purpose)), _U64(seed & _MASK64)
        counter[:] = 0
        counter[2] = _U64(step & _MASK64)
        self.bits.state = self.state
        return self.bits.random_raw(n)


_philox = _Philox()


def keyed_uniform(purpose: str, seeds: Sequence[int], step: int, shape: Sequence[int]) -> Tensor:
    """Uniform draws on [0, 1), one independent block for each seed.

    Args:
        purpose: What the numbers are for (`"features"`, `"init/W"` …); different purposes are independent.
        seeds: One seed per block. A block depends on its own seed only, never on its place among the others.
        step: Optimiser step, or any counter.
        shape: Shape of a block.

    Returns:
        `[len(seeds), *shape]` float32, multiples of 2^-24.

    >>> both, alone = keyed_uniform("x", [3, 7], 0, [2]), keyed_uniform("x", [7], 0, [2])
    >>> bool((both[1] == alone[0]).all())
    True
    """
    size = prod(shape)
    bits = np.empty((len(seeds), (size + 1) // 2), dtype=_U64)
    for row, seed in zip(bits, seeds, strict=True):
        row[:] = _philox.raw(purpose, seed, step, len(row))
    integers = bits.view(np.uint32)
    np.right_shift(integers, 8, out=integers)
    uniform = torch.from_numpy(integers.view(np.int32)).to(torch.float32).mul_(2.0**-24)
    return uniform[:, :size].reshape(len(seeds), *shape)


def keyed_hash(purpose: str, seed: int, numbers: Tensor) -> Tensor:
    """A random number for each integer, which depends on it alone: who reads it first changes nothing.

    The finaliser of SplitMix64 (Steele et al. 2014), which maps different integers to different ones.

    Args:
        purpose: What the numbers are for.
        seed: Picks the draw.
        numbers: int64, any shape.

    Returns:
        int64 in the same shape, evenly distributed.

    >>> numbers = torch.tensor([5, 9, 5])
    >>> (keyed_hash("x", 0, numbers) == keyed_hash("x", 0, numbers[0])).tolist()
    [True, False, True]
    """
    x = numbers + _signed(_purpose_key(purpose) + seed * _GOLDEN)
    for shift, factor in ((30, _signed(0xBF58476D1CE4E5B9)), (27, _signed(0x94D049BB133111EB)), (31, 1)):
        x = (x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))) * factor  # a logical shift, of signed numbers
    return x


def _signed(bits: int) -> int:
    """The int64 with the bits of an unsigned number, modulo 2^64."""
    return ((bits + (1 << 63)) & _MASK64) - (1 << 63)


def keyed_normal(purpose: str, seeds: Sequence[int], step: int, shape: Sequence[int]) -> Tensor:
    """Standard normal draws `[len(seeds), *shape]` float32, by the inverse of the distribution function."""
    uniform = keyed_uniform(purpose, seeds, step, shape)
    return torch.special.ndtri(uniform.double() + 2.0**-25).float()
