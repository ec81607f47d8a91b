"""Conversion between float dtypes."""

from __future__ import annotations

import numpy as np

from tensorgrad.array import Array, address_of, module_of
from tensorgrad.dtype import DType
from tensorgrad.kernels import reference
from tensorgrad.kernels.cuda.launch import Kernel, launch
from tensorgrad.kernels.cuda.operand import blocks_for, scalar

__all__ = ["cast"]

_THREADS = 256
_ELEMENTS = 8  # for a thread: 16 bytes of the narrower dtype
_ALIGNMENT = 16


def cast(x: Array, dtype: DType, out: Array | None = None) -> Array:
    if np.float64 in (x.dtype, dtype) or not x.flags.c_contiguous:
        return reference.cast(x, dtype, out)
    if out is None:
        out = module_of(x).empty(x.shape, dtype)
    fits = x.size % _ELEMENTS == 0 and all(address_of(a) % _ALIGNMENT == 0 for a in (x, out))
    elements = _ELEMENTS if fits else 1
    kernel = Kernel("cast.cu", "cast", {"SCALAR": scalar(x), "TARGET": scalar(out), "ELEMENTS": elements})
    launch(kernel, blocks_for(-(-x.size // elements), _THREADS), (_THREADS,), x, out, np.int64(x.size))
    return out
