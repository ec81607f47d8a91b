"""Comparisons, logic and bits: their results are bools or integers, and constants to gradients."""

from __future__ import annotations

from typing import Any

from tensorgrad.array import is_array, module_of
from tensorgrad.errors import DTypeError
from tensorgrad.ops.common import TensorLike, combined, operand, operands
from tensorgrad.tape import data, record
from tensorgrad.tensor import Tensor

__all__ = ["equal", "greater", "greater_equal", "isfinite", "isinf", "isnan", "less", "less_equal", "not_equal"]
__all__ += ["bitwise_and", "bitwise_invert", "logical_and", "logical_not", "logical_or", "logical_xor"]
__all__ += ["bitwise_left_shift", "bitwise_or", "bitwise_right_shift", "bitwise_xor"]


def constant(out: Any, *inputs: Any) -> Tensor:
    """The result of an op whose derivative is zero or has no meaning: a Tensor without history, or an array."""
    return record(out, *((detached(x), no_vjp) for x in inputs))


def detached(x: Any) -> Any:
    """x without history if it is a Tensor: an input that gets no gradient."""
    return Tensor(data(x)) if type(x) is Tensor else x


def no_vjp(g: Any) -> Any:
    raise AssertionError("a constant is never differentiated")


# --- comparisons -------------------------------------------------------------------------------


def equal(x: TensorLike, y: TensorLike) -> Tensor:
    """x == y, bool."""
    return _combine("equal", x, y)


def not_equal(x: TensorLike, y: TensorLike) -> Tensor:
    """x != y, bool."""
    return _combine("not_equal", x, y)


def less(x: TensorLike, y: TensorLike) -> Tensor:
    """x < y, bool."""
    return _combine("less", x, y)


def less_equal(x: TensorLike, y: TensorLike) -> Tensor:
    """x <= y, bool."""
    return _combine("less_equal", x, y)


def greater(x: TensorLike, y: TensorLike) -> Tensor:
    """x > y, bool."""
    return _combine("greater", x, y)


def greater_equal(x: TensorLike, y: TensorLike) -> Tensor:
    """x >= y, bool."""
    return _combine("greater_equal", x, y)


def isfinite(x: TensorLike) -> Tensor:
    """Whether each element is neither inf nor nan, bool."""
    return _test("isfinite", x)


def isinf(x: TensorLike) -> Tensor:
    """Whether each element is inf or -inf, bool."""
    return _test("isinf", x)


def isnan(x: TensorLike) -> Tensor:
    """Whether each element is nan, bool."""
    return _test("isnan", x)


# --- logic -------------------------------------------------------------------------------------


def logical_and(x: TensorLike, y: TensorLike) -> Tensor:
    """x and y, bool; a number is true unless it is 0."""
    return _combine("logical_and", x, y)


def logical_or(x: TensorLike, y: TensorLike) -> Tensor:
    """x or y, bool; a number is true unless it is 0."""
    return _combine("logical_or", x, y)


def logical_xor(x: TensorLike, y: TensorLike) -> Tensor:
    """Either x or y, bool; a number is true unless it is 0."""
    return _combine("logical_xor", x, y)


def logical_not(x: TensorLike) -> Tensor:
    """not x, bool; a number is true unless it is 0."""
    return _test("logical_not", x)


def _combine(op: str, x: Any, y: Any) -> Tensor:
    return constant(combined(op, op, *operands(op, x, y)), x, y)


def _test(op: str, x: Any) -> Tensor:
    a = operand(op, x)
    return constant(getattr(module_of(a), op)(a), x)


# --- bits --------------------------------------------------------------------------------------


def bitwise_and(x: TensorLike, y: TensorLike) -> Tensor:
    """x & y, of integers or bools."""
    return _combine_bits("bitwise_and", x, y, "iub")


def bitwise_or(x: TensorLike, y: TensorLike) -> Tensor:
    """x | y, of integers or bools."""
    return _combine_bits("bitwise_or", x, y, "iub")


def bitwise_xor(x: TensorLike, y: TensorLike) -> Tensor:
    """x ^ y, of integers or bools."""
    return _combine_bits("bitwise_xor", x, y, "iub")


def bitwise_invert(x: TensorLike) -> Tensor:
    """~x, of integers or bools."""
    a = operand("bitwise_invert", x)
    _check_kind("bitwise_invert", a, "iub")
    return constant(module_of(a).invert(a), x)


def bitwise_left_shift(x: TensorLike, y: TensorLike) -> Tensor:
    """x << y, of integers; y >= 0."""
    return _combine_bits("left_shift", x, y, "iu")


def bitwise_right_shift(x: TensorLike, y: TensorLike) -> Tensor:
    """x >> y, of integers, with copies of the sign bit moving in; y >= 0."""
    return _combine_bits("right_shift", x, y, "iu")


def _combine_bits(function: str, x: Any, y: Any, kinds: str) -> Tensor:
    op = function if function.startswith("bitwise") else f"bitwise_{function}"
    a, b = operands(op, x, y)
    _check_kind(op, a if is_array(a) else b, kinds)
    return constant(combined(op, function, a, b), x, y)


def _check_kind(op: str, a: Any, kinds: str) -> None:
    if a.dtype.kind not in kinds:
        wanted = "integers or bools" if "b" in kinds else "integers"
        raise DTypeError(f"{op}: expected {wanted}, got dtype {a.dtype}: convert with .astype")
