"""Losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.array import Array
from tensorgrad.verify.case import Table

__all__ = ["table"]

table = Table()
case = table.case

REDUCTIONS: tuple[tuple[str, Callable[[Any, Any], Any]], ...] = (
    ("none", lambda losses, weights: losses),
    ("sum", lambda losses, weights: losses.sum()),
    ("mean", lambda losses, weights: losses.sum() / weights.sum()),
)

# --- of classes ----------------------------------------------------------------------------------

TARGETS = np.array([[1, 0, -100], [2, 2, 1]])
COUNTED = TARGETS >= 0
ONE_HOT = np.eye(4)[TARGETS % 4]
WEIGHT, EVEN = np.array([0.5, 2.0, 1.0, 0.3]), np.ones(4)


def log_soft(x: Array) -> Any:
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def crossed(x: Array, q: Array, weight: Any = 1.0, smoothing: float = 0.0, z: float = 0.0) -> Any:
    """Each row's cross-entropy with the probabilities q, the definition spelled out."""
    q = (1 - smoothing) * q + smoothing / x.shape[-1]
    return -(q * weight * log_soft(x)).sum(axis=-1) + z * np.log(np.exp(x).sum(axis=-1)) ** 2


for how, combine in REDUCTIONS:
    for label, smoothing, z in (("plain", 0.0, 0.0), ("smooth", 0.2, 0.0), ("z", 0.0, 0.1), ("both", 0.3, 0.05)):
        case(
            "cross_entropy",
            lambda x, r=how, s=smoothing, z=z: tg.cross_entropy(x, TARGETS, reduction=r, label_smoothing=s, z_loss=z),
            lambda x, c=combine, s=smoothing, z=z: np.asarray(
                c(crossed(x, ONE_HOT, smoothing=s, z=z) * COUNTED, COUNTED)
            ),
            ((2, 3, 4),),
            label=f"{how}-{label}-",
        )
        case(
            "cross_entropy",
            lambda x, r=how, s=smoothing, z=z: tg.cross_entropy(
                x, TARGETS, weight=WEIGHT.astype(x.dtype), reduction=r, label_smoothing=s, z_loss=z
            ),
            lambda x, c=combine, s=smoothing, z=z: np.asarray(
                c(crossed(x, ONE_HOT, WEIGHT, s, z) * COUNTED, WEIGHT[TARGETS % 4] * COUNTED)
            ),
            ((2, 3, 4),),
            label=f"{how}-{label}-weight-",
        )
        case(
            "cross_entropy",
            lambda x, q, r=how, s=smoothing, z=z: tg.cross_entropy(
                x, q, axis=1, weight=WEIGHT.astype(x.dtype), reduction=r, label_smoothing=s, z_loss=z
            ),
            lambda x, q, c=combine, s=smoothing, z=z: np.asarray(
                c(crossed(np.moveaxis(x, 1, -1), np.moveaxis(q, 1, -1), WEIGHT, s, z), np.ones(6))
            ),
            ((2, 4, 3), (2, 4, 3)),
            label=f"{how}-{label}-probabilities-",
            domain="unit",
            same=(2, 4, 3),
        )
    case(
        "cross_entropy",
        lambda x, r=how: tg.cross_entropy(x, TARGETS, axis=1, reduction=r),
        lambda x, c=combine: np.asarray(c(crossed(np.moveaxis(x, 1, -1), ONE_HOT) * COUNTED, COUNTED)),
        ((2, 4, 3),),
        label=f"{how}-axis-",
    )
    for weight in (None, WEIGHT):
        case(
            "nll_loss",
            lambda x, r=how, w=weight: tg.nll_loss(
                x, TARGETS, axis=1, weight=None if w is None else w.astype(x.dtype), reduction=r
            ),
            lambda x, c=combine, w=EVEN if weight is None else weight: np.asarray(
                c(-(np.moveaxis(x, 1, -1) * ONE_HOT * w).sum(axis=-1) * COUNTED, w[TARGETS % 4] * COUNTED)
            ),
            ((2, 4, 3),),
            label=f"{how}-{'plain' if weight is None else 'weight'}-",
        )
    case(
        "cross_entropy",
        lambda x, r=how: tg.cross_entropy(x, np.array(1), reduction=r),
        lambda x: -log_soft(x)[1],
        ((3,),),
        label=f"{how}-row-",
    )
    case(
        "nll_loss",
        lambda x, r=how: tg.nll_loss(x, np.array(1), reduction=r, ignore_index=2),
        lambda x: -x[1],
        ((3,),),
        label=f"{how}-row-",
    )
case(
    "cross_entropy",
    lambda x: tg.cross_entropy(x, np.zeros((2, 1), np.uint8), ignore_index=7),
    lambda x: np.zeros(()),
    ((2, 1, 1),),
)
case(
    "cross_entropy", lambda x: tg.cross_entropy(x, np.zeros(0, int), reduction="sum"), lambda x: np.zeros(()), ((0, 3),)
)
