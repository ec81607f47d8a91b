"""NumPy's functions on arrays without values: the shapes that they return, and what they cost.

Views are taken of stand-ins over no memory, so NumPy itself decides their strides; its own functions
find dtypes on empty arrays. The rest are a few rules for shapes: elementwise, reduced, joined.
A function without a rule runs in NumPy on arrays that repeat one number, which takes the memory of its
real result for a moment. Functions whose result's shape depends on values are refused.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tensorgrad.array import is_concrete
from tensorgrad.tools.abstract.array import AbstractArray
from tensorgrad.tools.abstract.meter import current
from tensorgrad.tools.abstract.strides import copied_order, kept_order, refuse_values, steps
from tensorgrad.tools.flops import einsum_flops, linalg_flops, matmul_flops

__all__ = ["functions"]


class Functions:
    """Takes the place of `numpy`: `module_of` an array without values."""

    __name__ = "abstract"

    def __init__(self, source: Any) -> None:
        self.source = source  # NumPy, or a part of it such as numpy.linalg

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.source, name)
        if name == "linalg":
            return Functions(found)
        if not callable(found) or isinstance(found, (type, np.ufunc)):
            return found
        return lambda *args, **options: self.call_function(found, args, options)

    def call_function(self, function: Callable[..., Any], args: Any, options: Any) -> Any:
        """Call a function of NumPy's other than a ufunc."""
        rule = None if _is_linear_algebra(function) else _RULES.get(function.__name__)
        return _by_numpy(function, args, options) if rule is None else rule(*args, **options)

    def call_ufunc(self, ufunc: Any, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Call a ufunc; the arguments are those of `__array_ufunc__`."""
        if not all(isinstance(x, _OPERANDS) for x in inputs):
            return NotImplemented
        if ufunc is np.matmul:
            return _matmul(*inputs, **options)
        if method == "__call__" and ufunc.signature is None:
            return _elementwise(ufunc, inputs, **options)
        if method == "reduce":
            return _reduced(ufunc.reduce, *inputs, **options)
        if method == "accumulate":
            return _along(ufunc.accumulate, *inputs, **options)
        if method == "reduceat":
            return _reduced_at(*inputs, **options)
        if method == "at":
            current.get().count(math.prod(np.shape(inputs[-1])) if len(inputs) > 2 else 0)
            return None
        return _by_numpy(getattr(ufunc, method), inputs, options)


_OPERANDS = (AbstractArray, np.ndarray, np.generic, int, float)
functions = Functions(np)


# --- elementwise -------------------------------------------------------------------------------


def _empty(x: Any) -> Any:
    """An empty array of x's dtype; a Python number as it is, because its dtype is weak."""
    return np.empty(0, x.dtype) if hasattr(x, "dtype") else x


def _shape(x: Any) -> tuple[int, ...]:
    return getattr(x, "shape", ())


def _elementwise(ufunc: Any, inputs: Sequence[Any], *, out: Any = None, **options: Any) -> Any:
    kinds = ufunc(*map(_empty, inputs), **options)
    shape = np.broadcast_shapes(*map(_shape, inputs))
    results = []
    for i, kind in enumerate(kinds if isinstance(kinds, tuple) else (kinds,)):
        given = out[i] if out is not None else None
        if given is not None:
            if np.broadcast_shapes(shape, given.shape) != given.shape:
                raise ValueError(
                    f"non-broadcastable output operand with shape {given.shape} "
                    f"doesn't match the broadcast shape {shape}"
                )
            if not np.can_cast(kind.dtype, given.dtype, "same_kind"):
                raise TypeError(f"Cannot cast ufunc {ufunc.__name__!r} output from {kind.dtype} to {given.dtype}")
            results.append(given)
        else:
            results.append(_new(shape, kind.dtype, inputs))
    current.get().count(math.prod(shape))
    return tuple(results) if isinstance(kinds, tuple) else results[0]


def _new(shape: tuple[int, ...], dtype: Any, operands: Iterable[Any]) -> AbstractArray:
    """A new array in the memory order of the operands."""
    found = [steps(x, len(shape)) for x in operands if _shape(x)]
    return AbstractArray(shape, dtype, kept_order(shape, np.dtype(dtype).itemsize, found))


def _where(condition: Any, *choices: Any) -> AbstractArray:
    if len(choices) != 2:
        raise refuse_values("where with one argument")
    x, y = choices
    dtype = np.where(_empty(condition), _empty(x), _empty(y)).dtype
    shape = np.broadcast_shapes(_shape(condition), _shape(x), _shape(y))
    current.get().count(math.prod(shape))
    return _new(shape, dtype, [condition, x, y])


def _same_shape(function: Callable[..., Any], x: Any, *args: Any, **options: Any) -> AbstractArray:
    current.get().count(x.size)
    return _moved(function, x, *args, **options)


def _moved(function: Callable[..., Any], x: Any, *args: Any, **options: Any) -> AbstractArray:
    """A result with x's shape, whose elements cost nothing."""
    return AbstractArray(x.shape, function(_one_element(x), *args, **options).dtype)


def _along(function: Callable[..., Any], x: Any, axis: Any = -1, **options: Any) -> AbstractArray:
    """A result with x's shape, or a vector if `axis` is None."""
    out = options.pop("out", None)
    found = _same_shape(function, x.reshape(-1) if axis is None else x, axis=axis, **options)
    return found if out is None else out


def _clip(x: Any, *bounds: Any, **options: Any) -> AbstractArray:
    low, high = (*bounds, *options.values())[:2]
    out = x
    for ufunc, bound in ((np.maximum, low), (np.minimum, high)):
        out = out if bound is None else _elementwise(ufunc, (out, bound))
    return x.copy() if out is x else out  # type: ignore[no-any-return]


# --- reduced -----------------------------------------------------------------------------------


def _one_element(x: Any) -> Any:
    """A real array with one element along every axis, to try a function on."""
    return np.ones((1,) * x.ndim, x.dtype)


def _reduced(
    function: Callable[..., Any],
    x: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    **options: Any,
) -> AbstractArray:
    if dtype is not None:
        options["dtype"] = dtype
    if keepdims:
        options["keepdims"] = True
    options = {key: value for key, value in options.items() if value is not np._NoValue}
    found = np.asarray(function(_one_element(x), axis=axis, **options))  # raises for an axis that x has not
    axes = range(x.ndim) if axis is None else {i % x.ndim for i in (axis if isinstance(axis, tuple) else (axis,))}
    shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes)
    current.get().count(x.size)
    if out is not None:
        return out  # type: ignore[no-any-return]
    kept = [0 if i in axes else abs(step) for i, step in enumerate(x.strides) if keepdims or i not in axes]
    return AbstractArray(shape, found.dtype, kept_order(shape, found.itemsize, [kept]))


def _reduced_at(x: Any, indices: Any, axis: int = 0, **options: Any) -> AbstractArray:
    current.get().count(x.size)
    return AbstractArray((*x.shape[:axis], len(indices), *x.shape[axis + 1 :]), x.dtype)


def _matmul(x: Any, y: Any, *, out: Any = None) -> AbstractArray:
    a, b = (x.shape if x.ndim > 1 else (1, *x.shape)), (y.shape if y.ndim > 1 else (*y.shape, 1))
    if a[-1] != b[-2]:
        raise ValueError(f"matmul: mismatch in its core dimension, {a[-1]} and {b[-2]}")
    rows, columns = (() if x.ndim == 1 else a[-2:-1]), (() if y.ndim == 1 else b[-1:])
    shape = (*np.broadcast_shapes(a[:-2], b[:-2]), *rows, *columns)
    current.get().count(matmul_flops(x.shape, y.shape, math.prod(shape)))
    result = out[0] if isinstance(out, tuple) else out
    return (
        result
        if result is not None
        else AbstractArray(shape, np.matmul(np.empty((0, 0), x.dtype), np.empty((0, 0), y.dtype)).dtype)
    )


def _einsum(subscripts: str, *xs: Any, **options: Any) -> AbstractArray:
    inputs, _, output = subscripts.partition("->")
    sizes: dict[str, int] = {}
    for letters, x in zip(inputs.split(","), xs, strict=True):
        for letter, size in zip(letters, x.shape, strict=True):
            if size != 1 and sizes.get(letter, 1) not in (1, size):
                raise ValueError(f"operands could not be broadcast together in {subscripts!r}")
            sizes[letter] = max(sizes.get(letter, 1), size) if size else 0
    current.get().count(einsum_flops(subscripts, [x.shape for x in xs]))
    return AbstractArray(tuple(sizes[letter] for letter in output), np.result_type(*(x.dtype for x in xs)))


# --- joined, filled and viewed -----------------------------------------------------------------


def _concatenate(arrays: Sequence[Any], axis: int | None = 0, **options: Any) -> AbstractArray:
    arrays = list(arrays)
    if axis is None:
        return AbstractArray((sum(a.size for a in arrays),), np.result_type(*(a.dtype for a in arrays)))
    dtype = np.concatenate([np.empty((0,) * a.ndim, a.dtype) for a in arrays], axis=axis).dtype
    axis %= arrays[0].ndim
    others = {a.shape[:axis] + a.shape[axis + 1 :] for a in arrays}
    if len(others) > 1:
        raise ValueError("all the input array dimensions except for the concatenation axis must match exactly")
    first = arrays[0].shape
    return AbstractArray((*first[:axis], sum(a.shape[axis] for a in arrays), *first[axis + 1 :]), dtype)


def _stack(arrays: Sequence[Any], axis: int = 0, **options: Any) -> AbstractArray:
    return _concatenate([_view(np.expand_dims, a, axis) for a in arrays], axis)


def _as_array(x: Any, dtype: Any = None, *, copy: bool | None = None, **options: Any) -> AbstractArray:
    if isinstance(x, AbstractArray):
        return x.astype(x.dtype if dtype is None else dtype, copy=bool(copy))
    a = np.asarray(x, dtype)
    return AbstractArray(a.shape, a.dtype)


def _filled(shape: Any, *args: Any, **options: Any) -> AbstractArray:
    dtype = options.get("dtype", args[0] if args else None)
    return AbstractArray(_sizes(shape), np.float64 if dtype is None else dtype)


def _full(shape: Any, value: Any, dtype: Any = None, **options: Any) -> AbstractArray:
    if is_concrete(value):
        dtype = np.full((), value, dtype).dtype  # raises for a number that the dtype cannot hold
    return AbstractArray(_sizes(shape), value.dtype if dtype is None else dtype)


def _sizes(shape: Any) -> tuple[int, ...]:
    return (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(int(n) for n in shape)


def _filled_like(x: Any, *args: Any, dtype: Any = None, **options: Any) -> AbstractArray:
    target = np.dtype(x.dtype if dtype is None else dtype)
    return AbstractArray(x.shape, target, copied_order(x, target.itemsize))


def _take_along_axis(x: Any, indices: Any, axis: int = -1) -> AbstractArray:
    axis %= x.ndim
    try:
        shape = np.broadcast_shapes(*((*a.shape[:axis], 1, *a.shape[axis + 1 :]) for a in (x, indices)))
    except ValueError as problem:
        raise IndexError(str(problem)) from None  # as NumPy, which indexes
    return AbstractArray((*shape[:axis], indices.shape[axis], *shape[axis + 1 :]), x.dtype)


def _view(function: Callable[..., Any], x: Any, *args: Any, **options: Any) -> AbstractArray:
    x = x if isinstance(x, AbstractArray) else _as_array(x)
    return x.view_like(function(x.stand_in, *args, **options))  # type: ignore[no-any-return]


def _reshape(x: Any, *shape: Any, **options: Any) -> AbstractArray:
    return x.reshape(*(shape or options.values()))  # type: ignore[no-any-return]


def _by_numpy(function: Callable[..., Any], args: Any, options: Any) -> Any:
    """NumPy's result for arrays of ones; for matrices, for the identity, which every decomposition accepts."""
    is_linear_algebra = _is_linear_algebra(function)

    def concrete(x: Any) -> Any:
        if isinstance(x, (list, tuple)):
            return type(x)(concrete(part) for part in x)
        if not isinstance(x, AbstractArray):
            return x
        if is_linear_algebra and x.ndim > 1:
            return np.broadcast_to(np.eye(*x.shape[-2:], dtype=x.dtype), x.shape)
        return np.broadcast_to(np.ones((), x.dtype), x.shape)

    def without_values(x: Any) -> Any:
        if isinstance(x, tuple):
            parts = [without_values(part) for part in x]
            return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)
        return AbstractArray(x.shape, x.dtype) if isinstance(x, (np.ndarray, np.generic)) else x

    result = without_values(function(*map(concrete, args), **{key: concrete(x) for key, x in options.items()}))
    parts = result if isinstance(result, tuple) else (result,)
    if is_linear_algebra:
        current.get().count(linalg_flops(function.__name__, args[0].shape))
    else:
        current.get().count(sum(part.size for part in parts if isinstance(part, AbstractArray)))
    return result


def _is_linear_algebra(function: Callable[..., Any]) -> bool:
    return (function.__module__ or "").startswith("numpy.linalg")


def _refused(name: str) -> Callable[..., Any]:
    def refuse(*args: Any, **options: Any) -> Any:
        raise refuse_values(name)

    return refuse


def _each(rule: Callable[..., Any], *names: str) -> dict[str, Callable[..., Any]]:
    """A rule whose first argument is the function, for NumPy's functions of these names."""
    return {name: functools.partial(rule, getattr(np, name)) for name in names}


_RULES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("array", "asarray", "ascontiguousarray"), _as_array),
    "clip": _clip,
    **dict.fromkeys(("concat", "concatenate"), _concatenate),
    "copy": lambda x, **options: x.copy(),
    "einsum": _einsum,
    **dict.fromkeys(("empty", "ones", "zeros"), _filled),
    **dict.fromkeys(("empty_like", "full_like", "ones_like", "zeros_like"), _filled_like),
    "full": _full,
    "ravel": lambda x, **options: x.reshape(-1),
    "reshape": _reshape,
    "stack": _stack,
    "take_along_axis": _take_along_axis,
    "where": _where,
    **_each(_view, "broadcast_to", "diagonal", "expand_dims", "flip", "matrix_transpose", "moveaxis", "permute_dims"),
    **_each(_view, "rot90", "squeeze", "swapaxes", "transpose"),
    **_each(_reduced, "all", "any", "argmax", "argmin", "count_nonzero", "max", "mean", "min", "prod", "std", "sum"),
    **_each(_reduced, "var"),
    **_each(_along, "argsort", "cumprod", "cumsum", "sort"),
    **_each(_same_shape, "nan_to_num", "round"),
    **_each(_moved, "roll", "tril", "triu"),
    **{name: _refused(name) for name in ("argwhere", "compress", "extract", "flatnonzero", "nonzero")},
    **{name: _refused(name) for name in dir(np) if name.startswith("unique")},
}

AbstractArray.module = functions
