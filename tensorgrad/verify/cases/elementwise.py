"""Ops that act on each element."""

from __future__ import annotations

import math

import numpy as np

import tensorgrad as tg
from tensorgrad.verify.case import Table, vector

__all__ = ["table"]

table = Table()
case = table.case

UNARY = (((3, 4),), ((),), ((0, 3),), ((1, 1, 2),))
BINARY = (
    ((3, 4), (3, 4)),
    ((3, 4), (4,)),
    ((2, 1, 3), (4, 1)),
    ((), (2, 2)),
    ((1,), (1, 1)),
    ((0, 3), (1, 3)),
    ((2, 0), (2, 1)),
)


case("abs", tg.abs, lambda x: np.where(x < 0, -x, x), *UNARY)
case("negative", tg.negative, lambda x: 0 - x, *UNARY)
case("square", tg.square, lambda x: x * x, *UNARY)
case("exp", tg.exp, vector(math.exp), *UNARY)
case("expm1", tg.expm1, vector(math.expm1), *UNARY)
case("log", tg.log, vector(math.log), *UNARY, domain="positive")
case("log1p", tg.log1p, vector(math.log1p), *UNARY, domain="positive")
case("sqrt", tg.sqrt, vector(math.sqrt), *UNARY, domain="positive")
case("rsqrt", tg.rsqrt, lambda x: x**-0.5, *UNARY, domain="positive")
case("sin", tg.sin, vector(math.sin), *UNARY)
case("cos", tg.cos, vector(math.cos), *UNARY)
case("tanh", tg.tanh, vector(math.tanh), *UNARY)
case("sigmoid", tg.sigmoid, vector(lambda v: 1 / (1 + math.exp(-v))), *UNARY)
case("erf", tg.erf, vector(math.erf), *UNARY)
case("sign", tg.sign, lambda x: np.where(x > 0, 1.0, -1.0), *UNARY, is_differentiable=False)
case("isfinite", tg.isfinite, lambda x: np.ones(x.shape, bool), *UNARY, is_differentiable=False)
case("logical_not", lambda x: tg.logical_not(x > 0), lambda x: x <= 0, *UNARY, is_differentiable=False)
case("clip", lambda x: tg.clip(x, -0.55, 0.7), lambda x: np.minimum(np.maximum(x, -0.55), 0.7), *UNARY)
case("clip", lambda x: tg.clip(x, high=0.7), lambda x: np.where(x > 0.7, 0.7, x), *UNARY, label="high-")
case("clip", lambda x: tg.clip(x, -0.5), lambda x: np.where(x < -0.5, -0.5, x), *UNARY, label="low-")
case("astype", lambda x: tg.astype(x, x.dtype), lambda x: x, *UNARY)
case("to_device", lambda x: tg.to_device(x, "cpu"), lambda x: x, *UNARY)

case("add", tg.add, lambda x, y: x + y, *BINARY, same=(3, 4))
case("subtract", tg.subtract, lambda x, y: x - y, *BINARY, same=(3, 4))
case("multiply", tg.multiply, lambda x, y: x * y, *BINARY, same=(3, 4))
case("divide", tg.divide, lambda x, y: x / y, *BINARY)
case("pow", tg.pow, lambda x, y: np.exp(y * np.log(x)), *BINARY, domain="positive", same=(3, 4))
case("logaddexp", tg.logaddexp, lambda x, y: np.log(np.exp(x) + np.exp(y)), *BINARY, same=(3, 4))
case("maximum", tg.maximum, lambda x, y: np.where(x > y, x, y), *BINARY, domain="distinct", same=(3, 4))
case("minimum", tg.minimum, lambda x, y: np.where(x < y, x, y), *BINARY, domain="distinct", same=(3, 4))
case(
    "where",
    lambda x, y: tg.where(x.data > 0, x, y),
    lambda x, y: np.select([np.broadcast_to(x > 0, np.broadcast_shapes(x.shape, y.shape))], [x], y),
    *BINARY,
)
for number in (2, -1, 0, 1, 3, 0.5, -1.5):
    case(
        "pow",
        lambda x, n=number: x**n,
        lambda x, n=number: x ** float(n),
        ((3, 4),),
        domain="positive",
        label=f"{number}-",
    )
case("pow", lambda x: 2.5**x, lambda x: np.exp(x * math.log(2.5)), ((3, 4),), ((),), label="base-")
case("add", lambda x: 1 + (x + 2.5), lambda x: x + 3.5, ((3, 4),), label="numbers-")
case("subtract", lambda x: 1 - (x - 2.5), lambda x: 3.5 - x, ((3, 4),), label="numbers-")
case("multiply", lambda x: 2 * (x * 0.5), lambda x: x, ((3, 4),), label="numbers-")
case("divide", lambda x: 2 / (x / 0.5), lambda x: 1 / x, ((3, 4),), label="numbers-")
case("maximum", lambda x: tg.maximum(x, 0.02), lambda x: np.where(x > 0.02, x, 0.02), ((3, 4),), label="numbers-")
case("minimum", lambda x: tg.minimum(0, x), lambda x: np.where(x < 0, x, 0.0), ((3, 4),), label="numbers-")
for compare, expected in (
    ("equal", lambda x, y: ~((x < y) | (x > y))),
    ("not_equal", lambda x, y: (x < y) | (x > y)),
    ("less", lambda x, y: y - x > 0),
    ("less_equal", lambda x, y: ~(x - y > 0)),
    ("greater", lambda x, y: x - y > 0),
    ("greater_equal", lambda x, y: ~(y - x > 0)),
):
    case(compare, getattr(tg, compare), expected, *BINARY, is_differentiable=False, same=(3, 4))
case(
    "logical_and",
    lambda x, y: tg.logical_and(x > 0, y > 0),
    lambda x, y: (x > 0) & (y > 0),
    *BINARY,
    is_differentiable=False,
)
case(
    "logical_or",
    lambda x, y: tg.logical_or(x > 0, y > 0),
    lambda x, y: (x > 0) | (y > 0),
    *BINARY,
    is_differentiable=False,
)
