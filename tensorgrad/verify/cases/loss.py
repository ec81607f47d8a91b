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


def reduced(losses: Array, reduction: str, weights: Any = None) -> Any:
    """The losses, their sum, or their weighted mean."""
    if reduction == "none":
        return losses
    return np.asarray(losses.sum() / (1 if reduction == "sum" else losses.size if weights is None else weights.sum()))


# --- classes -------------------------------------------------------------------------------------

TARGETS = np.array([[1, 0, -100], [2, 2, 1]])
COUNTED = TARGETS >= 0
ONE_HOT = np.eye(4)[TARGETS % 4]
WEIGHT, EVEN = np.array([0.5, 2.0, 1.0, 0.3]), np.ones(4)


def log_soft(x: Array) -> Any:
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def crossed(x: Array, q: Array, weight: Any = 1.0, label_smoothing: float = 0.0, z_loss: float = 0.0) -> Any:
    """Each row's cross-entropy with the probabilities q, the definition spelled out."""
    q = (1 - label_smoothing) * q + label_smoothing / x.shape[-1]
    return -(q * weight * log_soft(x)).sum(axis=-1) + z_loss * np.log(np.exp(x).sum(axis=-1)) ** 2


def last(x: Array) -> Array:
    return np.moveaxis(x, 1, -1)


for how in ("none", "sum", "mean"):
    for label, smoothing, z in (("plain", 0.0, 0.0), ("smooth", 0.2, 0.0), ("z", 0.0, 0.1), ("both", 0.3, 0.05)):
        if label in ("smooth", "z") and how != "none":
            continue
        options: dict[str, Any] = {"reduction": how, "label_smoothing": smoothing, "z_loss": z}
        case(
            "cross_entropy",
            lambda x, **o: tg.cross_entropy(x, beside(x, TARGETS), **o),
            lambda x, reduction, **o: reduced(crossed(x, ONE_HOT, **o) * COUNTED, reduction, COUNTED),
            "2x3x4",
            label=f"{how}-{label}",
            **options,
        )
        case(
            "cross_entropy",
            lambda x, **o: tg.cross_entropy(x, beside(x, TARGETS), weight=beside(x, WEIGHT.astype(x.dtype)), **o),
            lambda x, reduction, **o: reduced(
                crossed(x, ONE_HOT, WEIGHT, **o) * COUNTED, reduction, WEIGHT[TARGETS % 4] * COUNTED
            ),
            "2x3x4",
            label=f"{how}-{label}-weight",
            **options,
        )
        case(
            "cross_entropy",
            lambda x, q, **o: tg.cross_entropy(x, q, axis=1, weight=beside(x, WEIGHT.astype(x.dtype)), **o),
            lambda x, q, reduction, **o: reduced(crossed(last(x), last(q), WEIGHT, **o), reduction),
            "2x4x3 2x4x3",
            label=f"{how}-{label}-probabilities",
            domain="unit",
            same="2x4x3",
            **options,
        )
        if label in ("plain", "both"):
            case(
                "linear_cross_entropy",
                lambda x, w, **o: tg.linear_cross_entropy(x, w, beside(x, TARGETS), **o),
                lambda x, w, reduction, **o: reduced(crossed(x @ w.T, ONE_HOT, **o) * COUNTED, reduction, COUNTED),
                "2x3x2 4x2",
                label=f"{how}-{label}",
                **options,
            )
    case(
        "cross_entropy",
        lambda x, reduction: tg.cross_entropy(x, beside(x, TARGETS), axis=1, reduction=reduction),
        lambda x, reduction: reduced(crossed(last(x), ONE_HOT) * COUNTED, reduction, COUNTED),
        "2x4x3",
        label=f"{how}-axis",
        reduction=how,
    )
    case(
        "linear_cross_entropy",
        lambda x, reduction: tg.linear_cross_entropy(x, x, beside(x, np.array([1, -100, 0])), reduction=reduction),
        lambda x, reduction: reduced(
            crossed(x @ x.T, np.eye(3)[[1, 0, 0]]) * np.array([1, 0, 1]), reduction, np.array([1, 0, 1])
        ),
        "3x2",
        label=f"{how}-of-one",
        reduction=how,
    )
    for label, weight in (("plain", None), ("weight", WEIGHT)):
        case(
            "nll_loss",
            lambda x, r=how, w=weight: tg.nll_loss(
                x, beside(x, TARGETS), axis=1, weight=None if w is None else beside(x, w.astype(x.dtype)), reduction=r
            ),
            lambda x, r=how, w=EVEN if weight is None else weight: reduced(
                -(last(x) * ONE_HOT * w).sum(axis=-1) * COUNTED, r, w[TARGETS % 4] * COUNTED
            ),
            "2x4x3",
            label=f"{how}-{label}",
        )
    row = f"{how}-row"
    case(
        "cross_entropy",
        lambda x, r=how: tg.cross_entropy(x, beside(x, 1), reduction=r),
        lambda x: -log_soft(x)[1],
        "3",
        label=row,
    )
    case(
        "nll_loss",
        lambda x, r=how: tg.nll_loss(x, beside(x, 1), reduction=r, ignore_index=2),
        lambda x: -x[1],
        "3",
        label=row,
    )
case(
    "cross_entropy",
    lambda x: tg.cross_entropy(x, beside(x, np.zeros((2, 1), np.uint8)), ignore_index=7),
    lambda x: np.zeros(()),
    "2x1x1",
)
case(
    "cross_entropy",
    lambda x: tg.cross_entropy(x, beside(x, np.zeros(0, int)), reduction="sum"),
    lambda x: np.zeros(()),
    "0x3",
)

# --- numbers and probabilities -------------------------------------------------------------------

PAIRS = "3x4 3x4, scalar scalar, 2x1x3 2x1x3"


def huber(x: Array, y: Array, delta: float) -> Any:
    d = np.abs(x - y)
    return np.where(d < delta, d * d / 2, delta * (d - delta / 2))


def of_losses(expected: Callable[..., Any]) -> Callable[..., Any]:
    """The expected result of an op, from the loss of each element. Ignores the op's other options."""
    return lambda *xs, reduction, **_: reduced(expected(*xs), reduction)


for how in ("none", "sum", "mean"):

    def loss(
        op: str,
        expected: Callable[..., Any],
        domain: str | tuple[str, ...] = "any",
        label: str = "",
        same: str | None = "3x4",
        how: str = how,
        **options: Any,
    ) -> None:
        # The mean of nothing is nan, and a nan has no differences.
        shapes = PAIRS if how == "mean" else f"{PAIRS}, 0x3 0x3"
        f, label = getattr(tg, op), how + label
        case(op, f, of_losses(expected), shapes, label=label, domain=domain, same=same, reduction=how, **options)

    loss("mse_loss", lambda x, y: x * x - 2 * x * y + y * y)
    loss("l1_loss", lambda x, y: np.where(x > y, x - y, y - x), "distinct", same=None)
    # All distances are beyond the threshold, or all within: at the threshold there is no second derivative.
    for size in (0.2, 3.0):
        for domain in (("above one", "unit"), ("unit", "above one"))[: 2 if how == "none" else 1]:
            label = f"-{size}-{domain[0]}"
            loss("huber_loss", lambda x, y, d=size: huber(x, y, d), domain, label, delta=size, same=None)
            loss("smooth_l1_loss", lambda x, y, d=size: huber(x, y, d) / d, domain, label, beta=size, same=None)
    loss("smooth_l1_loss", lambda x, y: np.abs(x - y), "distinct", "-0", beta=0, same=None)
    loss("kl_div", lambda x, y: y * np.log(y / np.exp(x)), ("any", "unit"), same=None)
    loss("kl_div", lambda x, y: np.exp(y) * (y - x), label="-log", log_target=True)
    loss("binary_cross_entropy", lambda x, y: -np.log(x**y * (1 - x) ** (1 - y)), "unit")
    loss("binary_cross_entropy_with_logits", lambda x, y: -np.log(np.exp(x * y) / (1 + np.exp(x))), "unit")
    for op in ("binary_cross_entropy", "binary_cross_entropy_with_logits"):

        def weighted(x: Array, y: Array, w: Array, op: str = op) -> Any:
            p = x if op == "binary_cross_entropy" else 1 / (1 + np.exp(-x))
            return -w * np.log(p**y * (1 - p) ** (1 - y))

        case(
            op,
            lambda x, y, w, reduction, op=op: getattr(tg, op)(x, y, weight=w, reduction=reduction),
            of_losses(weighted),
            "3x4 3x4 4, 3x4 3x4 3x1, 3x4 3x4 scalar, scalar scalar scalar",
            label=f"{how}-weight",
            domain="unit",
            same="3x4",
            reduction=how,
        )
    case(
        "binary_cross_entropy_with_logits",
        lambda x, y, w, r=how: tg.binary_cross_entropy_with_logits(x, y, pos_weight=w, reduction=r),
        lambda x, y, w, r=how: reduced(w * y * np.log(1 + np.exp(-x)) + (1 - y) * np.log(1 + np.exp(x)), r),
        "3x4 3x4 4, 3x4 3x4 3x1",
        label=f"{how}-positive",
        domain=("any", "unit", "unit"),
    )
case(
    "kl_div",
    lambda x, y: tg.kl_div(x, y, reduction="batchmean"),
    lambda x, y: np.asarray((y * (np.log(y) - x)).sum() / (len(x) if x.ndim else 1)),
    "3x4 3x4, scalar scalar",
    label="batchmean",
    domain=("any", "unit"),
)
