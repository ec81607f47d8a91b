"""Elementwise functions, comparisons, logic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.tensorgrad.oracle.inputs import choices, is_extreme, is_huge
from tests.tensorgrad.oracle.table import Table

table = Table()

UNARY = (((20, 30),), ((),), ((0, 3),), ((2, 1, 5),))
BINARY = (
    ((20, 30), (20, 30)),
    ((3, 4), (4,)),
    ((2, 1, 3), (4, 1)),
    ((), (2, 2)),
    ((), ()),
    ((1,), (1, 1)),
    ((0, 3), (1, 3)),
    ((2, 0), (2, 1)),
)
INTEGERS = ("int64", "int32", "uint8")


def unary(op: str, **options: Any) -> None:
    table.pair(op, *UNARY, elementwise=True, **options)


def binary(op: str, **options: Any) -> None:
    table.pair(op, *BINARY, elementwise=True, **options)


def beside(number: float, is_first: bool = False) -> Callable[..., Any]:
    """A function of two arguments as a function of one, with a number for the other."""
    return lambda f: (lambda x: f(number, x)) if is_first else (lambda x: f(x, number))


unary("abs", dtypes=INTEGERS)
unary("negative", dtypes=INTEGERS)
unary("square", dtypes=INTEGERS)
unary("sign", dtypes=INTEGERS, avoid=np.isnan)
for op in ("ceil", "floor", "round", "trunc", "positive"):
    unary(op, dtypes=INTEGERS)
for op in ("exp", "exp2", "sin", "cos", "tan", "sinh", "cosh", "tanh", "atan", "erf", "erfc", "reciprocal"):
    unary(op)
for op in ("asin", "acos", "atanh"):
    unary(op, domain="below one")
unary("asinh", avoid=is_huge)  # PyTorch squares
unary("acosh", domain="above one", avoid=lambda a: (a < 1) | is_huge(a))  # where PyTorch gives nan a finite gradient
# PyTorch's gradients 1 + y and y (1 - y) cancel.
unary("expm1", avoid=lambda a: (a < -15) & np.isfinite(a))
unary("sigmoid", avoid=lambda a: (a > 15) & np.isfinite(a))
for op in ("log", "log2", "log10", "log1p", "sqrt", "rsqrt"):
    unary(op, domain="positive")
unary("relu", signed_zeros=False)
for op in ("isfinite", "isinf", "isnan"):
    unary(op, dtypes=INTEGERS)
unary("signbit")
unary("logical_not", dtypes=("bool",))
unary("bitwise_invert", floats=(), dtypes=(*INTEGERS, "bool"))
unary("nan_to_num", arguments=[{}, {"nan": 2.0, "posinf": 3.0, "neginf": -4.0}])
unary("astype", arguments=choices(dtype=("float32", "float64", "int64")), kinds=(), is_view=True)
unary("to_device", arguments=choices(device=("cpu",)), is_view=True)
unary(
    "clip",
    arguments=[{"min": a, "max": b} for a, b in ((-1, 1), (None, 0), (-0.5, None), (1, -1), (0, 0))],
    signed_zeros=False,
)

for op in ("add", "subtract", "multiply"):
    binary(op, dtypes=INTEGERS)
binary("divide")
binary("pow", domain="positive")
for exponent in (2, 3, 1, 0, -1, 0.5, -0.5, 1.5, -2):
    # PyTorch takes the square root, of a negative zero too.
    avoid = np.signbit if exponent in (0.5, -0.5) else None
    unary("pow", of=beside(exponent), domain="positive", avoid=avoid)
for base in (2, 0.5, 1, 0):
    unary("pow", of=beside(base, is_first=True), domain="positive")
binary("logaddexp")
for op in ("maximum", "minimum"):
    binary(op, dtypes=INTEGERS)
    for number in (0, -1.5, 2):
        unary(op, of=beside(number))
for op in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"):
    binary(op, dtypes=(*INTEGERS, "bool"))
for op in ("logical_and", "logical_or", "logical_xor"):
    binary(op, dtypes=("bool",))
for op in ("bitwise_and", "bitwise_or", "bitwise_xor"):
    binary(op, floats=(), dtypes=(*INTEGERS, "bool"))
for op in ("bitwise_left_shift", "bitwise_right_shift"):
    binary(op, floats=(), dtypes=("int64", "int32"), domain=("any", "above one"))
binary(
    "floor_divide",
    avoid=lambda a: is_extreme(a) | np.isinf(a),  # PyTorch rounds the quotient first
    signed_zeros=False,
    dtypes=("int64", "int32"),
    domain=("any", "above one"),
)
binary("remainder", avoid=is_extreme, signed_zeros=False, dtypes=("int64", "int32"), domain=("any", "above one"))
binary("atan2", avoid=is_extreme)  # PyTorch squares
binary("hypot", avoid=is_extreme)  # PyTorch multiplies by g first
binary("copysign", avoid=np.isinf)  # PyTorch divides the result by x
binary("nextafter")
binary("where", of=lambda f: lambda x, y: f(x.detach() > 1, x, y), dtypes=INTEGERS)
