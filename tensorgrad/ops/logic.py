"""Comparisons and logic: their results are bools, and constants to gradients."""

from __future__ import annotations

from typing import Any

from tensorgrad import array as arrays
from tensorgrad.array import module_of
from tensorgrad.ops.common import REFUSED, TensorLike, broadcast_error, operand, operands
from tensorgrad.tape import data, record
from tensorgrad.tensor import Tensor

__all__ = [
    "equal",
    "greater",
    "greater_equal",
    "isfinite",
    "less",
    "less_equal",
    "logical_and",
    "logical_not",
    "logical_or",
    "not_equal",
]


def constant(out: Any, *inputs: Any) -> Tensor:
    """The result of an op whose derivative is zero or has no meaning: a Tensor without history, or an array."""
    return record(out, *((x, no_vjp) for x in (Tensor(data(x)) if type(x) is Tensor else x for x in inputs)))


def no_vjp(g: Any) -> Any:
    raise AssertionError("a constant is never differentiated")


def _compare(op: str, x: Any, y: Any) -> Tensor:
    a, b = operands(op, x, y)
    try:
        return constant(getattr(module_of(a if arrays.is_array(a) else b), op)(a, b), x, y)
    except REFUSED:
        raise broadcast_error(op, a, b) from None


def equal(x: TensorLike, y: TensorLike) -> Tensor:
    """x == y, bool."""
    return _compare("equal", x, y)


def not_equal(x: TensorLike, y: TensorLike) -> Tensor:
    """x != y, bool."""
    return _compare("not_equal", x, y)


def less(x: TensorLike, y: TensorLike) -> Tensor:
    """x < y, bool."""
    return _compare("less", x, y)


def less_equal(x: TensorLike, y: TensorLike) -> Tensor:
    """x <= y, bool."""
    return _compare("less_equal", x, y)


def greater(x: TensorLike, y: TensorLike) -> Tensor:
    """x > y, bool."""
    return _compare("greater", x, y)


def greater_equal(x: TensorLike, y: TensorLike) -> Tensor:
    """x >= y, bool."""
    return _compare("greater_equal", x, y)


def logical_and(x: TensorLike, y: TensorLike) -> Tensor:
    """x and y, bool."""
    return _compare("logical_and", x, y)


def logical_or(x: TensorLike, y: TensorLike) -> Tensor:
    """x or y, bool."""
    return _compare("logical_or", x, y)


def logical_not(x: TensorLike) -> Tensor:
    """not x, bool."""
    a = operand("logical_not", x)
    return constant(module_of(a).logical_not(a), x)


def isfinite(x: TensorLike) -> Tensor:
    """Whether each element is neither inf nor nan, bool."""
    a = operand("isfinite", x)
    return constant(module_of(a).isfinite(a), x)
