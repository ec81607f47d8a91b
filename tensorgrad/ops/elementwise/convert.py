"""Between dtypes and devices."""

from __future__ import annotations

from tensorgrad import array as arrays
from tensorgrad.dtype import DTypeLike, as_dtype, is_float
from tensorgrad.ops.common import TensorLike, operand
from tensorgrad.ops.logic import constant
from tensorgrad.tape import record
from tensorgrad.tensor import Tensor

__all__ = ["astype", "to_device"]


def astype(x: TensorLike, dtype: DTypeLike) -> Tensor:
    """x converted to `dtype`; the gradient is converted back. To an integer dtype: a constant."""
    a = operand("astype", x)
    target = as_dtype(dtype)
    out = a.astype(target, copy=False)
    if not is_float(target):
        return constant(out, x)
    source = a.dtype
    return record(out, (x, lambda g: astype(g, source)))


def to_device(x: TensorLike, device: str) -> Tensor:
    """x on `device`; the gradient travels back."""
    a = operand("to_device", x)
    home = arrays.device_of(a)
    return record(arrays.to_device(a, device), (x, lambda g: to_device(g, home)))
