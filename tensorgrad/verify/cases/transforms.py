"""The functions that differentiate: their results against derivatives worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.verify.case import Table

__all__ = ["table"]

table = Table()
case, constant = table.case, table.constant

ALIKE = "3x4 3x4, scalar scalar"
PAIRS = "3x4 3x4, 2x3 3, scalar scalar, 0x2 1x2"


def cubic(x: Any, y: Any) -> Any:
    return x * x * y


def total(x: Any, y: Any) -> Any:
    return tg.sum(cubic(x, y))


case("grad", lambda x, y: tg.grad(total(x, y), x, create_graph=True)[0], lambda x, y: 2 * x * y, PAIRS)
case("recompute", lambda x, y: tg.recompute(lambda a: tg.exp(a) * y + a)(x), lambda x, y: np.exp(x) * y + x, PAIRS)
case("recompute", lambda x, y: tg.recompute(cubic)(x, y), cubic, PAIRS, label="both", same="2x2")


constant(
    "value_and_grad",
    lambda x, y: tg.value_and_grad(total)(x, y)[0] * tg.value_and_grad(total)(x, y)[1][1],
    lambda x, y: (x * x * y).sum() * x * x,
    ALIKE,
)
constant("vjp", lambda x, g: tg.vjp(lambda a: cubic(a, a), x)[1](g)[0], lambda x, g: 3 * x * x * g, ALIKE)
constant(
    "jvp",
    lambda x, t: tg.stack(tg.jvp(lambda a: cubic(a, a), [x], [t])),
    lambda x, t: np.array([x**3, 3 * x * x * t]),
    ALIKE,
)
constant("hvp", lambda x, v: tg.hvp(lambda a: total(a, a), x, v), lambda x, v: 6 * x * v, ALIKE)
constant(
    "jacobian",
    lambda x: tg.jacobian(lambda a: a[1:] * a[0], x),
    lambda x: np.hstack([x[1:, None], x[0] * np.eye(len(x) - 1)]),
    "4, 1",
)
constant(
    "hessian",
    lambda x: tg.hessian(lambda a: a[0] * a[0] * a[-1], x),
    lambda x: 2 * np.array([[x[2], 0, x[0]], [0, 0, 0], [x[0], 0, 0]]),
    "3",
)
