"""Conversion between float dtypes."""

from __future__ import annotations

from tensorgrad.array import Array
from tensorgrad.dtype import DType

__all__ = ["cast"]


def cast(x: Array, dtype: DType, out: Array | None = None) -> Array:
    if out is None:
        return x.astype(dtype)
    out[...] = x
    return out
