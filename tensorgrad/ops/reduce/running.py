"""Running sums and products along an axis, and differences."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.arguments import as_flag, as_integer
from tensorgrad.array import module_of
from tensorgrad.dtype import DTypeLike, as_dtype, is_float, sum_dtype
from tensorgrad.errors import ShapeError, shown
from tensorgrad.ops.broadcast import reshape
from tensorgrad.ops.common import TensorLike, axis_or_only, normalise_axis, operand
from tensorgrad.ops.convert import astype
from tensorgrad.ops.elementwise import add, multiply, subtract
from tensorgrad.ops.index import getitem
from tensorgrad.ops.shape import concat, flip
from tensorgrad.tape import data, record
from tensorgrad.tensor import Tensor

__all__ = ["cumulative_prod", "cumulative_sum", "diff"]


def cumulative_sum(
    x: TensorLike, *, axis: int | None = None, dtype: DTypeLike | None = None, include_initial: bool = False
) -> Tensor:
    """The running sum along `axis`, each element included in its own.

    Args:
        axis: a vector needs none.
        dtype: by default that of x, int64 for integers and bools, uint64 for unsigned ones.
        include_initial: start with 0, the sum of no elements; the result is then one longer than x.
    """
    x, axis = _converted("cumulative_sum", x, axis, dtype)
    a = data(x)
    out = module_of(a).cumsum(a, axis=axis, dtype=np.float64 if is_float(a.dtype) else a.dtype)

    def vjp(g: Any) -> Any:
        return flip(cumulative_sum(flip(g, axis=axis), axis=axis), axis=axis)

    return _with_initial("cumulative_sum", record(out.astype(a.dtype, copy=False), (x, vjp)), 0, axis, include_initial)


def cumulative_prod(
    x: TensorLike, *, axis: int | None = None, dtype: DTypeLike | None = None, include_initial: bool = False
) -> Tensor:
    """The running product along `axis`, each element included in its own; arguments as in `cumulative_sum`.

    Grad:    dx_i = (x_0 ... x_{i-1}) s_i,  s_i = g_i + x_{i+1} s_{i+1}: exact with any number of zeros, as nothing is
             divided; s in log2(n) steps.
    Saves:   x, the output.
    """
    x, axis = _converted("cumulative_prod", x, axis, dtype)
    a = data(x)
    out = module_of(a).cumprod(a, axis=axis, dtype=np.float64 if is_float(a.dtype) else a.dtype)

    def part(y: Any, start: int, stop: int | None = None) -> Any:
        return getitem(y, (*(slice(None),) * axis, slice(start, stop)))

    def vjp(g: Any, y: Any) -> Any:
        n = a.shape[axis]
        if not n:
            return g
        # After each step, s_i is right but for terms `reach` or more away, whose common factor is `factor`_i.
        s, factor, before = (astype(v, np.float64, copy=False) for v in (g, part(x, 1), part(y, 0, -1)))
        reach = 1
        while reach < n:
            near = add(part(s, 0, n - reach), multiply(factor, part(s, reach)))
            s = concat([near, part(s, n - reach)], axis=axis)
            factor = multiply(part(factor, 0, -reach), part(factor, reach)) if 2 * reach < n else factor
            reach *= 2
        return astype(concat([part(s, 0, 1), multiply(before, part(s, 1))], axis=axis), a.dtype, copy=False)

    product = record(out.astype(a.dtype, copy=False), (x, vjp), keep_output=True)
    return _with_initial("cumulative_prod", product, 1, axis, include_initial)


def diff(
    x: TensorLike,
    *,
    axis: int = -1,
    n: int = 1,
    prepend: TensorLike | None = None,
    append: TensorLike | None = None,
) -> Tensor:
    """Each element's difference from the one before it along `axis`, taken `n` times.

    If n > 0, x is first joined with `prepend` and `append`, which have its sizes along the other axes.
    """
    a = operand("diff", x)
    axis = normalise_axis("diff", axis, a.ndim)
    n = as_integer("diff", "n", n)
    if n < 0:
        raise ShapeError(f"diff: expected n >= 0, got {shown(n)}: use cumulative_sum for the opposite")
    if not n:
        return reshape(x, a.shape, copy=True)
    y: Any = x
    if prepend is not None or append is not None:
        y = concat([part for part in (prepend, x, append) if part is not None], axis=axis)
    before = (slice(None),) * axis
    for _ in range(min(n, data(y).shape[axis] + 1)):  # by then nothing is left
        y = subtract(getitem(y, (*before, slice(1, None))), getitem(y, (*before, slice(0, -1))))
    return y  # type: ignore[no-any-return]


def _converted(op: str, x: TensorLike, axis: int | None, dtype: DTypeLike | None) -> tuple[Any, int]:
    """x in the dtype of the result, and the axis as 0 .. ndim - 1."""
    a = operand(op, x)
    target = sum_dtype(a.dtype) if dtype is None else as_dtype(dtype)
    return astype(x, target) if target != a.dtype else x, axis_or_only(op, axis, a.ndim)


def _with_initial(op: str, y: Tensor, initial: int, axis: int, include_initial: bool) -> Tensor:
    if not as_flag(op, "include_initial", include_initial):
        return y
    a = data(y)
    first = module_of(a).full((*a.shape[:axis], 1, *a.shape[axis + 1 :]), initial, a.dtype)
    return concat([first, y], axis=axis)
