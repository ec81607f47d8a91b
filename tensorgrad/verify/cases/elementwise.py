"""Ops that act on each element."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.array import Array
from tensorgrad.verify.case import Table, vector

__all__ = ["table"]

table = Table()
case, constant = table.case, table.constant

UNARY = "3x4, scalar, 0x3, 1x1x2"
BINARY = "3x4 3x4, 3x4 4, 2x1x3 4x1, scalar 2x2, 1 1x1, 0x3 1x3, 2x0 2x1"


def pairwise(function: Callable[[Any, Any], Any], dtype: type = np.float64) -> Callable[[Array, Array], Array]:
    """A function of two of Python's numbers, over arrays that broadcast."""
    return np.vectorize(function, otypes=[dtype])


# --- arithmetic, choices, dtypes ---------------------------------------------------------------

case("abs", tg.abs, lambda x: np.where(x < 0, -x, x), UNARY)
case("negative", tg.negative, lambda x: 0 - x, UNARY)
case("positive", tg.positive, lambda x: x, UNARY)
case("square", tg.square, lambda x: x * x, UNARY)
case("reciprocal", tg.reciprocal, lambda x: x**-1.0, UNARY)
constant("sign", tg.sign, lambda x: np.where(x > 0, 1.0, -1.0), UNARY)
case("add", tg.add, lambda x, y: x + y, BINARY, same="3x4")
case("subtract", tg.subtract, lambda x, y: x - y, BINARY, same="3x4")
case("multiply", tg.multiply, lambda x, y: x * y, BINARY, same="3x4")
case("divide", tg.divide, lambda x, y: x / y, BINARY)
case("add", lambda x: 1 + (x + 2.5), lambda x: x + 3.5, "3x4", label="numbers")
case("subtract", lambda x: 1 - (x - 2.5), lambda x: 3.5 - x, "3x4", label="numbers")
case("multiply", lambda x: 2 * (x * 0.5), lambda x: x, "3x4", label="numbers")
case("divide", lambda x: 2 / (x / 0.5), lambda x: 1 / x, "3x4", label="numbers")
case("maximum", tg.maximum, lambda x, y: np.where(x > y, x, y), BINARY, domain="distinct", same="3x4")
case("minimum", tg.minimum, lambda x, y: np.where(x < y, x, y), BINARY, domain="distinct", same="3x4")
case("maximum", lambda x: tg.maximum(x, 0.02), lambda x: np.where(x > 0.02, x, 0.02), "3x4", label="numbers")
case("minimum", lambda x: tg.minimum(0, x), lambda x: np.where(x < 0, x, 0.0), "3x4", label="numbers")
case(
    "where",
    lambda x, y: tg.where(x.data > 0, x, y),
    lambda x, y: np.select([np.broadcast_to(x > 0, np.broadcast_shapes(x.shape, y.shape))], [x], y),
    BINARY,
)
# Bounds between the "distinct" numbers.
case(
    "clip",
    lambda x: tg.clip(x, -0.32, 0.28),
    lambda x: np.minimum(np.maximum(x, -0.32), 0.28),
    UNARY,
    domain="distinct",
)
case(
    "clip", lambda x: tg.clip(x, max=0.28), lambda x: np.where(x > 0.28, 0.28, x), UNARY, domain="distinct", label="max"
)
case(
    "clip", lambda x: tg.clip(x, -0.32), lambda x: np.where(x < -0.32, -0.32, x), UNARY, domain="distinct", label="min"
)
case("clip", tg.clip, lambda x: x, "3x4", label="none")
case("clip", tg.clip, lambda x, y: np.where(x < y, y, x), BINARY, domain="distinct", label="tensor-min")
case(
    "clip",
    lambda x, y: tg.clip(x, max=y),
    lambda x, y: np.where(x > y, y, x),
    BINARY,
    domain="distinct",
    label="tensor-max",
)
# Some of the lower bounds are above the upper ones.
case(
    "clip",
    tg.clip,
    lambda x, low, high: np.where(low > high, high, np.sort(np.stack(np.broadcast_arrays(x, low, high)), axis=0)[1]),
    "3x4 3x4 3x4, 2x1 3 scalar, scalar 2 2x1, 0x3 3 1x3",
    domain="distinct",
    label="tensors",
)
case("nan_to_num", tg.nan_to_num, lambda x: x, UNARY)
case("astype", lambda x: tg.astype(x, x.dtype), lambda x: x, UNARY)
case("astype", lambda x: tg.astype(x, x.dtype, copy=False, device="cpu"), lambda x: x, "3x4", label="same")
case("astype", lambda x: tg.astype(tg.astype(x, "float64"), x.dtype), lambda x: x, "3x4", label="there-and-back")
case("to_device", lambda x: tg.to_device(x, "cpu"), lambda x: x, UNARY)

# --- exponentials, logarithms, powers ----------------------------------------------------------

case("exp", tg.exp, vector(math.exp), UNARY)
case("exp2", tg.exp2, lambda x: np.exp(x * math.log(2)), UNARY)
case("expm1", tg.expm1, vector(math.expm1), UNARY)
case("log", tg.log, vector(math.log), UNARY, domain="positive")
case("log1p", tg.log1p, vector(math.log1p), UNARY, domain="positive")
case("log2", tg.log2, vector(math.log2), UNARY, domain="positive")
case("log10", tg.log10, vector(math.log10), UNARY, domain="positive")
case("logaddexp", tg.logaddexp, lambda x, y: np.log(np.exp(x) + np.exp(y)), BINARY, same="3x4")
case("logaddexp", lambda x: tg.logaddexp(x, 0.5), lambda x: np.log(np.exp(x) + math.exp(0.5)), "3x4", label="half")
case("sqrt", tg.sqrt, vector(math.sqrt), UNARY, domain="positive")
case("rsqrt", tg.rsqrt, lambda x: x**-0.5, UNARY, domain="positive")
case("sigmoid", tg.sigmoid, vector(lambda v: 1 / (1 + math.exp(-v))), UNARY)
case("erf", tg.erf, vector(math.erf), UNARY)
case("erfc", tg.erfc, vector(math.erfc), UNARY)
case("pow", tg.pow, lambda x, y: np.exp(y * np.log(x)), BINARY, domain="positive", same="3x4")
case("pow", lambda x: 2.5**x, lambda x: np.exp(x * math.log(2.5)), "3x4, scalar", label="base")
for number in (2, -1, 0, 1, 3, 0.5, -1.5):
    case("pow", lambda x, n=number: x**n, lambda x, n=number: x ** float(n), "3x4", domain="positive", label=number)

# --- trigonometric and hyperbolic --------------------------------------------------------------

for name in ("sin", "cos", "atan", "sinh", "cosh", "tanh", "asinh"):
    case(name, getattr(tg, name), vector(getattr(math, name)), UNARY)
for name in ("tan", "asin", "acos", "atanh"):
    case(name, getattr(tg, name), vector(getattr(math, name)), UNARY, domain="below one")
case("acosh", tg.acosh, vector(math.acosh), UNARY, domain="above one")
case("atan2", tg.atan2, pairwise(math.atan2), BINARY, same="3x4")
case("atan2", lambda x: tg.atan2(x, -0.5), vector(lambda v: math.atan2(v, -0.5)), "3x4", label="number")
case("hypot", tg.hypot, pairwise(math.hypot), BINARY, same="3x4")
case("hypot", lambda x: tg.hypot(2, x), vector(lambda v: math.hypot(2, v)), "3x4", label="number")

# --- rounding, remainders, signs ---------------------------------------------------------------

for name, rounded in (("ceil", math.ceil), ("floor", math.floor), ("round", round), ("trunc", math.trunc)):
    expected = lambda x, f=rounded: vector(f)(3 * x)  # noqa: E731
    constant(name, lambda x, n=name: getattr(tg, n)(3 * x), expected, UNARY)
constant("floor_divide", tg.floor_divide, pairwise(operator.floordiv), BINARY, same="3x4")
# The quotients are in -2/3 .. 2/3, the last case's in 3.1 .. 15: away from where the remainder jumps.
case("remainder", tg.remainder, pairwise(operator.mod), BINARY, domain=("below one", "above one"))
case("remainder", lambda x: tg.remainder(x, -3), lambda x: x - 3 * (x > 0), "3x4", label="number")
case("remainder", lambda x: tg.remainder(7.9, x), vector(lambda v: 7.9 % v), "2", domain="positive", label="of")
case("copysign", tg.copysign, pairwise(math.copysign), BINARY)
case("copysign", lambda x: tg.copysign(x, -1.0), lambda x: np.where(x < 0, x, -x), "3x4", label="number")
case("nextafter", tg.nextafter, pairwise(math.nextafter), BINARY)
constant("signbit", tg.signbit, lambda x: x < 0, UNARY)

# --- comparisons, logic, bits ------------------------------------------------------------------

for name, compared in (
    ("equal", lambda x, y: ~((x < y) | (x > y))),
    ("not_equal", lambda x, y: (x < y) | (x > y)),
    ("less", lambda x, y: y - x > 0),
    ("less_equal", lambda x, y: ~(x - y > 0)),
    ("greater", lambda x, y: x - y > 0),
    ("greater_equal", lambda x, y: ~(y - x > 0)),
):
    constant(name, getattr(tg, name), compared, BINARY, same="3x4")
for name, combine in (("logical_and", operator.and_), ("logical_or", operator.or_), ("logical_xor", operator.xor)):
    constant(name, lambda x, y, n=name: getattr(tg, n)(x > 0, y > 0), lambda x, y, f=combine: f(x > 0, y > 0), BINARY)
constant("logical_not", lambda x: tg.logical_not(x > 0), lambda x: x <= 0, UNARY)
constant("isfinite", tg.isfinite, lambda x: np.ones(x.shape, bool), UNARY)
constant("isinf", tg.isinf, lambda x: np.zeros(x.shape, bool), UNARY)
constant("isnan", tg.isnan, lambda x: np.zeros(x.shape, bool), UNARY)
for name, combine in (
    ("bitwise_and", operator.and_),
    ("bitwise_or", operator.or_),
    ("bitwise_xor", operator.xor),
    ("bitwise_left_shift", lambda x, y: x << y % 8),
    ("bitwise_right_shift", lambda x, y: x >> y % 8),
):
    constant(
        name,
        lambda x, y, n=name, m=7 if "shift" in name else -1: getattr(tg, n)(
            tg.astype(99 * x, "int32"), tg.bitwise_and(tg.astype(99 * y, "int32"), m)
        ),
        lambda x, y, f=combine: pairwise(f, np.int32)(np.trunc(99 * x).astype(int), np.trunc(99 * y).astype(int)),
        BINARY,
    )
constant(
    "bitwise_invert", lambda x: tg.bitwise_invert(tg.astype(99 * x, "int64")), vector(lambda v: -1 - int(99 * v)), UNARY
)
