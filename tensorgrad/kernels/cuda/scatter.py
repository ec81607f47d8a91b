"""Adding into rows that an index may name again and again."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.array import Array, module_of
from tensorgrad.dtype import is_float
from tensorgrad.kernels import reference
from tensorgrad.kernels.cuda.launch import Kernel, launch
from tensorgrad.kernels.cuda.operand import dense, scalar, wide_dtype
from tensorgrad.kernels.cuda.providers import fell_back

__all__ = ["scatter_add"]

_THREADS = 128
_CHUNK = 32  # sorted positions that a block adds up


def scatter_add(buffer: Array, index: Any, values: Array, order: Array | None = None) -> None:
    is_rows = type(index) is not tuple and index.dtype != bool
    if not is_rows or not is_float(buffer.dtype) or values.dtype != buffer.dtype or not buffer.flags.c_contiguous:
        fell_back("kernels", "reference", "scatter_add takes one index of rows, and floats in dense memory")
        reference.scatter_add(buffer, index, values, order)
        return
    if not index.size or not values.size:
        return
    xp = module_of(buffer)
    ids = dense(index.reshape(-1).astype(np.int64, copy=False))
    if order is None:
        ids = xp.where(ids < 0, ids + buffer.shape[0], ids)
        order = xp.argsort(ids, kind="stable")
    values = dense(values.reshape(ids.shape[0], -1))
    count, width = values.shape
    chunks = -(-count // _CHUNK)
    edges = xp.empty((chunks, 2, width), wide_dtype(buffer))
    grid, sizes = (chunks, -(-width // _THREADS)), (np.int64(count), np.int64(width), np.int64(_CHUNK))
    order = dense(order.astype(np.int64, copy=False))
    runs, over_edges = (Kernel("scatter.cu", name, {"SCALAR": scalar(buffer)}) for name in ("add_runs", "add_edges"))
    launch(runs, grid, (_THREADS,), values, ids, order, buffer, edges, *sizes)
    launch(over_edges, grid, (_THREADS,), ids, order, buffer, edges, *sizes)
