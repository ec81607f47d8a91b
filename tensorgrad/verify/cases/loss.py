"""Losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.array import Array
from tensorgrad.verify.case import Table, beside

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
        if label in ("smooth", "z") and how != "none":
            continue
        case(
            "cross_entropy",
            lambda x, r=how, s=smoothing, z=z: tg.cross_entropy(
                x, beside(x, TARGETS), reduction=r, label_smoothing=s, z_loss=z
            ),
            lambda x, c=combine, s=smoothing, z=z: np.asarray(
                c(crossed(x, ONE_HOT, smoothing=s, z=z) * COUNTED, COUNTED)
            ),
            ((2, 3, 4),),
            label=f"{how}-{label}-",
        )
        case(
            "cross_entropy",
            lambda x, r=how, s=smoothing, z=z: tg.cross_entropy(
                x,
                beside(x, TARGETS),
                weight=beside(x, WEIGHT.astype(x.dtype)),
                reduction=r,
                label_smoothing=s,
                z_loss=z,
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
                x, q, axis=1, weight=beside(x, WEIGHT.astype(x.dtype)), reduction=r, label_smoothing=s, z_loss=z
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
        lambda x, r=how: tg.cross_entropy(x, beside(x, TARGETS), axis=1, reduction=r),
        lambda x, c=combine: np.asarray(c(crossed(np.moveaxis(x, 1, -1), ONE_HOT) * COUNTED, COUNTED)),
        ((2, 4, 3),),
        label=f"{how}-axis-",
    )
    for label, smoothing, z in (("plain", 0.0, 0.0), ("both", 0.3, 0.05)):
        case(
            "linear_cross_entropy",
            lambda x, w, r=how, s=smoothing, z=z: tg.linear_cross_entropy(
                x, w, beside(x, TARGETS), reduction=r, label_smoothing=s, z_loss=z
            ),
            lambda x, w, c=combine, s=smoothing, z=z: np.asarray(
                c(crossed(x @ w.T, ONE_HOT, smoothing=s, z=z) * COUNTED, COUNTED)
            ),
            ((2, 3, 2), (4, 2)),
            label=f"{how}-{label}-",
        )
    case(
        "linear_cross_entropy",
        lambda x, r=how: tg.linear_cross_entropy(x, x, beside(x, np.array([1, -100, 0])), reduction=r),
        lambda x, c=combine: np.asarray(
            c(crossed(x @ x.T, np.eye(3)[[1, 0, 0]]) * np.array([1, 0, 1]), np.array([1, 0, 1]))
        ),
        ((3, 2),),
        label=f"{how}-of-one-",
    )
    for weight in (None, WEIGHT):
        case(
            "nll_loss",
            lambda x, r=how, w=weight: tg.nll_loss(
                x, beside(x, TARGETS), axis=1, weight=None if w is None else beside(x, w.astype(x.dtype)), reduction=r
            ),
            lambda x, c=combine, w=EVEN if weight is None else weight: np.asarray(
                c(-(np.moveaxis(x, 1, -1) * ONE_HOT * w).sum(axis=-1) * COUNTED, w[TARGETS % 4] * COUNTED)
            ),
            ((2, 4, 3),),
            label=f"{how}-{'plain' if weight is None else 'weight'}-",
        )
    case(
        "cross_entropy",
        lambda x, r=how: tg.cross_entropy(x, beside(x, 1), reduction=r),
        lambda x: -log_soft(x)[1],
        ((3,),),
        label=f"{how}-row-",
    )
    case(
        "nll_loss",
        lambda x, r=how: tg.nll_loss(x, beside(x, 1), reduction=r, ignore_index=2),
        lambda x: -x[1],
        ((3,),),
        label=f"{how}-row-",
    )
case(
    "cross_entropy",
    lambda x: tg.cross_entropy(x, beside(x, np.zeros((2, 1), np.uint8)), ignore_index=7),
    lambda x: np.zeros(()),
    ((2, 1, 1),),
)
case(
    "cross_entropy",
    lambda x: tg.cross_entropy(x, beside(x, np.zeros(0, int)), reduction="sum"),
    lambda x: np.zeros(()),
    ((0, 3),),
)

# --- of numbers and probabilities ----------------------------------------------------------------

PAIRS = (((3, 4), (3, 4)), ((), ()), ((0, 3), (0, 3)), ((2, 1, 3), (2, 1, 3)))
POSITION_WEIGHT = np.array([0.5, 2.0, 1.0, 0.3])


def huber(x: Array, y: Array, delta: float) -> Any:
    d = np.abs(x - y)
    return np.where(d < delta, d * d / 2, delta * (d - delta / 2))


for how, combine in REDUCTIONS:
    # The mean of nothing is nan, which no difference quotient can be taken of.
    pairs = tuple(pair for pair in PAIRS if how != "mean" or 0 not in pair[0])

    def loss(
        op: str,
        expected: Callable[..., Any],
        domain: str | tuple[str, ...] = "any",
        label: str = "",
        how: str = how,
        combine: Callable[[Any, Any], Any] = combine,
        pairs: Any = pairs,
        same: Any = (3, 4),
        **options: Any,
    ) -> None:
        case(
            op,
            lambda x, y: getattr(tg, op)(x, y, reduction=how, **options),
            lambda x, y: np.asarray(combine(expected(x, y), np.ones(x.shape))),
            *pairs,
            label=f"{how}-{label}",
            domain=domain,
            same=same,
        )

    loss("mse_loss", lambda x, y: x * x - 2 * x * y + y * y)
    loss("l1_loss", lambda x, y: np.where(x > y, x - y, y - x), "distinct", same=None)
    # All differences beyond the threshold, or all within: at the threshold there is no second derivative.
    for size in (0.2, 3.0):
        for domain in (("above one", "unit"), ("unit", "above one"))[: 2 if how == "none" else 1]:
            label = f"{size}-{domain[0]}-"
            loss("huber_loss", lambda x, y, d=size: huber(x, y, d), domain, label, delta=size, same=None)
            loss("smooth_l1_loss", lambda x, y, d=size: huber(x, y, d) / d, domain, label, beta=size, same=None)
    loss("smooth_l1_loss", lambda x, y: np.abs(x - y), "distinct", "0-", beta=0, same=None)
    loss("kl_div", lambda x, y: y * np.log(y / np.exp(x)), ("any", "unit"), same=None)
    loss("kl_div", lambda x, y: np.exp(y) * (y - x), label="log-", log_target=True)
    loss("binary_cross_entropy", lambda x, y: -np.log(x**y * (1 - x) ** (1 - y)), "unit")
    loss(
        "binary_cross_entropy_with_logits",
        lambda x, y: -np.log(np.exp(x * y) / (1 + np.exp(x))),
        "unit",
    )
    for op in ("binary_cross_entropy", "binary_cross_entropy_with_logits"):

        def probability(x: Array, op: str = op) -> Any:
            return x if op == "binary_cross_entropy" else 1 / (1 + np.exp(-x))

        case(
            op,
            lambda x, y, w, op=op, r=how: getattr(tg, op)(x, y, weight=w, reduction=r),
            lambda x, y, w, p=probability, c=combine: np.asarray(
                c(-w * np.log(p(x) ** y * (1 - p(x)) ** (1 - y)), np.ones(x.shape))
            ),
            ((3, 4), (3, 4), (4,)),
            ((3, 4), (3, 4), (3, 1)),
            ((3, 4), (3, 4), ()),
            ((), (), ()),
            label=f"{how}-weight-",
            domain="unit",
            same=(3, 4),
        )
    case(
        "binary_cross_entropy_with_logits",
        lambda x, y, w, r=how: tg.binary_cross_entropy_with_logits(x, y, pos_weight=w, reduction=r),
        lambda x, y, w, c=combine: np.asarray(
            c(w * y * np.log(1 + np.exp(-x)) + (1 - y) * np.log(1 + np.exp(x)), np.ones(x.shape))
        ),
        ((3, 4), (3, 4), (4,)),
        ((3, 4), (3, 4), (3, 1)),
        label=f"{how}-positive-",
        domain=("any", "unit", "unit"),
    )
case(
    "kl_div",
    lambda x, y: tg.kl_div(x, y, reduction="batchmean"),
    lambda x, y: np.asarray((y * (np.log(y) - x)).sum() / (len(x) if x.ndim else 1)),
    ((3, 4), (3, 4)),
    ((), ()),
    label="batchmean-",
    domain=("any", "unit"),
)
