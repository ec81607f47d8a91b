"""Making Tensors: from data, or filled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgrad import array as arrays
from tensorgrad.array import Array
from tensorgrad.dtype import DTypeLike, as_dtype, is_float
from tensorgrad.errors import DTypeError, GraphError, ShapeError
from tensorgrad.ops.common import as_shape
from tensorgrad.tape import data as data_of
from tensorgrad.tape import leaf
from tensorgrad.tensor import Tensor

__all__ = [
    "arange",
    "asarray",
    "eye",
    "from_dlpack",
    "full",
    "ones",
    "ones_like",
    "tensor",
    "zeros",
    "zeros_like",
]


def tensor(data: Any, *, dtype: DTypeLike | None = None, device: str = "cpu", requires_grad: bool = False) -> Tensor:
    """A new Tensor with its own copy of `data`.

    Args:
        data: a number, nested sequences of numbers, an array or a Tensor.
        dtype: by default the data's own; float32 for Python floats, int64 for Python integers.
        device: "cpu", "cuda" or "cuda:N".
        requires_grad: collect its gradient in `.grad`; for float dtypes only.
    Raises: DTypeError, DeviceError, ShapeError (ragged sequences).
    """
    return _make(data, dtype, device, requires_grad, copy=True)


def asarray(data: Any, *, dtype: DTypeLike | None = None, device: str = "cpu", requires_grad: bool = False) -> Tensor:
    """`tensor` that shares the memory of an array already in that dtype and on that device."""
    return _make(data, dtype, device, requires_grad, copy=False)


def _make(data: Any, dtype: DTypeLike | None, device: str, requires_grad: bool, *, copy: bool) -> Tensor:
    if isinstance(data, Tensor) and data.requires_grad:
        raise GraphError("tensor: expected data without history, it would be dropped silently: use x.detach()")
    values = data_of(data)
    if not arrays.is_array(values):
        is_plain = not isinstance(values, np.generic)
        try:
            values = np.asarray(values)
        except ValueError:
            raise ShapeError("tensor: expected nested sequences of equal lengths, got ragged ones") from None
        if is_plain and dtype is None and values.dtype == np.float64:
            values = values.astype(np.float32)
        copy = False
    target = as_dtype(values.dtype if dtype is None else dtype)
    if requires_grad and not is_float(target):
        raise DTypeError(f"tensor: expected a float dtype with requires_grad=True, got {target}: pass dtype=")
    array = arrays.to_device(values.astype(target, copy=False), device)
    if copy and array is values:
        array = array.copy()
    return leaf(array) if requires_grad else Tensor(array)


def from_dlpack(source: Any) -> Tensor:
    """A Tensor that shares the memory of any object with `__dlpack__`."""
    if not hasattr(source, "__dlpack_device__"):
        raise DTypeError(f"from_dlpack: expected an object with __dlpack__, got {type(source).__name__}")
    kind, _ = source.__dlpack_device__()
    cpu = 1
    module = np if kind == cpu else arrays.cuda_module()
    return Tensor(module.from_dlpack(source))


def full(
    shape: Sequence[int],
    value: float,
    *,
    dtype: DTypeLike = "float32",
    device: str = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """A Tensor of `shape` with every element `value`."""
    if not isinstance(value, (int, float)):
        raise DTypeError(f"full: expected a Python number, got {type(value).__name__}")
    values = np.full(as_shape("full", shape), value, as_dtype(dtype))
    return asarray(values, device=device, requires_grad=requires_grad)


def zeros(
    shape: Sequence[int], *, dtype: DTypeLike = "float32", device: str = "cpu", requires_grad: bool = False
) -> Tensor:
    """A Tensor of zeros."""
    return asarray(np.zeros(as_shape("zeros", shape), as_dtype(dtype)), device=device, requires_grad=requires_grad)


def ones(
    shape: Sequence[int], *, dtype: DTypeLike = "float32", device: str = "cpu", requires_grad: bool = False
) -> Tensor:
    """A Tensor of ones."""
    return full(shape, 1, dtype=dtype, device=device, requires_grad=requires_grad)


def zeros_like(x: Tensor | Array) -> Tensor:
    """Zeros of x's shape, dtype and device; a constant."""
    a = data_of(x)
    return Tensor(arrays.module_of(a).zeros(a.shape, a.dtype))


def ones_like(x: Tensor | Array) -> Tensor:
    """Ones of x's shape, dtype and device; a constant."""
    a = data_of(x)
    return Tensor(arrays.module_of(a).ones(a.shape, a.dtype))


def arange(
    start: float,
    stop: float | None = None,
    step: float = 1,
    *,
    dtype: DTypeLike | None = None,
    device: str = "cpu",
) -> Tensor:
    """start, start + step, ... below `stop`; `arange(n)` counts 0 .. n - 1."""
    first, end = (0, start) if stop is None else (start, stop)
    if not all(isinstance(n, (int, float)) for n in (first, end, step)):
        raise DTypeError(f"arange: expected Python numbers, got {first!r}, {end!r}, {step!r}")
    if step == 0:
        raise ShapeError("arange: expected a step other than 0")
    values = np.arange(first, end, step)
    default = "float32" if values.dtype.kind == "f" else "int64"
    return asarray(values, dtype=default if dtype is None else dtype, device=device)


def eye(rows: int, columns: int | None = None, *, dtype: DTypeLike = "float32", device: str = "cpu") -> Tensor:
    """The identity matrix, (rows, columns)."""
    rows, columns = as_shape("eye", (rows, rows if columns is None else columns))
    return asarray(np.eye(rows, columns, dtype=as_dtype(dtype)), device=device)
