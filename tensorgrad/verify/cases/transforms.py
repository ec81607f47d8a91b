"""What differentiates: its results, against derivatives worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.verify.case import Table

__all__ = ["table"]

table = Table()
case = table.case

PAIRS = (((3, 4), (3, 4)), ((2, 3), (3,)), ((), ()), ((0, 2), (1, 2)))


def cubic(x: Any, y: Any) -> Any:
    return x * x * y


def total(x: Any, y: Any) -> Any:
    return tg.sum(cubic(x, y))


case("grad", lambda x, y: tg.grad(total(x, y), x, create_graph=True)[0], lambda x, y: 2 * x * y, *PAIRS)
case("recompute", lambda x, y: tg.recompute(lambda a: tg.exp(a) * y + a)(x), lambda x, y: np.exp(x) * y + x, *PAIRS)
case("recompute", lambda x, y: tg.recompute(cubic)(x, y), cubic, *PAIRS, label="both-", same=(2, 2))


def constant(op: str, f: Any, expected: Any, *shape_sets: Any) -> None:
    case(op, f, expected, *shape_sets, is_differentiable=False)


constant(
    "value_and_grad",
    lambda x, y: tg.value_and_grad(total)(x, y)[0] * tg.value_and_grad(total)(x, y)[1][1],
    lambda x, y: (x * x * y).sum() * x * x,
    ((3, 4), (3, 4)),
    ((), ()),
)
constant(
    "vjp", lambda x, g: tg.vjp(lambda a: cubic(a, a), x)[1](g)[0], lambda x, g: 3 * x * x * g, *(p for p in PAIRS[::2])
)
constant(
    "jvp",
    lambda x, t: tg.stack(tg.jvp(lambda a: cubic(a, a), [x], [t])),
    lambda x, t: np.array([x**3, 3 * x * x * t]),
    *(p for p in PAIRS[::2]),
)
constant("hvp", lambda x, v: tg.hvp(lambda a: total(a, a), x, v), lambda x, v: 6 * x * v, *(p for p in PAIRS[::2]))
constant(
    "jacobian",
    lambda x: tg.jacobian(lambda a: a[1:] * a[0], x),
    lambda x: np.hstack([x[1:, None], x[0] * np.eye(len(x) - 1)]),
    ((4,),),
    ((1,),),
)
constant(
    "hessian",
    lambda x: tg.hessian(lambda a: a[0] * a[0] * a[-1], x),
    lambda x: 2 * np.array([[x[2], 0, x[0]], [0, 0, 0], [x[0], 0, 0]]),
    ((3,),),
)
