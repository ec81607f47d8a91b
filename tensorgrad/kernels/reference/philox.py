"""Random numbers from keys, by the counter-based generator Philox4x64-10.

A key is a seed and a stream. The word at position p of its stream is word p % 4 of the block of counter p / 4 + 1, so
any part of a stream can be computed anywhere. On the CPU NumPy's generator of the same name computes the words. On a
device array expressions do, at some hundred elementwise operations a word; the CUDA kernels give the same words faster.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, figure 3 and table 2.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgrad.array import Array, creation_module, device_of, module_of, module_on
from tensorgrad.dtype import DType

__all__ = ["fold_in", "uniform"]

_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_KEY_STEPS = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_ROUNDS = 10
_WORD = 1 << 64
# `fold_in` reads blocks that no stream of values reaches: the top word of their counters is all ones.
_TOP = _WORD - 1
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def uniform(keys_R2: Array, count: int, start: int, dtype: DType) -> Array:
    if dtype == np.float64:
        return (words(keys_R2, count, start) >> np.uint64(11)) * 2.0**-53
    word, skipped = divmod(start, 2)
    halves = words(keys_R2, (skipped + count + 1) // 2, word).view(np.uint32)[:, skipped : skipped + count]
    return (halves >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def fold_in(keys_R2: Array, data: int) -> Array:
    xp = module_of(keys_R2)
    carry, low = divmod(data + 1, _WORD)
    seed, stream = keys_R2[:, 0], keys_R2[:, 1]
    zero = xp.zeros_like(seed)
    counter = (zero + np.uint64(low), zero + np.uint64(carry), zero, zero + np.uint64(_TOP))
    return xp.stack(_mixed(*counter, seed, stream)[:2], axis=1)  # type: ignore[no-any-return]


def words(keys_R2: Array, count: int, start: int) -> Array:
    """`count` words of each key's stream from position `start` on, (R, count) uint64, where the keys are."""
    block, skipped = divmod(start, 4)  # one counter gives four words
    if not isinstance(keys_R2, np.ndarray):
        xp = module_of(keys_R2)
        made = _blocks(xp, keys_R2[:, :1], keys_R2[:, 1:], block, -(-(skipped + count) // 4))
        return xp.ascontiguousarray(made[:, skipped : skipped + count])
    if (xp := creation_module()) is not np:
        return xp.empty((len(keys_R2), count), np.uint64)  # type: ignore[no-any-return]
    generators = (np.random.Philox(key=seed + (stream << 64), counter=block) for seed, stream in keys_R2.tolist())
    rows: Any = [generator.random_raw(skipped + count)[skipped:] for generator in generators]
    return rows[0][None] if len(rows) == 1 else np.array(rows, np.uint64).reshape(len(rows), count)


def folded(seed: int, stream: int, data: int) -> tuple[int, int]:
    """`fold_in` for a single key, in Python's integers: faster than arrays of one element."""
    a, b, c, d = data + 1 & _WORD - 1, data + 1 >> 64, 0, _TOP
    (first, second), (first_step, second_step) = _MULTIPLIERS, _KEY_STEPS
    for _ in range(_ROUNDS):
        product0, product1 = a * first, c * second
        a, c = product1 >> 64 ^ b ^ seed, product0 >> 64 ^ d ^ stream
        b, d = product1 & _WORD - 1, product0 & _WORD - 1
        seed, stream = seed + first_step & _WORD - 1, stream + second_step & _WORD - 1
    return a, b


def keys_on(keys_R2: Array, device: str) -> Array:
    """Keys where `device` can read them. A single key on the host is filled in there by value: nothing is copied."""
    if device_of(keys_R2) != "cpu" or (xp := module_on(device)) is None:
        return keys_R2
    placed: Array = xp.empty((1, 2), np.uint64)
    placed[0, 0], placed[0, 1] = keys_R2[0]
    return placed


def least_kept(rate: float) -> int:
    """What dropout compares with: a float32 number is n / 2^24, and stays if n is at least this integer."""
    return math.ceil(float(np.float32(rate)) * 2**24)


def _blocks(xp: Any, seed_R1: Array, stream_R1: Array, block: int, num_blocks: int) -> Array:
    """The words of `num_blocks` counters of each key, (R, 4 num_blocks); `block` counts from 0."""
    # NumPy's generator counts before it makes a block.
    counter = xp.arange(num_blocks, dtype=np.uint64) + np.uint64(block + 1)
    zero = xp.zeros_like(counter)
    out = xp.stack(xp.broadcast_arrays(*_mixed(counter, zero, zero, zero, seed_R1, stream_R1)), axis=-1)
    return out.reshape(*out.shape[:-2], 4 * num_blocks)  # type: ignore[no-any-return]


def _mixed(a: Array, b: Array, c: Array, d: Array, seed: Array, stream: Array) -> tuple[Array, Array, Array, Array]:
    """The four words of each counter (a, b, c, d), given from its lowest word on."""
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
