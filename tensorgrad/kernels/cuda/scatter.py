"""Rows of a table named by an index, in which rows may repeat: taken, and added to."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.array import Array, module_of
from tensorgrad.dtype import is_float
from tensorgrad.kernels import reference
from tensorgrad.kernels.cuda.launch import Kernel, launch
from tensorgrad.kernels.cuda.operand import WARP, blocks_for, dense, scalar, vector, wide_dtype
from tensorgrad.kernels.providers import fell_back

__all__ = ["scatter_add", "take_rows"]

_THREADS = 128
_CHUNK = 32  # sorted positions that a block adds


# The names of ids' dtypes in the sources.
_IDS = {
    "int64": "int64",
    "int32": "int",
    "int16": "short",
    "uint64": "uint64",
    "uint32": "unsigned",
    "uint16": "unsigned short",
    "uint8": "unsigned char",
}


def take_rows(table: Array, ids: Array) -> Array:
    is_table = is_float(table.dtype) and table.shape[1] and table.strides[1] == table.itemsize and table.strides[0] > 0
    if not is_table or ids.dtype.name not in _IDS or not table.shape[0]:
        return table[ids]
    rows, width = table.shape
    out: Array = module_of(table).empty((*ids.shape, width), table.dtype)
    pitch = table.strides[0] // table.itemsize
    elements = vector(width, table, out)
    if pitch % elements:
        elements = 1
    macros: dict[str, str | int] = {"SCALAR": scalar(table), "VECTOR": elements, "ID": _IDS[ids.dtype.name]}
    sizes = map(np.int64, (ids.size, rows, pitch, width))
    grid = blocks_for(ids.size * WARP, _THREADS)
    launch(Kernel("gather.cu", "take_rows", macros), grid, (_THREADS,), table, dense(ids), out, *sizes)
    return out


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
    grid, sizes = (chunks * -(-width // _THREADS),), (np.int64(count), np.int64(width), np.int64(_CHUNK))
    order = dense(order.astype(np.int64, copy=False))
    runs, over_edges = (Kernel("scatter.cu", name, {"SCALAR": scalar(buffer)}) for name in ("add_runs", "add_edges"))
    launch(runs, grid, (_THREADS,), values, ids, order, buffer, edges, *sizes)
    launch(over_edges, grid, (_THREADS,), ids, order, buffer, edges, *sizes)
