"""CuPy's functions, computed by NumPy's functions of the same name, with CuPy's parameters, dtypes and habits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.cupy_stand_in.array import call, combine, is_bfloat16, ndarray, poisoned, wrapped
from tests.cupy_stand_in.surface import SURFACE
from tests.cupy_stand_in.syncs import copied, synchronised

__all__ = ["FUNCTIONS", "method", "ufunc"]

# Functions that look at values to decide the shape of their result, or what to do.
_SYNCHRONISING = {
    *("argwhere", "bincount", "compress", "delete", "extract", "flatnonzero", "histogram", "isin", "nonzero"),
    *("trim_zeros", "union1d", "unique", "unique_all", "unique_counts", "unique_inverse", "unique_values"),
}
# Reductions, whose 16-bit floats are summed in float32.
_REDUCTIONS = {"cumprod", "cumsum", "mean", "prod", "std", "sum", "var"}
# Without a loop for bfloat16: thrust's sorts, and all products but those of matrices.
_NO_BFLOAT16 = {"argpartition", "argsort", "einsum", "lexsort", "partition", "searchsorted", "sort", "unique"}


class ufunc:
    """A ufunc of CuPy: it takes arrays on the device and numbers, in the dtypes that CuPy has loops for."""

    def __init__(self, name: str, types: list[str]) -> None:
        self.name, self.types = name, types
        self._numpy = getattr(np, name)
        self.nin = types[0].index("-") if types else self._numpy.nin

    def __call__(self, *args: Any, out: Any = None, dtype: Any = None, casting: str = "same_kind") -> Any:
        arrays = [x for x in args if type(x) is ndarray]
        if isinstance(out, tuple):
            (out,) = out
        if len(args) > self.nin:
            raise TypeError(f"{self.name}: out by name, please")
        if not arrays and not any(isinstance(x, np.ndarray) for x in args):
            raise TypeError(f"{self.name}: no array among the arguments")
        if any(is_bfloat16(x) for x in arrays) and not any("E" in loop for loop in self.types):
            raise TypeError(f"Wrong type (E) of arguments for cupy_{self.name}")
        if out is not None and type(out) is not ndarray:
            raise TypeError("return arrays must be of ArrayType")
        extra = {} if out is None else {"out": out}
        extra |= {} if dtype is None else {"dtype": dtype}
        return combine(self._numpy, *args, casting=casting, **extra)

    def outer(self, a: Any, b: Any) -> Any:
        return call(self._numpy.outer, a, b)

    def at(self, a: Any, indices: Any, b: Any = None) -> None:
        if a.dtype.kind not in "iu":
            raise AssertionError(f"{self.name}.at adds floats in no order: its results differ from run to run")
        call(self._numpy.at, a, indices, b)

    def reduceat(self, array: Any, indices: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        if self.name != "add":
            raise NotImplementedError(f"`cupy_{self.name}.reduceat` is not supported yet")
        if array.dtype.kind not in "iu":
            raise AssertionError("add.reduceat takes differences of one running sum, which loses digits of floats")
        return call(self._numpy.reduceat, array, indices, axis=axis, dtype=dtype, out=out)


def _function(name: str, parameters: list[str] | None, module: Any) -> Callable[..., Any]:
    """NumPy's function with CuPy's parameters."""
    base = getattr(module, name)

    def function(*args: Any, **keywords: Any) -> Any:
        if parameters is not None:
            for keyword in keywords:
                if keyword not in parameters:
                    raise TypeError(f"{name}() got an unexpected keyword argument {keyword!r}")
            if len(args) > len(parameters) and name not in ("broadcast_arrays", "einsum", "atleast_1d", "atleast_2d"):
                raise TypeError(f"{name}() takes {len(parameters)} arguments, {len(args)} given")
        first = next((x for x in args if type(x) is ndarray), None)
        if name in _SYNCHRONISING:
            synchronised(name)
        if is_bfloat16(first):
            if name in _NO_BFLOAT16:
                raise TypeError(f"{name}: bfloat16 is not supported")
            if name in _REDUCTIONS and keywords.get("dtype") is None and "out" not in keywords:
                return function(first.astype(np.float32), *args[1:], **keywords).astype(first.dtype)
        return call(base, *args, **keywords)

    function.__name__ = name
    return function


def method(name: str) -> Callable[..., Any]:
    """An array's method of the same name."""
    parameters = _METHODS[name]

    def bound(self: ndarray, *args: Any, **keywords: Any) -> Any:
        if len(args) > len(parameters) or any(keyword not in parameters for keyword in keywords):
            raise TypeError(f"{name}() takes {parameters}, got {len(args)} and {list(keywords)}")
        return FUNCTIONS[name](self, **dict(zip(parameters, args, strict=False)), **keywords)

    return bound


# The methods' parameters, as `cupy/_core/core.pyx` has them.
_METHODS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("all", "any", "max", "min", "ptp"), ("axis", "out", "keepdims")),
    **dict.fromkeys(("sum", "prod", "mean"), ("axis", "dtype", "out", "keepdims")),
    **dict.fromkeys(("std", "var"), ("axis", "dtype", "out", "ddof", "keepdims")),
    **dict.fromkeys(("argmax", "argmin"), ("axis", "out", "dtype", "keepdims")),
    **dict.fromkeys(("cumsum", "cumprod"), ("axis", "dtype", "out")),
    **{"argsort": ("axis", "kind"), "round": ("decimals", "out"), "clip": ("min", "max", "out"), "nonzero": ()},
    **{"repeat": ("repeats", "axis"), "take": ("indices", "axis", "out"), "searchsorted": ("v", "side", "sorter")},
    **{"dot": ("b", "out"), "trace": ("offset", "axis1", "axis2", "dtype", "out")},
}


# --- CuPy's own ways ---------------------------------------------------------------------------


def array(obj: Any, dtype: Any = None, copy: bool = True, order: str = "K", **keywords: Any) -> ndarray:
    """A copy from the host, here explicit, or an array of the device."""
    if type(obj) is ndarray:
        return obj if not copy and dtype in (None, obj.dtype) else obj.astype(dtype or obj.dtype)
    if not isinstance(obj, (np.ndarray, np.generic, int, float, list, tuple)):
        raise TypeError(f"Unsupported type {type(obj)}")
    if isinstance(obj, (list, tuple)) and any(type(x) is ndarray for x in obj):
        return FUNCTIONS["stack"](list(obj))  # type: ignore[no-any-return]
    host = np.array(obj, dtype=dtype)
    if host.dtype.kind not in "fiubc" and not is_bfloat16(host):
        raise ValueError(f"Unsupported dtype {host.dtype}")
    copied("to the device", host.nbytes)
    return wrapped(host)  # type: ignore[no-any-return]


def asarray(a: Any, dtype: Any = None, order: Any = None, copy: Any = None, blocking: bool = False) -> ndarray:
    return array(a, dtype, copy=bool(copy))


def asnumpy(a: Any, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> Any:
    return a.get(stream, order, out, blocking) if type(a) is ndarray else np.asarray(a, order=order)


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return ndarray(shape, dtype, order=order)


def empty_like(a: ndarray, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None) -> ndarray:
    like = np.empty_like(a._host, dtype=dtype, order=order, shape=shape)
    return wrapped(poisoned(like.shape, like.dtype) if order == "C" else _poison(like))  # type: ignore[no-any-return]


def _poison(host: Any) -> Any:
    host[...] = poisoned((), host.dtype)
    return host


def full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C") -> ndarray:
    return call(lambda value: np.full(shape, value, dtype, order), fill_value)  # type: ignore[no-any-return]


def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None and y is None:
        return FUNCTIONS["nonzero"](condition)
    narrow = next((v.dtype for v in (x, y) if is_bfloat16(v)), None)
    if narrow is not None:
        x, y = (narrow.type(v) if type(v) in (int, float, bool) else v for v in (x, y))
    return call(np.where, condition.astype("?", copy=False), x, y)


def matmul(a: ndarray, b: ndarray, out: Any = None) -> ndarray:
    """As in `_routines_linalg.pyx`: at most two axes of bfloat16; float16 with more axes is computed in float32."""
    if 0 in (a.ndim, b.ndim):
        raise ValueError("Scalar operands are not allowed, use '*' instead")
    if is_bfloat16(a) and max(a.ndim, b.ndim) > 2:
        raise TypeError("matmul: bfloat16 above two axes falls to the integers' kernel")
    if out is not None and not out.flags.c_contiguous:
        raise ValueError("Output array must be C-contiguous")
    if a.dtype.itemsize == 2 and a.dtype.kind in "fV":
        result = call(np.matmul, a.astype(np.float32), b.astype(np.float32)).astype(a.dtype)
    else:
        result = call(np.matmul, a, b)
    if out is None:
        return result  # type: ignore[no-any-return]
    out[...] = result
    return out  # type: ignore[no-any-return]


def argsort(a: ndarray, axis: int = -1, kind: str | None = None) -> ndarray:
    if kind not in (None, "stable"):
        raise ValueError("kind can only be None or 'stable'")
    if is_bfloat16(a):
        raise TypeError("argsort: bfloat16 is not supported")
    return call(np.argsort, call(np.atleast_1d, a), axis=axis, kind="stable")  # type: ignore[no-any-return]


def searchsorted(a: ndarray, v: Any, side: str = "left", sorter: Any = None) -> ndarray:
    if type(v) is not ndarray:
        raise NotImplementedError("Only int or ndarray are supported for v")
    if sorter is not None and sorter.dtype.kind not in "iu":
        raise TypeError("sorter must be of integer type")
    return call(np.searchsorted, a, v, side=side, sorter=sorter)  # type: ignore[no-any-return]


def nonzero(a: ndarray) -> Any:
    synchronised("nonzero")
    if not a.ndim:
        raise ValueError("Calling nonzero on 0d arrays is not allowed.")
    return call(np.nonzero, a)


def repeat(a: ndarray, repeats: Any, axis: Any = None) -> ndarray:
    if type(repeats) is ndarray:
        raise TypeError("Unsupported type: repeats are integers of the host")
    return call(lambda x: np.repeat(x, repeats, axis), a)  # type: ignore[no-any-return]


def may_share_memory(a: ndarray, b: ndarray, max_work: Any = None) -> bool:
    return np.may_share_memory(a._host, b._host)


def from_dlpack(x: Any, *, device: Any = None, copy: Any = None) -> ndarray:
    if x.__dlpack_device__()[0] != 2:
        raise ValueError("DLPack: memory of the host")
    found = x.__dlpack__(stream=1)
    return wrapped(found._host.view(), found)  # type: ignore[no-any-return]


def concatenate(tup: Any, axis: Any = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind") -> ndarray:
    if any(type(x) is not ndarray for x in tup):
        raise TypeError("Only cupy arrays can be concatenated")
    return call(lambda parts: np.concatenate(parts, axis), list(tup))  # type: ignore[no-any-return]


def nan_to_num(x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> ndarray:
    return call(lambda a: np.nan_to_num(a, nan=nan, posinf=posinf, neginf=neginf), x)  # type: ignore[no-any-return]


def pinned(shape: Any, dtype: Any) -> Any:
    """`cupyx.empty_pinned`: host memory that the device can copy from by itself."""
    return np.empty(shape, dtype)


def _creation(name: str) -> Callable[..., ndarray]:
    return lambda *args, **keywords: call(getattr(np, name), *args, **keywords)  # type: ignore[no-any-return]


FUNCTIONS: dict[str, Any] = {}
for _name, _parameters in SURFACE["functions"].items():
    FUNCTIONS[_name] = _function(_name, _parameters, np)
for _name, _types in SURFACE["ufuncs"].items():
    if hasattr(np, _name) and isinstance(getattr(np, _name), np.ufunc):
        FUNCTIONS[_name] = ufunc(_name, _types)
for _name in ("arange", "eye", "linspace", "ones", "zeros", "tri", "identity"):
    FUNCTIONS[_name] = _creation(_name)
for _own in (
    *(argsort, array, asarray, asnumpy, concatenate, empty, empty_like, from_dlpack, full, matmul, may_share_memory),
    *(nan_to_num, nonzero, repeat, searchsorted, where),
):
    FUNCTIONS[_own.__name__] = _own
FUNCTIONS |= {"asanyarray": asarray, "concat": concatenate}
for _name in _METHODS:
    setattr(ndarray, _name, method(_name))
ndarray.__matmul__ = matmul  # type: ignore[attr-defined]
