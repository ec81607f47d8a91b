"""Convolution."""

from __future__ import annotations

from functools import partial
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
    zeros: tuple[int, int] = (0, 0),
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
) -> Any:
    """The definition, one output at a time."""
    count, channels, _ = x.shape
    outputs, inputs, size = w.shape
    x = np.concatenate([np.zeros((count, channels, zeros[0])), x, np.zeros((count, channels, zeros[1]))], axis=2)
    steps = (x.shape[2] - dilation * (size - 1) - 1) // stride + 1
    out = np.zeros((count, outputs, steps))
    for o in range(outputs):
        first = o // (outputs // groups) * inputs
        for t in range(steps):
            at = np.arange(size) * dilation + t * stride
            out[:, o, t] = np.tensordot(x[:, first : first + inputs][:, :, at], w[o], 2) + (0 if b is None else b[o])
    return out


CALLS: tuple[tuple[str, Any, tuple[int, int], dict[str, Any], str], ...] = (
    ("plain", 0, (0, 0), {}, "2x3x5 2x3x3 2"),
    ("stride", 2, (2, 2), {"stride": 2}, "2x2x5 2x2x3 2"),
    ("dilation", 1, (1, 1), {"dilation": 2, "stride": 3}, "1x2x7 3x2x3 3"),
    ("groups", 1, (1, 1), {"groups": 2}, "2x4x3 4x2x2 4"),
    ("depthwise", 0, (0, 0), {"groups": 3}, "2x3x4 3x1x2 3"),
    ("same", "same", (1, 2), {"dilation": 3}, "2x2x4 2x2x2 2"),
    ("valid", "valid", (0, 0), {"stride": 2}, "2x1x4 1x1x1 1"),
    ("nothing", 1, (1, 1), {}, "0x2x3 2x2x3 2"),
)
for label, padding, zeros, options, shapes in CALLS:
    padded, expected = partial(tg.conv1d, padding=padding), partial(correlated, zeros=zeros)
    case("conv1d", padded, expected, shapes, label=label, **options)
case("conv1d", tg.conv1d, correlated, "2x2x4 3x2x2, 1x1x1 1x1x1", same="2x2x2")
case("conv1d", tg.conv1d, lambda x, w: correlated(x[None], w)[0], "2x4 3x2x2", label="single")
