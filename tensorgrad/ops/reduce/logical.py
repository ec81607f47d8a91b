"""Whether, and how often, elements are not zero: constants to gradients."""

from __future__ import annotations

from tensorgrad.array import module_of
from tensorgrad.ops.common import Axis, TensorLike, normalise_axes, operand
from tensorgrad.ops.logic import constant
from tensorgrad.tensor import Tensor

__all__ = ["all", "any", "count_nonzero"]


def any(x: TensorLike, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether some element is not zero, bool; nan is not."""
    a = operand("any", x)
    return constant(module_of(a).any(a, axis=normalise_axes("any", axis, a.ndim), keepdims=keepdims), x)


def all(x: TensorLike, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether no element is zero, bool."""
    a = operand("all", x)
    return constant(module_of(a).all(a, axis=normalise_axes("all", axis, a.ndim), keepdims=keepdims), x)


def count_nonzero(x: TensorLike, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """How many elements are not zero, int64."""
    a = operand("count_nonzero", x)
    axes = normalise_axes("count_nonzero", axis, a.ndim)
    return constant((a != 0).sum(axis=axes, dtype=module_of(a).int64, keepdims=keepdims), x)
