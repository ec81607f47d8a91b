"""Making Tensors: from data, or filled.

`dtype` None is the data's own; float32 for Python floats, int64 for Python integers, bool for bools. `device` None is
where the data lies, else the CPU; or "cpu", "cuda", "cuda:N". `requires_grad` makes a leaf that collects its gradient
in `.grad`, for float dtypes only. Raises DTypeError, DeviceError, ShapeError.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgrad import array as arrays
from tensorgrad.array import Array
from tensorgrad.dtype import DTypeLike, as_dtype, is_float
from tensorgrad.errors import DTypeError, GraphError, ShapeError
from tensorgrad.ops.common import as_integer, as_shape, operand
from tensorgrad.tape import data as data_of
from tensorgrad.tape import leaf
from tensorgrad.tensor import Tensor

__all__ = [
    "arange",
    "asarray",
    "empty",
    "empty_like",
    "eye",
    "from_dlpack",
    "full",
    "full_like",
    "linspace",
    "ones",
    "ones_like",
    "tensor",
    "zeros",
    "zeros_like",
]

# --- from data ---------------------------------------------------------------------------------


def tensor(
    data: Any, *, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A new Tensor with its own copy of `data`: a number, nested sequences of numbers, an array or a Tensor."""
    return _make("tensor", data, dtype, device, requires_grad, copy=True)


def asarray(
    obj: Any,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """`tensor` that shares the memory of an array already in that dtype and on that device.

    With `copy` True it never shares; with False it raises ValueError where it would have to copy.
    """
    return _make("asarray", obj, dtype, device, requires_grad, copy=copy)


def _make(
    op: str, data: Any, dtype: DTypeLike | None, device: str | None, requires_grad: bool, *, copy: bool | None
) -> Tensor:
    if isinstance(data, Tensor) and data.requires_grad:
        raise GraphError(f"{op}: expected data without history, it would be dropped silently: use x.detach()")
    given = data_of(data)
    values = given if arrays.is_array(given) else _from_sequence(op, given, dtype)
    target = as_dtype(values.dtype if dtype is None else dtype)
    if requires_grad and not is_float(target):
        raise DTypeError(f"{op}: expected a float dtype with requires_grad=True, got {target}: pass dtype=")
    array = values.astype(target, copy=False)
    array = array if device is None else arrays.to_device(array, device)
    if copy and array is given:
        array = array.copy()
    if copy is False and array is not given:
        kind = f"{given.dtype} on {arrays.device_of(given)}" if arrays.is_array(given) else type(given).__name__
        raise ShapeError(f"{op}: expected data to share with copy=False, got {kind}: leave copy= out")
    return leaf(array) if requires_grad else Tensor(array)


def _from_sequence(op: str, values: Any, dtype: DTypeLike | None) -> Array:
    try:
        found = np.asarray(values)
    except ValueError:
        raise ShapeError(f"{op}: expected nested sequences of equal lengths, got ragged ones") from None
    if dtype is None:
        is_plain = not isinstance(values, np.generic)
        return found.astype(np.float32) if is_plain and found.dtype == np.float64 else found
    target = as_dtype(dtype)
    if target.kind in "iu":
        try:
            # From Python's integers themselves: large ones may have been made floats, and none is to wrap around.
            return np.asarray(values, target)
        except (OverflowError, TypeError, ValueError):
            raise DTypeError(f"{op}: expected numbers that {target} can hold, got {values!r}") from None
    as_dtype(found.dtype)  # refuses text and objects
    return found


def from_dlpack(x: Any, /, *, device: str | None = None, copy: bool | None = None) -> Tensor:
    """A Tensor that shares the memory of any object with `__dlpack__`; `copy` as in `asarray`."""
    if not hasattr(x, "__dlpack_device__"):
        raise DTypeError(f"from_dlpack: expected an object with __dlpack__, got {type(x).__name__}")
    kind, _ = x.__dlpack_device__()
    cpu = 1
    module = np if kind == cpu else arrays.cuda_module()
    array = module.from_dlpack(x)
    return asarray(array, device=device, copy=copy)


# --- filled ------------------------------------------------------------------------------------


def full(
    shape: int | Sequence[int],
    fill_value: float,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A Tensor of `shape` with every element `fill_value`, a Python number."""
    values = _filled("full", np, _shape("full", shape), fill_value, dtype)
    return asarray(values, device=device, requires_grad=requires_grad)


def zeros(
    shape: int | Sequence[int],
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A Tensor of zeros, by default float32."""
    values = np.zeros(_shape("zeros", shape), as_dtype(dtype or "float32"))
    return asarray(values, device=device, requires_grad=requires_grad)


def ones(
    shape: int | Sequence[int],
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A Tensor of ones, by default float32."""
    values = np.ones(_shape("ones", shape), as_dtype(dtype or "float32"))
    return asarray(values, device=device, requires_grad=requires_grad)


def empty(shape: int | Sequence[int], *, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """A Tensor whose elements are not set, by default float32."""
    return asarray(np.empty(_shape("empty", shape), as_dtype(dtype or "float32")), device=device)


def full_like(
    x: Tensor | Array, /, fill_value: float, *, dtype: DTypeLike | None = None, device: str | None = None
) -> Tensor:
    """`full` of x's shape, and by default of its dtype and on its device; a constant."""
    a = operand("full_like", x)
    values = _filled("full_like", arrays.module_of(a), a.shape, fill_value, dtype or a.dtype)
    return asarray(values, device=device)


def zeros_like(x: Tensor | Array, /, *, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """Zeros of x's shape, and by default of its dtype and on its device; a constant."""
    a = operand("zeros_like", x)
    return asarray(arrays.module_of(a).zeros(a.shape, as_dtype(dtype or a.dtype)), device=device)


def ones_like(x: Tensor | Array, /, *, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """Ones of x's shape, and by default of its dtype and on its device; a constant."""
    a = operand("ones_like", x)
    return asarray(arrays.module_of(a).ones(a.shape, as_dtype(dtype or a.dtype)), device=device)


def empty_like(x: Tensor | Array, /, *, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """`empty` of x's shape, and by default of its dtype and on its device."""
    a = operand("empty_like", x)
    return asarray(arrays.module_of(a).empty(a.shape, as_dtype(dtype or a.dtype)), device=device)


# --- of a pattern ------------------------------------------------------------------------------


def arange(
    start: float,
    /,
    stop: float | None = None,
    step: float = 1,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
) -> Tensor:
    """start, start + step, ... before `stop`; `arange(n)` counts 0 .. n - 1."""
    first, end = (0, start) if stop is None else (start, stop)
    if not all(isinstance(n, (int, float, np.number)) for n in (first, end, step)):
        raise DTypeError(f"arange: expected Python numbers, got {first!r}, {end!r}, {step!r}")
    if step == 0:
        raise ShapeError("arange: expected a step other than 0")
    values = np.arange(first, end, step)
    default = "float32" if values.dtype.kind == "f" else "int64"
    return asarray(values, dtype=default if dtype is None else dtype, device=device)


def linspace(
    start: float,
    stop: float,
    /,
    num: int,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    endpoint: bool = True,
) -> Tensor:
    """`num` numbers from `start` in equal steps, the last of them `stop`, or one step before it without `endpoint`."""
    if not all(isinstance(n, (int, float, np.number)) for n in (start, stop)):
        raise DTypeError(f"linspace: expected Python numbers, got {start!r}, {stop!r}")
    (count,) = as_shape("linspace", (num,))
    values = np.linspace(start, stop, count, endpoint=endpoint)
    return asarray(values, dtype="float32" if dtype is None else dtype, device=device)


def eye(
    n_rows: int,
    n_cols: int | None = None,
    /,
    *,
    k: int = 0,
    dtype: DTypeLike | None = None,
    device: str | None = None,
) -> Tensor:
    """Ones on diagonal `k` (above the main one if positive) of a matrix (n_rows, n_cols), zeros elsewhere."""
    rows, columns = as_shape("eye", (n_rows, n_rows if n_cols is None else n_cols))
    values = np.eye(rows, columns, as_integer("eye", "k", k), dtype=as_dtype(dtype or "float32"))
    return asarray(values, device=device)


def _shape(op: str, shape: Any) -> tuple[int, ...]:
    return as_shape(op, (shape,) if isinstance(shape, (int, np.integer)) else shape)


def _filled(op: str, module: Any, shape: tuple[int, ...], value: Any, dtype: DTypeLike | None) -> Array:
    """An array of one Python number, in `dtype` or the number's own. Raises DTypeError for what that cannot hold."""
    if not isinstance(value, (int, float, np.number, np.bool_)):
        raise DTypeError(f"{op}: expected a Python number, got {type(value).__name__}")
    own = value.dtype if isinstance(value, np.generic) else {bool: "bool", int: "int64"}.get(type(value), "float32")
    target = as_dtype(own if dtype is None else dtype)
    try:
        if is_float(target) or float(value).is_integer():
            return module.full(shape, value, target)  # type: ignore[no-any-return]
    except OverflowError:
        pass
    raise DTypeError(f"{op}: expected a number that {target} can hold, got {value!r}")
