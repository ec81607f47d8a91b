"""Norms of vectors and of matrices. Where a norm has no derivative its gradient is PyTorch's: 0 at 0."""

from __future__ import annotations

import math
from types import NoneType
from typing import Any

import numpy as np

from tensorgrad.arguments import as_flag, as_number
from tensorgrad.array import module_of
from tensorgrad.dtype import accumulation_dtype
from tensorgrad.errors import ArgumentError, ShapeError, shown
from tensorgrad.ops.broadcast import reshape, spread, sum
from tensorgrad.ops.common import Axis, TensorLike, float_operand, normalise_axes
from tensorgrad.ops.elementwise import abs, divide, multiply, pow, sign, where
from tensorgrad.ops.linalg.decomposition import svdvals
from tensorgrad.ops.linalg.operand import matrix_operand
from tensorgrad.ops.reduce import max, min
from tensorgrad.ops.shape import permute_dims
from tensorgrad.tape import data, record
from tensorgrad.tensor import Tensor

__all__ = ["matrix_norm", "norm", "vector_norm"]


def vector_norm(x: TensorLike, *, axis: Axis = None, keepdims: bool = False, ord: float = 2) -> Tensor:  # noqa: A002
    """(sum of |x|^ord)^(1 / ord) over `axis` (None: over all elements).

    inf is the largest |x|, -inf the smallest (ties share the gradient), 0 how many are not 0. A negative
    ord gives 0 where an element is 0. The gradient of an element 0 is 0, even for 0 < ord < 1, where the
    derivative is infinite. Raises ShapeError for no elements and an ord that is inf or negative, DTypeError.
    """
    a = float_operand("vector_norm", x)
    axes, keepdims = normalise_axes("vector_norm", axis, a.ndim), as_flag("vector_norm", "keepdims", keepdims)
    order = as_number("vector_norm", "ord", ord)
    if (order == math.inf or order < 0) and 0 in (a.shape[i] for i in axes):
        raise ShapeError(
            f"vector_norm: expected at least one element for ord={shown(ord)}, got shape {a.shape}: "
            "leave empty axes out"
        )
    if math.isinf(order):
        return (max if order > 0 else min)(abs(x), axis=axes, keepdims=keepdims)
    if order == 1:
        return sum(abs(x), axis=axes, keepdims=keepdims)
    xp = module_of(a)
    if order == 0:
        count = (a != 0).sum(axis=axes, keepdims=keepdims).astype(a.dtype)
        return record(count, (x, lambda g: xp.zeros_like(a)))
    if order == 2:
        wide = a.astype(accumulation_dtype(a.dtype), copy=False)
        out = xp.sqrt((wide * wide).sum(axis=axes, keepdims=keepdims)).astype(a.dtype)
    else:
        with np.errstate(divide="ignore"):  # 0 to a negative power is inf, and inf to one is 0: as it should be
            powers = (xp.abs(a).astype(np.float64) ** order).sum(axis=axes, keepdims=keepdims)
            out = (powers ** (1 / order)).astype(a.dtype)

    def vjp(g: Any, y: Any) -> Any:
        g, y = spread(g, a.shape, axes, keepdims), spread(y, a.shape, axes, keepdims)
        is_flat = data(y) == 0
        size = where(is_flat, 1.0, y)
        if order == 2:
            return multiply(x, where(is_flat, 0.0, divide(g, size)))
        # sign(x) (|x| / y)^(ord - 1). The quotient has a moderate power, unless it is tiny and ord < 1.
        is_flat = is_flat | (a == 0)
        part, whole = where(is_flat, 1.0, abs(x)), where(is_flat, 1.0, size)
        if 0 < order < 1:
            slope = multiply(pow(part, order - 1), pow(whole, 1 - order))
        else:
            slope = pow(divide(part, whole), order - 1)
        return multiply(multiply(where(is_flat, 0.0, g), sign(data(x))), slope)

    return record(out, (x, vjp), keep_output=True)


def matrix_norm(x: TensorLike, *, keepdims: bool = False, ord: float | str | None = "fro") -> Tensor:  # noqa: A002
    """The norms of the matrices in the last two axes, (..., M, N) to (...).

    ord "fro": the root of the sum of squares; "nuc": the sum of the singular values; 2, -2: the largest
    and the smallest of them; 1, -1: the largest and smallest column sum of |x|; inf, -inf: of the rows.
    Raises ShapeError (no rows or columns to take the smallest of), DTypeError, ArgumentError for another ord.
    """
    matrix_operand("matrix_norm", float_operand("matrix_norm", x))
    return _matrix_norm("matrix_norm", x, ord, as_flag("matrix_norm", "keepdims", keepdims))  # type: ignore[no-any-return]


def norm(x: TensorLike, *, ord: float | str | None = None, axis: Axis = None, keepdims: bool = False) -> Tensor:  # noqa: A002
    """`vector_norm` along one axis, `matrix_norm` over two, as `torch.linalg.norm` chooses.

    With neither ord nor axis: `vector_norm` of all elements; with ord alone x must be a vector or a matrix.
    Raises ShapeError, DTypeError, ArgumentError.
    """
    a = float_operand("norm", x)
    if axis is None and ord is not None and a.ndim not in (1, 2):
        raise ShapeError(f"norm: expected a vector or a matrix for ord={shown(ord)}, got shape {a.shape}: pass axis")
    axes, keepdims = normalise_axes("norm", axis, a.ndim), as_flag("norm", "keepdims", keepdims)
    if axis is not None and len(axes) not in (1, 2):
        raise ShapeError(f"norm: expected one axis or two, got {shown(axis)}: use vector_norm")
    if ord is None or len(axes) == 1:
        return vector_norm(x, axis=axes, keepdims=keepdims, ord=2 if ord is None else as_number("norm", "ord", ord))
    others = [i for i in range(a.ndim) if i not in axes]
    out = _matrix_norm("norm", permute_dims(x, [*others, *axes]), ord, False)
    return reshape(out, [1 if i in axes else n for i, n in enumerate(a.shape)]) if keepdims else out


def _matrix_norm(op: str, x: Any, order: Any, keepdims: bool) -> Any:
    rows, columns = x.shape[-2:]
    if not isinstance(order, (str, int, float, NoneType)):
        order = as_number(op, "ord", order)
    if order in ("fro", None):
        return vector_norm(x, axis=(-2, -1), keepdims=keepdims)
    if order == "nuc" or order in (2, -2):
        parts, count = svdvals(x), [rows, columns]
    elif order in (1, -1, math.inf, -math.inf):
        parts, count = sum(abs(x), axis=-2 if order in (1, -1) else -1), [columns if order in (1, -1) else rows]
    else:
        raise ArgumentError(
            f'{op}: expected ord "fro", "nuc", 1, -1, 2, -2, inf or -inf for matrices, got {shown(order)}: '
            "choose one of those"
        )
    if order == "nuc" or (order > 0 and 0 in count):
        out = sum(parts, axis=-1)
    elif 0 in count:
        raise ShapeError(
            f"{op}: expected at least one element for ord={order}, got matrices of shape {(rows, columns)}: "
            "leave empty axes out"
        )
    else:
        out = (max if order > 0 else min)(parts, axis=(-1,))
    return reshape(out, (*x.shape[:-2], 1, 1)) if keepdims else out
