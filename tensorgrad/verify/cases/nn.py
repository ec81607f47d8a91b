"""The ops of neural networks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.array import Array
from tensorgrad.verify.case import Table
from tensorgrad.verify.cases.elementwise import UNARY

__all__ = ["table"]

table = Table()
case = table.case


def soft(x: Array, axis: int = -1) -> Any:
    e = np.exp(x)
    return e / e.sum(axis=axis, keepdims=True)


def attended(q: Array, k: Array, v: Array, mask: Any = None, is_causal: bool = False, scale: Any = None) -> Array:
    """Attention as loops over samples, heads and queries."""
    out = np.zeros((*q.shape[:3], v.shape[-1]))
    for b, h, t in np.ndindex(*q.shape[:3]):
        group = h // (q.shape[1] // k.shape[1])
        scores = k[b, group] @ q[b, h, t] * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
        seen = np.arange(len(scores)) <= t if is_causal else np.ones(len(scores), bool)
        if mask is not None:
            row = np.broadcast_to(mask, (*q.shape[:3], len(scores)))[b, h, t]
            seen, scores = (seen & row, scores) if row.dtype == bool else (seen, scores + row)
        weights = np.exp(scores) * seen
        if weights.sum() > 0:
            out[b, h, t] = weights @ v[b, group] / weights.sum()
    return out


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
ANGLES = np.random.default_rng(5).normal(size=(3, 2))
case(
    "rope",
    lambda x: tg.rope(x, np.cos(ANGLES).astype(x.dtype), np.sin(ANGLES).astype(x.dtype)),
    # As complex numbers: each pair is turned by its angle.
    lambda x: np.concatenate([(z := (x[..., :2] + 1j * x[..., 2:]) * np.exp(1j * ANGLES)).real, z.imag], axis=-1),
    ((3, 4),),
    ((2, 3, 4),),
    ((2, 2, 3, 4),),
    ((0, 2, 3, 4),),
)
KEY = tg.Key(3)
for rate in (0.0, 0.4):
    case(
        "dropout",
        lambda x, r=rate: tg.dropout(x, KEY, rate=r),
        lambda x, r=rate: x * (KEY.uniform(x.shape) >= r) / (1 - r),
        *UNARY,
        label=f"{rate}-",
    )
BOOL_MASK = np.random.default_rng(1).random((2, 1, 3, 5)) < 0.6
BOOL_MASK[0, 0, 1] = False  # a query that sees nothing
FLOAT_MASK = np.random.default_rng(2).normal(size=(4, 1, 5))
for label, options in (
    ("plain", {}),
    ("causal", {"is_causal": True}),
    ("bool", {"mask": BOOL_MASK}),
    ("bool-causal", {"mask": BOOL_MASK, "is_causal": True}),
    ("float", {"mask": FLOAT_MASK}),
    ("scaled", {"scale": 0.3}),
):
    case(
        "scaled_dot_product_attention",
        lambda q, k, v, o=options: tg.scaled_dot_product_attention(
            q, k, v, **{n: m.astype(q.dtype) if n == "mask" and m.dtype != bool else m for n, m in o.items()}
        ),
        lambda q, k, v, o=options: attended(q, k, v, **o),
        ((2, 4, 3, 2), (2, 2, 5, 2), (2, 2, 5, 3)),
        label=f"{label}-",
    )
case(
    "scaled_dot_product_attention",
    lambda q, k, v: tg.scaled_dot_product_attention(q, k, v, is_causal=True),
    lambda q, k, v: attended(q, k, v, is_causal=True),
    ((1, 1, 4, 2), (1, 1, 2, 2), (1, 1, 2, 1)),
    ((1, 1, 1, 1), (1, 1, 1, 1), (1, 1, 1, 1)),
    ((0, 1, 2, 2), (0, 1, 2, 2), (0, 1, 2, 2)),
    ((1, 1, 2, 2), (1, 1, 0, 2), (1, 1, 0, 2)),
    ((1, 1, 0, 2), (1, 1, 2, 2), (1, 1, 2, 2)),
    same=(1, 2, 3, 2),
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
