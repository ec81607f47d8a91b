"""Convolution."""

from __future__ import annotations

from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.array import Array
from tensorgrad.verify.case import Table

__all__ = ["table"]

table = Table()
case = table.case


def correlated(
    x: Array,
    w: Array,
    b: Any = None,
    *,
    stride: int = 1,
    padding: tuple[int, int] = (0, 0),
    dilation: int = 1,
    groups: int = 1,
) -> Any:
    """The definition, one output at a time."""
    count, channels, _ = x.shape
    outputs, inputs, size = w.shape
    x = np.concatenate([np.zeros((count, channels, padding[0])), x, np.zeros((count, channels, padding[1]))], axis=2)
    steps = (x.shape[2] - dilation * (size - 1) - 1) // stride + 1
    out = np.zeros((count, outputs, steps))
    for o in range(outputs):
        first = o // (outputs // groups) * inputs
        for t in range(steps):
            at = np.arange(size) * dilation + t * stride
            out[:, o, t] = np.tensordot(x[:, first : first + inputs][:, :, at], w[o], 2) + (0 if b is None else b[o])
    return out


for label, options, zeros, shapes in (
    ("plain", {}, (0, 0), ((2, 3, 5), (2, 3, 3))),
    ("stride", {"stride": 2, "padding": 2}, (2, 2), ((2, 2, 5), (2, 2, 3))),
    ("dilation", {"dilation": 2, "padding": 1, "stride": 3}, (1, 1), ((1, 2, 7), (3, 2, 3))),
    ("groups", {"groups": 2, "padding": 1}, (1, 1), ((2, 4, 3), (4, 2, 2))),
    ("depthwise", {"groups": 3}, (0, 0), ((2, 3, 4), (3, 1, 2))),
    ("same", {"padding": "same", "dilation": 3}, (1, 2), ((2, 2, 4), (2, 2, 2))),
    ("valid", {"padding": "valid", "stride": 2}, (0, 0), ((2, 1, 4), (1, 1, 1))),
    ("nothing", {"padding": 1}, (1, 1), ((0, 2, 3), (2, 2, 3))),
):
    given = {name: value for name, value in options.items() if name != "padding"}
    case(
        "conv1d",
        lambda x, w, b, o=options: tg.conv1d(x, w, b, **o),
        lambda x, w, b, o=given, p=zeros: correlated(x, w, b, padding=p, **o),
        (*shapes, shapes[1][:1]),
        label=f"{label}-",
    )
case("conv1d", tg.conv1d, correlated, ((2, 2, 4), (3, 2, 2)), ((1, 1, 1), (1, 1, 1)), same=(2, 2, 2))
case("conv1d", tg.conv1d, lambda x, w: correlated(x[None], w)[0], ((2, 4), (3, 2, 2)), label="single-")
