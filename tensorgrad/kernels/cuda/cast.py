"""Conversion between float dtypes."""

from __future__ import annotations

import numpy as np

from tensorgrad.array import Array, address_of, module_of
from tensorgrad.dtype import DType
from tensorgrad.kernels.cuda.launch import Kernel, launch
from tensorgrad.kernels.cuda.operand import blocks_for, scalar

__all__ = ["cast"]

_THREADS = 256
_ELEMENTS = 8  # of a thread: 16 bytes of the narrower dtype
_ALIGNMENT = 16


def cast(x: Array, dtype: DType) -> Array:
    if np.float64 in (x.dtype, dtype) or not x.flags.c_contiguous:
        return x.astype(dtype)
    out: Array = module_of(x).empty(x.shape, dtype)
    fits = x.size % _ELEMENTS == 0 and address_of(x) % _ALIGNMENT == 0
    elements = _ELEMENTS if fits else 1
    kernel = Kernel("cast.cu", "cast", {"SCALAR": scalar(x), "TARGET": scalar(out), "ELEMENTS": elements})
    launch(kernel, blocks_for(-(-x.size // elements), _THREADS), (_THREADS,), x, out, np.int64(x.size))
    return out
