"""Uniform numbers of random keys, made on the device."""

from __future__ import annotations

import numpy as np

from tensorgrad.array import Array, module_of
from tensorgrad.dtype import DType
from tensorgrad.kernels.cuda.launch import Kernel, launch
from tensorgrad.kernels.cuda.operand import blocks_for

__all__ = ["uniform"]

_THREADS = 256


def uniform(keys_R2: Array, count: int, start: int, dtype: DType) -> Array:
    """Of each key, its seed and stream as uint64, the numbers from `start` on: (R, count), float32 or float64."""
    out_RN: Array = module_of(keys_R2).empty((keys_R2.shape[0], count), dtype)
    name = "uniform_double" if dtype == np.float64 else "uniform_float"
    sizes = (np.int64(keys_R2.shape[0]), np.int64(count), np.int64(start))
    launch(Kernel("random.cu", name), blocks_for(out_RN.size, _THREADS), (_THREADS,), keys_R2, out_RN, *sizes)
    return out_RN
