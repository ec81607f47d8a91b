"""bfloat16 on the CPU: a dtype of our own, because NumPy has none.

Its arrays are operands that were rounded for a product (`kernels.gemm`): indexing, views and copies work, arithmetic
does not. No Tensor has this dtype. On a device bfloat16 is the dtype of the package ml_dtypes instead.
"""

from __future__ import annotations

import numpy as np

from tensorgrad.array import Array

__all__ = ["BFLOAT16", "is_bfloat16", "rounded_to_bfloat16", "to_float32"]

BFLOAT16 = np.dtype([("bits", np.uint16)])  # a record, so that it differs from a tensor's unsigned integers
_BITS_OF_NAN = 0x7FC0  # a quiet one


def is_bfloat16(a: Array) -> bool:
    """Whether the elements have the dtype of this module."""
    return a.dtype == BFLOAT16


def rounded_to_bfloat16(x: Array) -> Array:
    """float32 rounded to the nearest bfloat16, ties to even; any nan becomes a quiet one."""
    bits = x.view(np.uint32)
    rounded = (bits + (np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)))) >> np.uint32(16)
    return np.where(np.isnan(x), np.uint32(_BITS_OF_NAN), rounded).astype(np.uint16).view(BFLOAT16)


def to_float32(a: Array) -> Array:
    """The same numbers in float32, exactly."""
    return (a.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
