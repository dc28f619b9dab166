"""A random order of n things that is computed, not stored."""

import hashlib

import numpy as np
from numpy.typing import NDArray

ROUNDS = 4  # of the Feistel network; enough for a pseudo-random permutation (Luby and Rackoff 1988)


def permute(index: NDArray[np.int64], n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Where a random permutation of `range(n)` sends each index.

    A Feistel network is a bijection on numbers of an even number of bits; indices that it sends to n or beyond walk on
    along their cycle until they are back inside. Memory does not grow with n, and any index is reached at once, so the
    batch of step one million costs as much as the first.

    Args:
        index: Integers in `[0, n)`, any shape.
        n: Number of things.
        seed: Picks the family of permutations.
        epoch: Picks the permutation.

    Returns:
        Integers in `[0, n)`, the same shape.

    >>> order = permute(np.arange(10), 10, seed=0, epoch=0)
    >>> sorted(order.tolist()) == list(range(10)), bool((order == permute(np.arange(10), 10, 0, 1)).all())
    (True, False)
    """
    half = max(1, ((n - 1).bit_length() + 1) // 2)  # bits in each half
    keys = _round_keys(seed, epoch)
    out = _feistel(index.astype(np.uint64), half, keys)
    outside = out >= n
    while outside.any():
        out[outside] = _feistel(out[outside], half, keys)
        outside = out >= n
    return out.astype(np.int64)


def _round_keys(seed: int, epoch: int) -> NDArray[np.uint64]:
    digest = hashlib.blake2b(f"order/{seed}/{epoch}".encode(), digest_size=8 * ROUNDS).digest()
    return np.frombuffer(digest, dtype="<u8").astype(np.uint64)


def _feistel(x: NDArray[np.uint64], half: int, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    shift, mask = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = x >> shift, x & mask
    for key in keys:
        left, right = right, left ^ (_mix(right + key) & mask)
    return (left << shift) | right


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele et al. 2014): every input bit reaches every output bit. Wraps around."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
