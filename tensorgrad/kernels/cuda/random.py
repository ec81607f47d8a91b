"""What is drawn from random keys on the device: uniform numbers, and what dropout leaves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgrad.array import Array, device_of, module_of
from tensorgrad.dtype import DType
from tensorgrad.kernels.cuda.launch import Kernel, launch
from tensorgrad.kernels.cuda.operand import blocks_for, dense, scalar, vector, wide_dtype
from tensorgrad.random import Key, RowKeys

__all__ = ["dropout", "dropout_arguments", "fold_in", "uniform"]

_THREADS = 256
_NUMBERS = 8  # float32 numbers that one counter of the generator gives
_MAX_GRID_Y = 65535


def uniform(keys_R2: Array, count: int, start: int, dtype: DType) -> Array:
    """Of each key, its seed and stream as uint64, the numbers from `start` on: (R, count), float32 or float64."""
    out_RN: Array = module_of(keys_R2).empty((keys_R2.shape[0], count), dtype)
    name = "uniform_double" if dtype == np.float64 else "uniform_float"
    sizes = (np.int64(keys_R2.shape[0]), np.int64(count), np.int64(start))
    launch(Kernel("random.cu", name), blocks_for(out_RN.size, _THREADS), (_THREADS,), keys_R2, out_RN, *sizes)
    return out_RN


def fold_in(keys_R2: Array, data: int) -> Array:
    """`Key.fold_in` of each, (R, 2)."""
    keys_R2 = dense(keys_R2)
    out_R2: Array = module_of(keys_R2).empty(keys_R2.shape, np.uint64)
    count = keys_R2.shape[0]
    arguments = (keys_R2, out_R2, np.int64(count), np.uint64(data))
    launch(Kernel("random.cu", "fold_in"), blocks_for(count, _THREADS), (_THREADS,), *arguments)
    return out_R2


def dropout(x: Array, key: Key | RowKeys, rate: float) -> Array:
    x = dense(x)
    out: Array = module_of(x).empty(x.shape, x.dtype)
    if not out.size:
        return out
    rows = len(key.keys) if isinstance(key, RowKeys) else 1
    count = x.size // rows
    elements = vector(count, x, out) if count % _NUMBERS == 0 else 1
    keys, seed, stream, least = dropout_arguments(key, rate, x)
    numbers = (np.int64(rows), np.int64(count), least, wide_dtype(x)(1 / (1 - rate)))
    grid = (*blocks_for(-(-count // _NUMBERS), _THREADS), min(rows, _MAX_GRID_Y))
    kernel = Kernel("dropout.cu", "dropout", {"SCALAR": scalar(x), "VECTOR": elements})
    launch(kernel, grid, (_THREADS,), x, out, keys, seed, stream, *numbers)
    return out


def dropout_arguments(key: Key | RowKeys, rate: float, like: Array) -> tuple[Any, ...]:
    """What kernels take of a dropout: keys (R, 2) on `like`'s device, or None and the one key; the least number kept.

    A number is the top 24 bits of a half-word, n, and stays where float32 n / 2^24 >= rate.
    """
    least = np.uint32(math.ceil(float(np.float32(rate)) * 2**24))
    if isinstance(key, Key):
        return None, np.uint64(key.seed), np.uint64(key.stream), least
    return key.pairs_on(device_of(like)), np.uint64(0), np.uint64(0), least
