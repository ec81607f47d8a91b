"""Philox4x64-10 in array expressions: the words of `random.Key` made where they are needed, without a copy.

NumPy's generator of the same name makes them on the CPU; `words` is for devices, where a word costs some
hundred elementwise operations of a quarter of a word each. A kernel of its own is faster, and gives the same.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, figure 3 and table 2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.array import Array

__all__ = ["block", "folded", "words"]

_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_KEY_STEPS = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_ROUNDS = 10
_WORD = 1 << 64
_TOP = np.uint64(_WORD - 1)  # of the counters that `random.Key.fold_in` draws from
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def block(counter: int, seed: int, stream: int) -> tuple[int, int, int, int]:
    """The words of one counter, by Python's own integers: for a single one faster than NumPy's generator is made."""
    a, b, c, d = (counter >> shift & _WORD - 1 for shift in (0, 64, 128, 192))
    (first, second), (first_step, second_step) = _MULTIPLIERS, _KEY_STEPS
    for _ in range(_ROUNDS):
        product0, product1 = a * first, c * second
        a, c = product1 >> 64 ^ b ^ seed, product0 >> 64 ^ d ^ stream
        b, d = product1 & _WORD - 1, product0 & _WORD - 1
        seed, stream = seed + first_step & _WORD - 1, stream + second_step & _WORD - 1
    return a, b, c, d


def words(xp: Any, seed_R1: Array, stream_R1: Array, block: int, num_blocks: int) -> Array:
    """Of R keys, by their words, those of `num_blocks` counters from `block` on, uint64: (R, 4 num_blocks)."""
    # NumPy's generator counts before it makes a block.
    counter = xp.arange(num_blocks, dtype=np.uint64) + np.uint64(block + 1)
    zero = xp.zeros_like(counter)
    out = xp.stack(xp.broadcast_arrays(*_mixed(counter, zero, zero, zero, seed_R1, stream_R1)), axis=-1)
    return out.reshape(*out.shape[:-2], 4 * num_blocks)  # type: ignore[no-any-return]


def folded(xp: Any, keys_R2: Array, data: int) -> Array:
    """`random.Key.fold_in` of each of R keys, their seeds and streams: (R, 2)."""
    carry, low = divmod(data + 1, _WORD)
    seed, stream = keys_R2[:, 0], keys_R2[:, 1]
    zero = xp.zeros_like(seed)
    return xp.stack(  # type: ignore[no-any-return]
        _mixed(zero + np.uint64(low), zero + np.uint64(carry), zero, zero + _TOP, seed, stream)[:2], axis=1
    )


def _mixed(a: Array, b: Array, c: Array, d: Array, seed: Array, stream: Array) -> tuple[Array, Array, Array, Array]:
    """The words of counters, by their own four words from the lowest on."""
    for turn in range(_ROUNDS):
        key0, key1 = (
            word + np.uint64(turn * step % _WORD) for word, step in zip((seed, stream), _KEY_STEPS, strict=True)
        )
        (high0, low0), (high1, low1) = _product(a, _MULTIPLIERS[0]), _product(c, _MULTIPLIERS[1])
        a, b, c, d = high1 ^ b ^ key0, low1, high0 ^ d ^ key1, low0
    return a, b, c, d


def _product(x: Array, multiplier: int) -> tuple[Array, Array]:
    """The upper and the lower 64 bits of x multiplier, from products of halves."""
    low, high = np.uint64(multiplier & 0xFFFFFFFF), np.uint64(multiplier >> 32)
    x_low, x_high = x & _LOW, x >> _HALF
    middle = x_high * low + ((x_low * low) >> _HALF)
    cross = x_low * high + (middle & _LOW)
    return x_high * high + (middle >> _HALF) + (cross >> _HALF), x * np.uint64(multiplier)
