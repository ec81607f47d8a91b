"""Normalisation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.array import Array
from tensorgrad.verify.case import Table

__all__ = ["table"]

table = Table()
case = table.case


def normalised(x: Array, eps: float, axes: int = 1) -> Any:
    axis = tuple(range(-axes, 0))
    return (x - x.mean(axis=axis, keepdims=True)) / np.sqrt(x.var(axis=axis, keepdims=True) + eps)


def scaled(x: Array, eps: float, axes: int = 1) -> Any:
    return x / np.sqrt((x * x).mean(axis=tuple(range(-axes, 0)), keepdims=True) + eps)


for eps in (1e-5, 0.3):
    expected = lambda x, w, b, eps: normalised(x, eps) * w + b  # noqa: E731
    case("layer_norm", tg.layer_norm, expected, "3x4 4 4, 2x3x5 5 5, 5 5 5, 0x4 4 4", same="5", eps=eps)
case("layer_norm", tg.layer_norm, lambda x, w: normalised(x, 1e-5) * w, "3x4 4", label="weight", same="5")
case("layer_norm", lambda x, w: tg.layer_norm(x, w, eps=0.1), lambda x, w: 0 * x * w, "3x1 1", label="narrow")
case(
    "rms_norm",
    lambda x, w: tg.rms_norm(x, w, eps=0.01),
    lambda x, w: x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 0.01) * w,
    "3x4 4, 2x3x5 5, 1 1, 0x2 2",
    same="5",
)
case("rms_norm", tg.rms_norm, lambda x, w: scaled(x, 2**-52) * w, "3x4 4", label="default")
case("rms_norm", lambda x: tg.rms_norm(x, eps=0.01), lambda x: scaled(x, 0.01), "3x4, 4", label="alone")
case("layer_norm", tg.layer_norm, lambda x: normalised(x, 1e-5), "3x4, 4", label="alone")
case("layer_norm", lambda x, b: tg.layer_norm(x, bias=b), lambda x, b: normalised(x, 1e-5) + b, "3x4 4", label="bias")
case(
    "layer_norm",
    tg.layer_norm,
    lambda x, w, b: normalised(x, 1e-5, 2) * w + b,
    "2x3x4 3x4 3x4, 3x4 3x4 3x4",
    label="axes",
    same="3x4",
)
case(
    "layer_norm",
    lambda x: tg.layer_norm(x, normalized_shape=(3, 4)),
    lambda x: normalised(x, 1e-5, 2),
    "2x3x4",
    label="shape",
)
case(
    "rms_norm",
    lambda x, w: tg.rms_norm(x, w, normalized_shape=(3, 4), eps=0.1),
    lambda x, w: scaled(x, 0.1, 2) * w,
    "2x3x4 3x4",
    label="axes",
    same="3x4",
)
for groups in (1, 2, 4):

    def grouped(x: Array, eps: float = 1e-5, groups: int = groups) -> Any:
        width = math.prod(x.shape[1:]) // groups
        parts = [normalised(part.reshape(len(x), width), eps) for part in np.split(x, groups, axis=1)]
        return np.concatenate(parts, axis=1).reshape(x.shape)

    for shapes, eps, ones in (("2x4x3 4 4", 0.1, (1,)), ("1x4x2x3 4 4, 0x4x2x3 4 4", 1e-5, (1, 1))):
        case(
            "group_norm",
            lambda x, w, b, g=groups, e=eps: tg.group_norm(x, g, w, b, eps=e),
            lambda x, w, b, f=grouped, e=eps, n=ones: f(x, e) * w.reshape(4, *n) + b.reshape(4, *n),
            shapes,
            label=groups,
        )
case(
    "group_norm",
    lambda x: tg.group_norm(x, 2, eps=0.1),
    lambda x: normalised(x.reshape(-1, 2), 0.1).reshape(x.shape),
    "3x4",
    label="alone",
)
case(
    "group_norm", lambda x, b: tg.group_norm(x, 1, None, b), lambda x, b: normalised(x, 1e-5) + b, "3x4 4", label="bias"
)
case("group_norm", lambda x, w: tg.group_norm(x, 1, w), lambda x, w: normalised(x, 1e-5) * w, "3x4 4", label="weight")
