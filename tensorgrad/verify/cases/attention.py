"""Attention and what goes with it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.array import Array
from tensorgrad.random import RowKeys
from tensorgrad.verify.case import Table, beside

__all__ = ["table"]

table = Table()
case = table.case


def attended(
    q: Array, k: Array, v: Array, mask: Any = None, is_causal: bool = False, scale: Any = None, kept: Any = 1.0
) -> Array:
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
            out[b, h, t] = np.broadcast_to(kept, (*q.shape[:3], len(scores)))[b, h, t] * weights @ v[b, group]
            out[b, h, t] /= weights.sum()
    return out


ANGLES = np.random.default_rng(5).normal(size=(3, 2))
case(
    "rope",
    lambda x: tg.rope(x, *(beside(x, f(ANGLES).astype(x.dtype)) for f in (np.cos, np.sin))),
    # As complex numbers: each pair is turned by its angle.
    lambda x: np.concatenate([(z := (x[..., :2] + 1j * x[..., 2:]) * np.exp(1j * ANGLES)).real, z.imag], axis=-1),
    ((3, 4),),
    ((2, 3, 4),),
    ((2, 2, 3, 4),),
    ((0, 2, 3, 4),),
)


def placed(q: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The options with the mask in the dtype of q, if it is one of numbers, and on its device."""
    if "mask" not in options:
        return options
    mask = options["mask"]
    return options | {"mask": beside(q, mask if mask.dtype == bool else mask.astype(q.dtype))}


SMALL = ((2, 2, 3, 2), (2, 1, 4, 2), (2, 1, 4, 1))
BOOL_MASK = np.random.default_rng(1).random((2, 1, 3, 4)) < 0.6
BOOL_MASK[0, 0, 1] = False  # a query that sees nothing
FLOAT_MASK = np.random.default_rng(2).normal(size=(2, 1, 4))
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
        lambda q, k, v, o=options: tg.scaled_dot_product_attention(q, k, v, **placed(q, o)),
        lambda q, k, v, o=options: attended(q, k, v, **o),
        SMALL,
        label=f"{label}-",
    )
case(
    "scaled_dot_product_attention",
    lambda q, k, v: tg.scaled_dot_product_attention(q, k, v, is_causal=True),
    lambda q, k, v: attended(q, k, v, is_causal=True),
    ((1, 4, 3, 2), (1, 2, 5, 2), (1, 2, 5, 3)),
    ((1, 1, 4, 2), (1, 1, 2, 2), (1, 1, 2, 1)),
    ((1, 1, 1, 1), (1, 1, 1, 1), (1, 1, 1, 1)),
    ((0, 1, 2, 2), (0, 1, 2, 2), (0, 1, 2, 2)),
    ((1, 1, 2, 2), (1, 1, 0, 2), (1, 1, 0, 2)),
    ((1, 1, 0, 2), (1, 1, 2, 2), (1, 1, 2, 2)),
    same=(1, 2, 3, 2),
)


def attended_beside(qkv: Array, num_heads: int, **options: Any) -> Array:
    heads = qkv.transpose(0, 2, 1, 3)
    kv_heads = (heads.shape[1] - num_heads) // 2
    q, k, v = np.split(heads, (num_heads, num_heads + kv_heads), axis=1)
    return attended(q, k, v, **options).transpose(0, 2, 1, 3)


for label, options in (
    ("plain", {}),
    ("causal", {"is_causal": True}),
    ("scaled", {"is_causal": True, "scale": 0.3}),
):
    case(
        "self_attention",
        lambda x, o=options: tg.self_attention(x, num_heads=2, **o),
        lambda x, o=options: attended_beside(x, 2, **o),
        ((2, 3, 4, 2),),  # two query heads to a key head
        ((1, 2, 6, 1),),
        ((0, 3, 4, 2),),
        ((1, 0, 4, 2),),
        label=f"{label}-",
    )
KEY, ROW_KEYS = tg.Key(4), RowKeys((tg.Key(5), tg.Key(6)))
for label, keys in (("key", KEY), ("keys", ROW_KEYS)):
    case(
        "scaled_dot_product_attention",
        lambda q, k, v, key=keys: tg.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_rate=0.4, key=key),
        lambda q, k, v, key=keys: attended(
            q, k, v, is_causal=True, kept=(key.uniform((*q.shape[:3], k.shape[2])) >= 0.4) / 0.6
        ),
        SMALL,
        label=f"dropout-{label}-",
    )
for label, shape in (("whole", (1, 2, 3, 4)), ("heads", (2, 1, 4)), ("vector", (4,))):
    case(
        "scaled_dot_product_attention",
        lambda q, k, v, m: tg.scaled_dot_product_attention(q, k, v, mask=m, is_causal=True, dropout_rate=0.4, key=KEY),
        lambda q, k, v, m: attended(
            q, k, v, m, is_causal=True, kept=(KEY.uniform((*q.shape[:3], k.shape[2])) >= 0.4) / 0.6
        ),
        ((1, 2, 3, 2), (1, 1, 4, 2), (1, 1, 4, 1), shape),
        label=f"mask-{label}-",
    )
