"""Conversions between dtypes and between devices."""

from __future__ import annotations

from tensorgrad import array as arrays
from tensorgrad.arguments import as_flag
from tensorgrad.dtype import DTypeLike, as_dtype, is_float
from tensorgrad.kernels import kernels_for
from tensorgrad.ops.common import TensorLike, operand
from tensorgrad.ops.logic import constant
from tensorgrad.rounding import rounded
from tensorgrad.tape import record
from tensorgrad.tensor import Tensor

__all__ = ["astype", "to_device"]


def astype(x: TensorLike, dtype: DTypeLike, *, copy: bool = True, device: str | None = None) -> Tensor:
    """x converted to `dtype`, and moved to `device`; the gradient is converted and moved back.

    The result is a constant to gradients unless both dtypes are float. With copy=False it is x itself where
    nothing changes, and within `rounding_once` a part of the copy that is made once.
    """
    a = operand("astype", x)
    target = as_dtype(dtype)
    if device is not None and (not isinstance(device, str) or device != arrays.device_of(a)):
        return to_device(astype(x, target, copy=False), device)
    if not as_flag("astype", "copy", copy) and a.dtype == target:
        return x  # type: ignore[return-value]
    if not is_float(target):
        return constant(a.astype(target), x)
    if a.dtype == target or not is_float(a.dtype):
        out = a.astype(target)
    else:
        out = kernels_for(a).cast(a, target) if copy else rounded(a, target)
    source = a.dtype
    return record(out, (x, lambda g: astype(g, source, copy=False)))


def to_device(x: TensorLike, device: str) -> Tensor:
    """x on `device`; the gradient travels back."""
    a = operand("to_device", x)
    home = arrays.device_of(a)
    return record(arrays.to_device(a, device), (x, lambda g: to_device(g, home)))
