"""Sums over a matrix's rows, and one row written to all."""

from __future__ import annotations

from tensorgrad.array import Array
from tensorgrad.dtype import DType, accumulation_dtype

__all__ = ["column_sums", "fill_rows"]


def column_sums(x_NC: Array, dtype: DType) -> Array:
    return x_NC.sum(axis=0, dtype=accumulation_dtype(x_NC.dtype)).astype(dtype, copy=False)  # type: ignore[no-any-return]


def fill_rows(out_NC: Array, row_C: Array) -> None:
    out_NC[...] = row_C
