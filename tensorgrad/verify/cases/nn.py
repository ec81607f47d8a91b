"""The ops of neural networks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.array import Array
from tensorgrad.verify.case import Table, vector
from tensorgrad.verify.cases.elementwise import UNARY

__all__ = ["table"]

table = Table()
case = table.case


def soft(x: Array, axis: int = -1) -> Any:
    e = np.exp(x)
    return e / e.sum(axis=axis, keepdims=True)


for axis in (-1, 0, 1):
    shapes = (((3, 4),), ((2, 1),), ((3, 0, 2),) if axis == 0 else ((0, 3),) if axis else ((3, 0, 1),))
    case(
        "softmax", lambda x, a=axis: tg.softmax(x, axis=a), lambda x, a=axis: soft(x, a), *shapes[:2], label=f"{axis}-"
    )
    case(
        "log_softmax",
        lambda x, a=axis: tg.log_softmax(x, axis=a),
        lambda x, a=axis: np.log(soft(x, a)),
        *shapes[:2],
        label=f"{axis}-",
    )
case("softmax", tg.softmax, soft, ((0, 3),), ((2, 3, 2),))
case("log_softmax", tg.log_softmax, lambda x: np.log(soft(x)), ((0, 3),), ((2, 3, 2),))
KEY = tg.Key(3)
for rate in (0.0, 0.4):
    case(
        "dropout",
        lambda x, r=rate: tg.dropout(x, KEY, rate=r),
        lambda x, r=rate: x * (KEY.uniform(x.shape) >= r) / (1 - r),
        *UNARY,
        label=f"{rate}-",
    )
for bias in (False, True):
    case(
        "bilinear",
        tg.bilinear,
        lambda x, y, w, b=0.0: np.stack([((x @ m) * y).sum(axis=-1) for m in w], axis=-1) + b,
        *(
            (*shapes, (2,)) if bias else shapes
            for shapes in (((4, 3), (4, 2), (2, 3, 2)), ((3,), (2,), (2, 3, 2)), ((2, 0, 1), (2, 0, 2), (2, 1, 2)))
        ),
        label="bias-" if bias else "",
    )
ACTIVATIONS: dict[str, Callable[[Array], Any]] = {
    "gelu": vector(lambda v: v * (1 + math.erf(v / math.sqrt(2))) / 2),
    "gelu_tanh": vector(lambda v: v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) / 2),
    "relu_squared": lambda h: np.where(h > 0, h * h, 0 * h),
    "swiglu": lambda h: (
        vector(lambda v: v / (1 + math.exp(-v)))(h[..., : h.shape[-1] // 2]) * h[..., h.shape[-1] // 2 :]
    ),
}
for name, activation in ACTIVATIONS.items():
    rows = 2 if name == "swiglu" else 1
    call = (
        "mlp",
        lambda *xs, a=name: tg.mlp(*xs, activation=a),
        lambda x, up, down, b=0.0, c=0.0, a=activation: (
            np.einsum("...f,nf->...n", a(np.einsum("...c,fc->...f", x, up) + b), down) + c
        ),
    )
    case(*call, ((3, 2), (3 * rows, 2), (2, 3)), label=f"{name}-", same=None if rows == 2 else (2, 2))
    case(*call, ((2, 1, 2), (2 * rows, 2), (3, 2), (2 * rows,), (3,)), label=f"{name}-biases-")
    case(*call, ((2,), (2 * rows, 2), (1, 2), (2 * rows,)), label=f"{name}-bias-")
    case(*call, ((0, 2), (2 * rows, 2), (1, 2)), ((2, 0), (2 * rows, 0), (1, 2)), label=f"{name}-none-")
case(
    "one_hot",
    lambda x: tg.one_hot(tg.astype(x > 0, "int64"), 3),
    lambda x: np.stack([x <= 0, x > 0, np.zeros(x.shape)], axis=-1).astype(np.int64),
    *UNARY,
    is_differentiable=False,
)
case(
    "one_hot",
    lambda x: tg.one_hot(tg.astype(x > -9, "uint8")),
    lambda x: np.stack([np.zeros(x.shape), np.ones(x.shape)], axis=-1).astype(np.int64),
    ((3, 2),),
    label="all-",
    is_differentiable=False,
)
