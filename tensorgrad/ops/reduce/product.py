"""The product, exact with any number of zeros."""

from __future__ import annotations

import math

import numpy as np

from tensorgrad.arguments import as_flag
from tensorgrad.dtype import DTypeLike, as_dtype, is_float, sum_dtype
from tensorgrad.ops.broadcast import reshape, sum
from tensorgrad.ops.common import Axis, TensorLike, normalise_axes, operand
from tensorgrad.ops.convert import astype
from tensorgrad.ops.elementwise import add, multiply
from tensorgrad.ops.index import getitem
from tensorgrad.ops.shape import concat, permute_dims
from tensorgrad.tensor import Tensor

__all__ = ["prod"]


def prod(x: TensorLike, *, axis: Axis = None, dtype: DTypeLike | None = None, keepdims: bool = False) -> Tensor:
    """The product, in `dtype`; 1 for no elements. By default integers and bools give int64, unsigned ones uint64.

    The gradient is exact with any number of zeros: elements are multiplied pairwise in log2(n)
    steps, whose gradients never divide by an element; floats as float64, rounded once.
    """
    a = operand("prod", x)
    axes, keepdims = normalise_axes("prod", axis, a.ndim), as_flag("prod", "keepdims", keepdims)
    kept = tuple(i for i in range(a.ndim) if i not in axes)
    count = math.prod(a.shape[i] for i in axes)
    target = sum_dtype(a.dtype) if dtype is None else as_dtype(dtype)
    y = astype(x, np.float64 if is_float(target) else target, copy=False)
    y = reshape(permute_dims(y, kept + axes), (*(a.shape[i] for i in kept), count))
    if not count:
        y = add(sum(y, axis=-1, keepdims=True, dtype=y.dtype), 1)
    while y.shape[-1] > 1:
        half = y.shape[-1] // 2
        pairs = multiply(getitem(y, (..., slice(0, half))), getitem(y, (..., slice(half, 2 * half))))
        odd = y.shape[-1] % 2
        y = concat([pairs, getitem(y, (..., slice(2 * half, None)))], axis=-1) if odd else pairs
    shape = tuple(1 if i in axes else n for i, n in enumerate(a.shape) if keepdims or i not in axes)
    return astype(reshape(y, shape), target)
