"""Attention and the rotary position embedding."""

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
    q: Array,
    k: Array,
    v: Array,
    mask: Any = None,
    *,
    is_causal: bool = False,
    scale: Any = None,
    dropout_rate: float = 0.0,
    key: Any = None,
) -> Array:
    """Attention as loops over samples, heads and queries."""
    places = (*q.shape[:3], k.shape[2])
    kept = np.ones(places) if key is None else (key.uniform(places) >= dropout_rate) / (1 - dropout_rate)
    out = np.zeros((*q.shape[:3], v.shape[-1]))
    for b, h, t in np.ndindex(*q.shape[:3]):
        group = h // (q.shape[1] // k.shape[1])
        scores = k[b, group] @ q[b, h, t] * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
        seen = np.arange(len(scores)) <= t if is_causal else np.ones(len(scores), bool)
        if mask is not None:
            row = np.broadcast_to(mask, places)[b, h, t]
            seen, scores = (seen & row, scores) if row.dtype == bool else (seen, scores + row)
        weights = np.exp(scores) * seen
        if weights.sum() > 0:
            out[b, h, t] = kept[b, h, t] * weights @ v[b, group] / weights.sum()
    return out


ANGLES = np.random.default_rng(5).normal(size=(3, 2))
case(
    "rope",
    lambda x: tg.rope(x, *(beside(x, f(ANGLES).astype(x.dtype)) for f in (np.cos, np.sin))),
    # As complex numbers: each pair is turned by its angle.
    lambda x: np.concatenate([(z := (x[..., :2] + 1j * x[..., 2:]) * np.exp(1j * ANGLES)).real, z.imag], axis=-1),
    "3x4, 2x3x4, 2x2x3x4, 0x2x3x4",
)


def attend(q: Any, k: Any, v: Any, mask: Any = None, **options: Any) -> Any:
    """The op; a constant mask takes the dtype of q, unless it is bool, and goes to its device."""
    if isinstance(mask, np.ndarray):
        mask = beside(q, mask if mask.dtype == bool else mask.astype(q.dtype))
    return tg.scaled_dot_product_attention(q, k, v, mask=mask, **options)


SMALL = "2x2x3x2 2x1x4x2 2x1x4x1"
BOOL_MASK = np.random.default_rng(1).random((2, 1, 3, 4)) < 0.6
BOOL_MASK[0, 0, 1] = False  # a query that sees nothing
FLOAT_MASK = np.random.default_rng(2).normal(size=(2, 1, 4))
KEY, ROW_KEYS = tg.Key(4), RowKeys((tg.Key(5), tg.Key(6)))
DROPOUT: dict[str, Any] = {"is_causal": True, "dropout_rate": 0.4, "key": KEY}
CALLS: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"is_causal": True},
    "bool": {"mask": BOOL_MASK},
    "bool-causal": {"mask": BOOL_MASK, "is_causal": True},
    "float": {"mask": FLOAT_MASK},
    "scaled": {"scale": 0.3},
    "dropout-key": DROPOUT,
    "dropout-keys": DROPOUT | {"key": ROW_KEYS},
}
for label, options in CALLS.items():
    case("scaled_dot_product_attention", attend, attended, SMALL, label=label, **options)
for label, shape in (("whole", "1x2x3x4"), ("heads", "2x1x4"), ("vector", "4")):
    shapes = f"1x2x3x2 1x1x4x2 1x1x4x1 {shape}"
    case("scaled_dot_product_attention", attend, attended, shapes, label=f"mask-{label}", **DROPOUT)
case(
    "scaled_dot_product_attention",
    lambda q, k, v: tg.scaled_dot_product_attention(q, k, v, is_causal=True),
    lambda q, k, v: attended(q, k, v, is_causal=True),
    "1x4x3x2 1x2x5x2 1x2x5x3, 1x1x4x2 1x1x2x2 1x1x2x1, 1x1x1x1 1x1x1x1 1x1x1x1, "
    "0x1x2x2 0x1x2x2 0x1x2x2, 1x1x2x2 1x1x0x2 1x1x0x2, 1x1x0x2 1x1x2x2 1x1x2x2",
    same="1x2x3x2",
)


def attended_beside(qkv: Array, num_heads: int, **options: Any) -> Array:
    heads = qkv.transpose(0, 2, 1, 3)
    kv_heads = (heads.shape[1] - num_heads) // 2
    q, k, v = np.split(heads, (num_heads, num_heads + kv_heads), axis=1)
    return attended(q, k, v, **options).transpose(0, 2, 1, 3)


SHAPES = "2x3x4x2, 1x2x6x1, 0x3x4x2, 1x0x4x2"  # with 4 heads, two query heads share a key head
for label, options in (("plain", {}), ("causal", {"is_causal": True}), ("scaled", {"is_causal": True, "scale": 0.3})):
    case("self_attention", tg.self_attention, attended_beside, SHAPES, label=label, num_heads=2, **options)
