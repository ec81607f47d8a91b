"""Random numbers drawn from keys on the device, and dropout by them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.array import Array, module_of
from tensorgrad.dtype import DType
from tensorgrad.kernels.cuda.launch import Kernel, launch
from tensorgrad.kernels.cuda.operand import blocks_for, dense, scalar, vector, wide_dtype
from tensorgrad.kernels.reference.philox import least_kept

__all__ = ["dropout", "fold_in", "uniform"]

_THREADS = 256
_NUMBERS = 8  # float32 numbers that one counter of the generator gives
_MAX_GRID_Y = 65535


def uniform(keys_R2: Array, count: int, start: int, dtype: DType) -> Array:
    out_RN: Array = module_of(keys_R2).empty((keys_R2.shape[0], count), dtype)
    name = "uniform_double" if dtype == np.float64 else "uniform_float"
    sizes = (np.int64(keys_R2.shape[0]), np.int64(count), np.int64(start))
    launch(Kernel("random.cu", name), blocks_for(out_RN.size, _THREADS), (_THREADS,), keys_R2, out_RN, *sizes)
    return out_RN


def fold_in(keys_R2: Array, data: int) -> Array:
    keys_R2 = dense(keys_R2)
    out_R2: Array = module_of(keys_R2).empty(keys_R2.shape, np.uint64)
    count = keys_R2.shape[0]
    arguments = (keys_R2, out_R2, np.int64(count), np.uint64(data))
    launch(Kernel("random.cu", "fold_in"), blocks_for(count, _THREADS), (_THREADS,), *arguments)
    return out_R2


def dropout(x: Array, keys_R2: Array, rate: float) -> Array:
    x = dense(x)
    out: Array = module_of(x).empty(x.shape, x.dtype)
    if not out.size:
        return out
    rows = len(keys_R2)
    count = x.size // rows
    elements = vector(count, x, out) if count % _NUMBERS == 0 else 1
    numbers = (np.int64(rows), np.int64(count), np.uint32(least_kept(rate)), wide_dtype(x)(1 / (1 - rate)))
    grid = (*blocks_for(-(-count // _NUMBERS), _THREADS), min(rows, _MAX_GRID_Y))
    kernel = Kernel("dropout.cu", "dropout", {"SCALAR": scalar(x), "VECTOR": elements})
    launch(kernel, grid, (_THREADS,), x, out, *key_arguments(keys_R2), *numbers)
    return out


def key_arguments(keys_R2: Array) -> tuple[Any, ...]:
    """How a kernel takes keys: by their address, or a single one on the host by value, with no address."""
    if isinstance(keys_R2, np.ndarray) and len(keys_R2) == 1:
        return None, *keys_R2[0]
    return keys_R2, np.uint64(0), np.uint64(0)
