"""What every op starts with: checked operands and normalised axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from tensorgrad.arguments import as_integer
from tensorgrad.array import Array, device_of, is_array, is_concrete, module_of, own
from tensorgrad.dtype import has_tensors, is_float
from tensorgrad.errors import DeviceError, DTypeError, ShapeError, shown
from tensorgrad.tensor import Tensor

# What ops take. Given a Tensor among its operands an op returns a Tensor, given arrays an array.
TensorLike: TypeAlias = "Tensor | Array | float"
Axis: TypeAlias = "int | tuple[int, ...] | None"

_ndarray = np.ndarray
# What NumPy raises for operands that it cannot combine: shapes, dtypes, a number that the dtype cannot hold.
REFUSED = (ValueError, TypeError, OverflowError)


def operand(op: str, x: Any) -> Array:
    """The array of an op's only operand; DTypeError if it is neither a Tensor nor an array.

    A NumPy scalar counts as an array: NumPy returns one for a result without axes.
    """
    if type(x) is Tensor:
        return x.array
    if type(x) is _ndarray and has_tensors(x.dtype):
        return x
    a = np.asarray(x) if isinstance(x, np.generic) else x
    if not is_array(a):
        raise DTypeError(f"{op}: expected a Tensor or an array, got {type(x).__name__}: make it with tensorgrad.tensor")
    if isinstance(a, np.ndarray) and type(a) not in (np.ndarray, np.memmap):
        # A matrix multiplies in its own way, a masked array has elements that do not count.
        raise DTypeError(f"{op}: expected a plain array, got {type(a).__name__}: convert it with numpy.asarray")
    if not has_tensors(a.dtype):
        raise DTypeError(
            f"{op}: expected an array of real numbers or bools, got dtype {a.dtype}: convert it with astype"
        )
    return a


def float_operand(op: str, x: Any) -> Array:
    """`operand`, of a float dtype."""
    a = operand(op, x)
    if not is_float(a.dtype):
        raise DTypeError(f"{op}: expected a float dtype, got {a.dtype}: convert it with .astype")
    return a


def number_operand(op: str, x: Any) -> Array:
    """`operand`, of a dtype with arithmetic: not bool."""
    a = operand(op, x)
    if a.dtype.kind == "b":
        raise DTypeError(f"{op}: expected numbers, got dtype bool: use logical_not, or convert it with .astype")
    return a


def operands(op: str, x: Any, y: Any) -> tuple[Any, Any]:
    """The values of two operands: arrays of one dtype and device, or one array and a Python number.

    A Python number takes the array's dtype (NumPy 2's weak promotion). Raises DTypeError where
    dtypes differ, or a float meets an integer array: nothing is converted silently.
    """
    a = x.array if type(x) is Tensor else x
    b = y.array if type(y) is Tensor else y
    if type(a) is _ndarray and type(b) is _ndarray and a.dtype is b.dtype:
        if type(x) is not Tensor and type(y) is not Tensor:
            operand(op, a)
        return a, b
    a_is_array, b_is_array = (isinstance(v, (np.ndarray, np.generic)) or is_array(v) for v in (a, b))
    a, b = operand(op, a) if a_is_array else a, operand(op, b) if b_is_array else b
    if a_is_array and b_is_array:
        if a.dtype != b.dtype:
            raise DTypeError(
                f"{op}: expected operands of one dtype, got {a.dtype} and {b.dtype}: convert one with .astype"
            )
        check_devices(op, a, b)
        if is_concrete(a) != is_concrete(b):  # a constant meets an array that has a shape but no values
            xp = module_of(b if is_concrete(a) else a)
            a, b = xp.asarray(a), xp.asarray(b)
        return a, b
    if a_is_array and is_number(op, b, a):
        return a, weak(b, a)
    if b_is_array and is_number(op, a, b):
        return weak(a, b), b
    wrong = x if not a_is_array else y
    raise DTypeError(
        f"{op}: expected Tensors, arrays or Python numbers, got {type(wrong).__name__}: make it with tensorgrad.tensor"
    )


def check_devices(op: str, *arrays: Array) -> None:
    """Raise DeviceError if the arrays do not lie on one device."""
    devices = dict.fromkeys(map(device_of, arrays))
    if len(devices) > 1:
        raise DeviceError(f"{op}: expected operands on one device, got {' and '.join(devices)}: move one with .to")


def check_alike(op: str, *arrays: Array) -> None:
    """Raise DTypeError or DeviceError if the arrays are not of one dtype, or not on one device."""
    if any(a.dtype != arrays[0].dtype for a in arrays):
        raise DTypeError(
            f"{op}: expected tensors of one dtype, got {', '.join(str(a.dtype) for a in arrays)}: "
            "convert them with .astype"
        )
    check_devices(op, *arrays)


def float_operands(op: str, x: Any, y: Any) -> tuple[Any, Any]:
    """`operands`, of a float dtype."""
    a, b = operands(op, x, y)
    float_operand(op, a if is_array(a) else b)
    return a, b


def is_number(op: str, value: Any, like: Array) -> bool:
    """Whether `value` is a Python number that an array of `like`'s dtype can meet without changing dtype."""
    kind = type(value)
    if kind is float:
        if not is_float(like.dtype):
            raise DTypeError(
                f"{op}: expected an integer to go with dtype {like.dtype}, got {shown(value)}: convert with .astype"
            )
        return True
    if kind is int and like.dtype.kind == "b":
        raise DTypeError(
            f"{op}: expected True or False to go with dtype bool, got {shown(value)}: convert with .astype"
        )
    return kind is int or kind is bool


def combined(op: str, function: str, a: Any, b: Any) -> Array:
    """The array module's `function` of two checked operands. Raises ShapeError, DTypeError."""
    like = a if is_array(a) else b
    try:
        return own(getattr(module_of(like), function)(a, b), like)
    except REFUSED:
        raise broadcast_error(op, a, b) from None


def weak(number: Any, like: Array) -> Any:
    """A Python number in the dtype of `like`, also for bfloat16, which NumPy would promote to float32."""
    if like.dtype.kind == "V" and type(like) is _ndarray and type(number) is float:
        return np.asarray(number, like.dtype)
    return number


def shape_of(x: Any) -> tuple[int, ...]:
    """The shape of a Tensor or an array; () for a number."""
    return getattr(x, "shape", ())


def broadcast_error(op: str, a: Any, b: Any) -> Exception:
    """The error for two operands that NumPy refused to combine."""
    try:
        np.broadcast_shapes(shape_of(a), shape_of(b))
    except ValueError:
        return ShapeError(
            f"{op}: expected shapes that broadcast, got {shape_of(a)} and {shape_of(b)}: "
            "aligned at the last axis, each pair must be equal or have a 1"
        )
    names = " and ".join(shown(v) if not is_array(v) else str(v.dtype) for v in (a, b))
    return DTypeError(f"{op}: expected values that the dtype can combine, got {names}: convert with .astype")


def row_shape(shape: Sequence[int]) -> tuple[int, int]:
    """The shape (N, C) of an array taken as rows of its last axis; where a size is 0 no -1 could stand for N."""
    return math.prod(shape[:-1]), shape[-1]


def normalise_axis(op: str, axis: Any, ndim: int) -> int:
    """`axis` as 0 .. ndim - 1. Raises ShapeError."""
    index = as_integer(op, "axis", axis)
    if not -ndim <= index < ndim:
        raise ShapeError(
            f"{op}: expected axis in {-ndim} .. {ndim - 1} for {ndim} axes, got {shown(index)}: "
            "count from 0, or from the end below 0"
        )
    return index % ndim


def axis_or_only(op: str, axis: int | None, ndim: int) -> int:
    """`normalise_axis`, where None stands for the only axis of a vector."""
    if axis is None and ndim != 1:
        raise ShapeError(f"{op}: expected axis for {ndim} axes, got None: name one of them")
    return normalise_axis(op, 0 if axis is None else axis, ndim)


def normalise_axes(op: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """`axis` (an integer, a tuple, or None for all) as distinct axes 0 .. ndim - 1. Raises ShapeError."""
    if axis is None:
        return tuple(range(ndim))
    axes = tuple(normalise_axis(op, one, ndim) for one in (axis if isinstance(axis, tuple) else (axis,)))
    if len(set(axes)) != len(axes):
        raise ShapeError(
            f"{op}: expected each axis once, got axis={shown(axis)} for {ndim} axes: leave the repeated one out"
        )
    return axes
