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
case, constant = table.case, table.constant


def soft(x: Array, axis: int = -1) -> Any:
    e = np.exp(x)
    return e / e.sum(axis=axis, keepdims=True)


for axis in (-1, 0, 1):
    case("softmax", tg.softmax, soft, "3x4, 2x1", axis=axis)
    case("log_softmax", tg.log_softmax, lambda x, axis: np.log(soft(x, axis)), "3x4, 2x1", axis=axis)
case("softmax", tg.softmax, soft, "0x3, 2x3x2")
case("log_softmax", tg.log_softmax, lambda x: np.log(soft(x)), "0x3, 2x3x2")
KEY = tg.Key(3)
for rate in (0.0, 0.4):
    case(
        "dropout",
        lambda x, rate: tg.dropout(x, KEY, rate=rate),
        lambda x, rate: x * (KEY.uniform(x.shape) >= rate) / (1 - rate),
        UNARY,
        rate=rate,
    )


def bilinear(x: Array, y: Array, w: Array, b: Any = 0.0) -> Any:
    return np.stack([((x @ m) * y).sum(axis=-1) for m in w], axis=-1) + b


case("bilinear", tg.bilinear, bilinear, "4x3 4x2 2x3x2, 3 2 2x3x2, 2x0x1 2x0x2 2x1x2")
case("bilinear", tg.bilinear, bilinear, "4x3 4x2 2x3x2 2, 3 2 2x3x2 2, 2x0x1 2x0x2 2x1x2 2", label="bias")
ACTIVATIONS: dict[str, Callable[[Array], Any]] = {
    "gelu": vector(lambda v: v * (1 + math.erf(v / math.sqrt(2))) / 2),
    "gelu_tanh": vector(lambda v: v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) / 2),
    "relu_squared": lambda h: np.where(h > 0, h * h, 0 * h),
    "swiglu": lambda h: (
        vector(lambda v: v / (1 + math.exp(-v)))(h[..., : h.shape[-1] // 2]) * h[..., h.shape[-1] // 2 :]
    ),
}


def two_layers(x: Array, up: Array, down: Array, b: Any = 0.0, c: Any = 0.0, *, activation: str) -> Any:
    hidden = ACTIVATIONS[activation](np.einsum("...c,fc->...f", x, up) + b)
    return np.einsum("...f,nf->...n", hidden, down) + c


for name in ACTIVATIONS:
    rows = 2 if name == "swiglu" else 1
    for label, shapes in (
        ("", f"3x2 {3 * rows}x2 2x3"),
        ("-biases", f"2x1x2 {2 * rows}x2 3x2 {2 * rows} 3"),
        ("-bias", f"2 {2 * rows}x2 1x2 {2 * rows}"),
        ("-none", f"0x2 {2 * rows}x2 1x2, 2x0 {2 * rows}x0 1x2"),
    ):
        same = "2x2" if rows == 1 and not label else None
        case("mlp", tg.mlp, two_layers, shapes, label=name + label, same=same, activation=name)
constant(
    "one_hot",
    lambda x: tg.one_hot(tg.astype(x > 0, "int64"), 3),
    lambda x: np.stack([x <= 0, x > 0, np.zeros(x.shape)], axis=-1).astype(np.int64),
    UNARY,
)
constant(
    "one_hot",
    lambda x: tg.one_hot(tg.astype(x > -9, "uint8")),
    lambda x: np.stack([np.zeros(x.shape), np.ones(x.shape)], axis=-1).astype(np.int64),
    "3x2",
    label="all",
)
