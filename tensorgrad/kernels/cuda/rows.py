"""Sums over a matrix's rows, and one row written to all: what is due beside a product that does not do it itself."""

from __future__ import annotations

import numpy as np

from tensorgrad.array import Array, module_of
from tensorgrad.dtype import DType
from tensorgrad.kernels.cuda.launch import Kernel, launch
from tensorgrad.kernels.cuda.operand import WARP, blocks_for, dense, scalar, threads_for, vector, wide_dtype

__all__ = ["add_partials", "column_sums", "fill_rows"]

_WARPS = 8  # in a block
_CHUNK = 64  # the fewest rows for a block, so that each warp has several loads under way
_BLOCKS = 2048  # at most: each leaves a row of sums to add
_FILLING_THREADS = 128


def column_sums(x_NC: Array, dtype: DType) -> Array:
    rows, width = x_NC.shape
    xp, wide = module_of(x_NC), wide_dtype(x_NC)
    sums: Array = xp.empty(width, wide)
    row, column = (step // x_NC.itemsize for step in x_NC.strides)
    if row == 1 and column >= rows > 1:  # its columns are dense: sum the rows of its transpose
        _sum_rows(x_NC.T, column, sums)
    else:
        x = x_NC if column == 1 and row >= width else dense(x_NC)
        _sum_columns(x, x.strides[0] // x.itemsize, sums)
    return sums.astype(dtype, copy=False)


def _sum_rows(x: Array, pitch: int, sums: Array) -> None:
    rows, width = x.shape
    elements = _elements(width, pitch, x)
    threads = min(256, threads_for(width, elements))
    bytes_ = threads // WARP * sums.itemsize
    sizes = (np.int64(width), np.int64(pitch))
    launch(_kernel("row_sums", x, elements), (rows,), (threads,), x, sums, *sizes, shared_bytes=bytes_)


def _sum_columns(x: Array, pitch: int, sums: Array) -> None:
    rows, width = x.shape
    elements = _elements(width, pitch, x)
    tile = WARP * elements
    tiles = -(-width // tile)
    chunks = min(-(-rows // _CHUNK), max(1, _BLOCKS // max(1, tiles)))
    chunk = -(-rows // max(1, chunks))
    partials = module_of(x).empty((chunks, width), sums.dtype)
    sizes = map(np.int64, (rows, width, pitch, chunk))
    kernel, bytes_ = _kernel("column_sums", x, elements), _WARPS * tile * sums.itemsize
    launch(kernel, (tiles * chunks,), (_WARPS * WARP,), x, partials, *sizes, shared_bytes=bytes_)
    add_partials(partials, sums)


def add_partials(partials: Array, out: Array) -> None:
    """out = the sums over the first axis of dense partials, which have the accumulation dtype of `out`."""
    threads, size = _WARPS * WARP, np.int64(out.size)
    kernel, bytes_ = _kernel("add_partials", out, 1), threads * partials.itemsize
    count = np.int64(partials.shape[0])
    launch(kernel, blocks_for(out.size, WARP), (threads,), partials, out, count, size, shared_bytes=bytes_)


def fill_rows(out_NC: Array, row_C: Array) -> None:
    rows, width = out_NC.shape
    row, pitch = dense(row_C), out_NC.strides[0] // out_NC.itemsize
    elements = _elements(width, pitch, row, out_NC)
    sizes = map(np.int64, (rows, width, pitch))
    grid = blocks_for(rows * WARP, _FILLING_THREADS)
    launch(_kernel("fill_rows", out_NC, elements), grid, (_FILLING_THREADS,), row, out_NC, *sizes)


def _elements(width: int, pitch: int, *arrays: Array) -> int:
    """How many elements a thread takes at once, in rows of `width` that begin `pitch` apart."""
    elements = vector(width, *arrays)
    return elements if pitch % elements == 0 else 1


def _kernel(name: str, x: Array, elements: int) -> Kernel:
    return Kernel("rows.cu", name, {"SCALAR": scalar(x), "VECTOR": elements})
