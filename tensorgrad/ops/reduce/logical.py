"""Whether, and how often, elements are not zero: constants to gradients."""

from __future__ import annotations

from tensorgrad.arguments import as_flag
from tensorgrad.array import module_of
from tensorgrad.ops.common import Axis, TensorLike, normalise_axes, operand
from tensorgrad.ops.logic import constant
from tensorgrad.tensor import Tensor

__all__ = ["all", "any", "count_nonzero"]


def any(x: TensorLike, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether some element is not zero, bool; nan counts as not zero."""
    a = operand("any", x)
    axes, keepdims = normalise_axes("any", axis, a.ndim), as_flag("any", "keepdims", keepdims)
    return constant(module_of(a).any(a, axis=axes, keepdims=keepdims), x)


def all(x: TensorLike, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether no element is zero, bool."""
    a = operand("all", x)
    axes, keepdims = normalise_axes("all", axis, a.ndim), as_flag("all", "keepdims", keepdims)
    return constant(module_of(a).all(a, axis=axes, keepdims=keepdims), x)


def count_nonzero(x: TensorLike, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """How many elements are not zero, int64."""
    a = operand("count_nonzero", x)
    axes, keepdims = normalise_axes("count_nonzero", axis, a.ndim), as_flag("count_nonzero", "keepdims", keepdims)
    return constant((a != 0).sum(axis=axes, dtype=module_of(a).int64, keepdims=keepdims), x)
