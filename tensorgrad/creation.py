"""Making Tensors: from data, or filled.

`dtype` is by default the data's own: float32 for Python floats, int64 for Python integers, bool for bools. `device` is
"cpu", "cuda" or "cuda:N", and by default the data's own, which is the CPU for Python numbers. `requires_grad` makes a
leaf that collects its gradient in `.grad`, for float dtypes only. Raises DTypeError, DeviceError, ShapeError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgrad import array as arrays
from tensorgrad.arguments import as_array, as_flag, as_integer, as_number, as_shape
from tensorgrad.array import Array
from tensorgrad.dtype import DTypeLike, as_dtype, has_tensors, is_float
from tensorgrad.errors import DeviceMemoryError, DTypeError, GraphError, ShapeError, TensorgradError, shown
from tensorgrad.ops.common import operand
from tensorgrad.tape import data as data_of
from tensorgrad.tape import leaf
from tensorgrad.tensor import Tensor

__all__ = ["arange", "asarray", "empty", "empty_like", "eye", "from_dlpack", "full", "full_like", "linspace", "ones"]
__all__ += ["ones_like", "tensor", "zeros", "zeros_like"]

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
        raise GraphError(
            f"{op}: expected data without history, got a Tensor that needs a gradient: use x.detach() to drop it"
        )
    requires_grad, copy = (
        as_flag(op, "requires_grad", requires_grad),
        None if copy is None else as_flag(op, "copy", copy),
    )
    given = data_of(data)
    values = given if arrays.is_array(given) else _from_sequence(op, given, dtype)
    if type(values) is not np.ndarray and hasattr(values, "mask"):
        raise DTypeError(f"{op}: expected an array all of whose elements count, got a masked one: use its .filled")
    if values.dtype.kind not in "fiub" and not has_tensors(values.dtype):
        raise DTypeError(f"{op}: expected real numbers or bools, got {shown(data)}: convert them to a dtype of tensors")
    target = as_dtype(values.dtype if dtype is None else dtype)
    if requires_grad and not is_float(target):
        raise DTypeError(f"{op}: expected a float dtype with requires_grad=True, got {target}: pass dtype=")
    array = (arrays.creation_module().asarray(values) if isinstance(values, np.ndarray) else values).astype(
        target, copy=False
    )
    array = array if device is None else arrays.to_device(array, device)
    if copy and array is given:
        array = array.copy()
    if copy is False and array is not given:
        kind = f"{given.dtype} on {arrays.device_of(given)}" if arrays.is_array(given) else type(given).__name__
        raise ShapeError(f"{op}: expected data to share with copy=False, got {kind}: leave copy= out")
    return leaf(array) if requires_grad else Tensor(array)


def _from_sequence(op: str, values: Any, dtype: DTypeLike | None) -> Array:
    found = as_array(op, values)
    if dtype is None:
        return found if found.dtype != np.float64 or _has_float64(values) else found.astype(np.float32)
    target = as_dtype(dtype)
    if target.kind in "iu":
        try:
            # From Python's integers again: NumPy may have made large ones floats, and none may wrap around.
            return np.asarray(values, target)
        except (OverflowError, TypeError, ValueError):
            raise DTypeError(
                f"{op}: expected numbers that {target} can hold, got {shown(values)}: pass another dtype"
            ) from None
    return found


def _has_float64(values: Any) -> bool:
    """Whether a value or nested sequences hold an array's or NumPy's float64; Python's own floats have no dtype."""
    if isinstance(values, (list, tuple)):
        return any(_has_float64(one) for one in values if type(one) is not float and type(one) is not int)
    return bool(getattr(values, "dtype", None) == np.float64)


def from_dlpack(x: Any, /, *, device: str | None = None, copy: bool | None = None) -> Tensor:
    """A Tensor that shares the memory of any object with `__dlpack__`; `copy` as in `asarray`."""
    if not hasattr(x, "__dlpack_device__") or isinstance(x, type):
        raise DTypeError(
            f"from_dlpack: expected an object with __dlpack__, got {shown(x)}: "
            "use tensorgrad.tensor for Python's own values"
        )
    kind, _ = x.__dlpack_device__()
    cpu = 1
    module = np if kind == cpu else arrays.cuda_module()
    try:
        array = module.from_dlpack(x)
    except (BufferError, TypeError, RuntimeError, ValueError) as problem:
        if isinstance(problem, TensorgradError):
            raise
        raise DTypeError(f"from_dlpack: expected memory that can be shared, got {shown(x)}: {problem}") from None
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
    values = _filled("full", _maker(device), _shape("full", shape), fill_value, dtype)
    return asarray(values, device=device, requires_grad=requires_grad)


def zeros(
    shape: int | Sequence[int],
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A Tensor of zeros, by default float32."""
    values = _made("zeros", _maker(device).zeros, _shape("zeros", shape), dtype)
    return asarray(values, device=device, requires_grad=requires_grad)


def ones(
    shape: int | Sequence[int],
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A Tensor of ones, by default float32."""
    values = _made("ones", _maker(device).ones, _shape("ones", shape), dtype)
    return asarray(values, device=device, requires_grad=requires_grad)


def empty(shape: int | Sequence[int], *, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """A Tensor whose elements are not set, by default float32."""
    return asarray(_made("empty", _maker(device).empty, _shape("empty", shape), dtype), device=device)


def full_like(
    x: Tensor | Array, /, fill_value: float, *, dtype: DTypeLike | None = None, device: str | None = None
) -> Tensor:
    """`full` of x's shape, and by default of its dtype and on its device; a constant."""
    a = operand("full_like", x)
    values = _filled("full_like", arrays.module_of(a), a.shape, fill_value, a.dtype if dtype is None else dtype)
    return asarray(values, device=device)


def zeros_like(x: Tensor | Array, /, *, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """Zeros of x's shape, and by default of its dtype and on its device; a constant."""
    a = operand("zeros_like", x)
    return asarray(arrays.module_of(a).zeros(a.shape, as_dtype(a.dtype if dtype is None else dtype)), device=device)


def ones_like(x: Tensor | Array, /, *, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """Ones of x's shape, and by default of its dtype and on its device; a constant."""
    a = operand("ones_like", x)
    return asarray(arrays.module_of(a).ones(a.shape, as_dtype(a.dtype if dtype is None else dtype)), device=device)


def empty_like(x: Tensor | Array, /, *, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """`empty` of x's shape, and by default of its dtype and on its device."""
    a = operand("empty_like", x)
    return asarray(arrays.module_of(a).empty(a.shape, as_dtype(a.dtype if dtype is None else dtype)), device=device)


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
    for name, n in (("start", first), ("stop", end), ("step", step)):
        as_number("arange", name, n)
    if step == 0:
        raise ShapeError("arange: expected a step other than 0, got 0: use full for equal numbers")
    values = _made("arange", lambda steps, _: arrays.creation_module().arange(*steps), (first, end, step), None)
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
    """`num` numbers from `start` in equal steps. The last is `stop`; without `endpoint`, one step before it."""
    first, last = as_number("linspace", "start", start), as_number("linspace", "stop", stop)
    (count,) = as_shape("linspace", (num,))
    to_the_end = as_flag("linspace", "endpoint", endpoint)
    xp = arrays.creation_module()
    values = _made("linspace", lambda n, _: xp.linspace(first, last, n[0], endpoint=to_the_end), (count,), None)
    return asarray(values, dtype="float32" if dtype is None else dtype, device=device)


def eye(
    n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: DTypeLike | None = None, device: str | None = None
) -> Tensor:
    """Ones on diagonal `k` (above the main one if positive) of a matrix (n_rows, n_cols), zeros elsewhere."""
    shape = as_shape("eye", (n_rows, n_rows if n_cols is None else n_cols))
    # Beyond a corner there are no diagonals, however large k is.
    offset = as_integer("eye", "k", max(-shape[0], min(k, shape[1])) if type(k) is int else k)
    xp = arrays.creation_module()
    values = _made("eye", lambda sizes, found: xp.eye(sizes[0], sizes[1], offset, dtype=found), shape, dtype)
    return asarray(values, device=device)


def _maker(device: str | None) -> Any:
    """The module that makes arrays on `device` itself, so that nothing is filled on the CPU and copied."""
    return (None if device is None else arrays.module_on(device)) or arrays.creation_module()


def _shape(op: str, shape: Any) -> tuple[int, ...]:
    return as_shape(op, (shape,) if isinstance(shape, (int, np.integer)) else shape)


def _made(op: str, function: Callable[..., Array], shape: tuple[Any, ...], dtype: DTypeLike | None) -> Array:
    """function(shape, dtype); None stands for float32. Raises ShapeError if the result does not fit into memory."""
    target = as_dtype("float32" if dtype is None else dtype)
    try:
        return function(shape, target)
    except DeviceMemoryError:
        raise  # it says more
    except (MemoryError, OverflowError, ValueError):
        raise ShapeError(f"{op}: expected sizes that fit into memory, got {shown(shape)}: make it smaller") from None


def _filled(op: str, module: Any, shape: tuple[int, ...], value: Any, dtype: DTypeLike | None) -> Array:
    """An array of one Python number, in `dtype` or the number's own. Raises DTypeError if that cannot hold it."""
    if not isinstance(value, (int, float, np.integer, np.floating, np.bool)):
        raise DTypeError(f"{op}: expected a Python number, got {shown(value)}: give an int or a float")
    own = value.dtype if isinstance(value, np.generic) else {bool: "bool", int: "int64"}.get(type(value), "float32")
    target = as_dtype(own if dtype is None else dtype)
    try:
        fits = is_float(target) or float(value).is_integer()
        one = module.full((), value, target) if fits else None
    except OverflowError:
        one = None
    if one is None:
        raise DTypeError(f"{op}: expected a number that {target} can hold, got {shown(value)}: pass another dtype")
    return _made(op, lambda sizes, found: module.full(sizes, one, found), shape, target)
