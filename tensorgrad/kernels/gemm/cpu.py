"""Matrix products on the CPU: oneDNN where it is installed, else NumPy's BLAS; for few rows a compiled kernel.

Within `threads()` a large product is cut into parts for the threads that the kernels share; each part runs on one
of them. How it is cut depends on shapes alone, so results do not depend on the number of threads.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad.array import Array
from tensorgrad.kernels.bfloat16 import BFLOAT16, is_bfloat16
from tensorgrad.kernels.gemm import onednn
from tensorgrad.kernels.threads import finish, is_threaded, run_all, run_later

__all__ = ["matmul", "matmul_bfloat16", "matmul_into", "to_bfloat16"]

# The number of parts for a product of at least so many operations. Each part costs a handover to a thread and reads
# one operand whole; with fewer parts, fewer threads share the work, and less evenly.
_PARTS = ((1 << 35, 16), (1 << 31, 8), (1 << 27, 4), (1 << 24, 2))
_MIN_PARTS_ADDED_APART = 4  # each thread holds one such part in memory
_FLOPS_PER_READ = 32  # what a core computes while it reads an element: reading is all that counts for few rows
_FEW_ROWS = 4  # up to here the compiled kernel reads a matrix faster than BLAS and oneDNN
_MIN_ROWS = 2  # below it BLAS is faster than oneDNN
_MIN_PART_ELEMENTS, _MAX_CONVERSIONS = 1 << 17, 8  # parts of a conversion to bfloat16

_MAX_LATER_BYTES = 1 << 23  # of operands that a product left for later keeps in memory

Product = Callable[..., None]  # (a, b, out) or (a, b, out, bias)


def matmul(a: Array, b: Array, bias: Array | None = None) -> Array:
    """The product over the last two axes (+ bias (N,)), leading axes broadcast; ValueError if the shapes do not fit."""
    if is_threaded() and a.ndim == b.ndim >= 2 and a.dtype.kind == "f" and a.dtype == b.dtype:
        *lead, rows, inner = a.shape
        columns = b.shape[-1]
        parts = _num_parts(a, b)
        if b.shape == (*lead, inner, columns) and parts > 1:
            out = np.empty((*lead, rows, columns), a.dtype)
            product = _blas
            if rows <= _FEW_ROWS and (vector := _compiled()) and vector.is_for(a, b):
                product = functools.partial(_of_few_rows, vector)
            elif a.dtype == np.float32 and rows >= _MIN_ROWS and not onednn.problem():
                a, b, product = _readable(a), _readable(b), onednn.matmul
            run_all(_parts(product, a, b, out, parts, bias))
            return out
    whole: Array = np.matmul(a, b).astype(a.dtype, copy=False)  # for ml_dtypes' bfloat16 NumPy returns float32
    if bias is not None:
        whole += bias
    return whole


@functools.cache
def _compiled() -> Any:
    """The compiled kernel's module; None where kernels are not compiled."""
    from tensorgrad import kernels  # which imports this file

    if kernels.cpu_kernels()[0] is kernels.reference:
        return None
    from tensorgrad.kernels.compiled import vector

    return vector


def matmul_bfloat16(a: Array, b: Array, bias: Array | None = None) -> Array:
    """The float32 product of two bfloat16 matrices (+ bias (N,)), by oneDNN."""
    out = np.empty((a.shape[0], b.shape[1]), np.float32)
    if a.size and b.size:
        run_all(_parts(onednn.matmul, a, b, out, _num_parts(a, b), bias))
    else:
        out[...] = 0 if bias is None else bias
    return out


def matmul_into(a: Array, b: Array, out: Array, *, accumulate: bool) -> None:
    """out = a b (+ out), for matrices of the dtype of `out`, or of bfloat16; of any memory order.

    Idle threads compute it later, unless a and b are large: the result is there after `kernels.threads.finish`.
    """
    is_narrow = is_bfloat16(a)
    by_onednn = is_narrow or (is_threaded() and a.dtype == np.float32 and not onednn.problem())
    if not (a.size and b.size and out.flags.c_contiguous and (is_narrow or is_threaded())):
        finish(out)
        product = matmul_bfloat16(a, b) if is_narrow else np.matmul(a, b)
        if accumulate:
            out += product
        else:
            out[...] = product
        return
    run: Product = onednn.matmul if by_onednn else _blas
    if by_onednn:
        a, b = _readable(a), _readable(b)
    parts = _num_parts(a, b)
    if accumulate and by_onednn and not is_narrow:
        run = functools.partial(onednn.matmul, accumulate=True)
    elif accumulate:
        # BLAS has no sum with `out` in NumPy; in oneDNN's, some layouts of a bfloat16 `a` are a thousand times as slow.
        run = functools.partial(_add_apart, run)
        parts = max(parts, _MIN_PARTS_ADDED_APART) if parts > 1 else 1
    tasks = _parts(run, a, b, out, parts)
    if a.nbytes + b.nbytes <= _MAX_LATER_BYTES:
        run_later(tasks, out)
    else:
        finish(out)
        run_all(tasks)


def to_bfloat16(a: Array) -> Array:
    """A float32 matrix rounded to bfloat16, ties to even, in the memory order of `a`; by oneDNN."""
    a = _readable(a)
    out = np.empty_like(a, BFLOAT16)
    # Cut along the axis whose neighbours are far apart.
    (source, target) = (a, out) if a.strides[0] >= a.strides[-1] else (a.T, out.T)
    step = max(-(-source.shape[0] // _MAX_CONVERSIONS), -(-_MIN_PART_ELEMENTS // max(1, source.shape[1])))
    starts = range(0, source.shape[0], step) if a.size else ()
    parts = [slice(start, start + step) for start in starts]
    run_all([functools.partial(onednn.to_bfloat16, source[part], target[part]) for part in parts])
    return out


def _num_parts(a: Array, b: Array) -> int:
    """Into how many parts to cut the product: 1 where sharing it among threads does not pay."""
    flops = 2 * a.size * b.shape[-1] + _FLOPS_PER_READ * (a.size + b.size)
    return next((parts for least, parts in _PARTS if flops >= least), 1)


def _parts(
    product: Product, a: Array, b: Array, out: Array, parts: int, bias: Array | None = None
) -> list[Callable[[], None]]:
    """A product as so many tasks, cut along the first axis of `out`, or along its last where that is longer."""
    is_cut_along_rows = a.ndim > 2 or out.shape[0] >= out.shape[1]
    length = out.shape[0 if is_cut_along_rows else 1]
    step = -(-length // parts)
    tasks: list[Callable[[], None]] = []
    for start in range(0, length, step):
        part = slice(start, start + step)
        if is_cut_along_rows:
            operands, biases = (a[part], b if b.ndim == 2 else b[part], out[part]), (bias,)
        else:
            operands, biases = (a, b[:, part], out[:, part]), (None if bias is None else bias[part],)
        tasks.append(functools.partial(product, *operands, *(() if bias is None else biases)))
    return tasks


def _blas(a: Array, b: Array, out: Array, bias: Array | None = None) -> None:
    np.matmul(a, b, out=out)
    if bias is not None:
        out += bias


def _of_few_rows(vector: Any, a: Array, b: Array, out: Array, bias: Array | None = None) -> None:
    vector.product(a, b, out)
    if bias is not None:
        out += bias


def _add_apart(product: Product, a: Array, b: Array, out: Array) -> None:
    """out += a b, by way of an array of the size of `out`."""
    part = np.empty(out.shape, out.dtype)
    product(a, b, part)
    out += part


def _readable(a: Array) -> Array:
    """`a`, or a copy of it where neither its rows nor its columns are contiguous, or where rows overlap."""
    row, column = a.strides[-2] // a.itemsize, a.strides[-1] // a.itemsize
    is_dense = (column == 1 and row >= a.shape[-1]) or (row == 1 and column >= a.shape[-2])
    return a if is_dense and all(step > 0 for step in a.strides) else np.ascontiguousarray(a)
