"""Conversion between float dtypes."""

from __future__ import annotations

from tensorgrad.array import Array
from tensorgrad.dtype import DType


def cast(x: Array, dtype: DType) -> Array:
    return x.astype(dtype)
