"""softmax, log_softmax, cross_entropy."""

from __future__ import annotations

from tensorgrad.array import Array, module_of
from tensorgrad.dtype import accumulation_dtype
from tensorgrad.kernels.bfloat16 import BFLOAT16, rounded_to_bfloat16
from tensorgrad.kernels.reference.blocks import for_blocks, wide

__all__ = [
    "cross_entropy",
    "cross_entropy_gradient",
    "log_softmax",
    "log_softmax_gradient",
    "softmax",
    "softmax_gradient",
]


def softmax(x_NC: Array) -> Array:
    xp = module_of(x_NC)
    out = xp.empty(x_NC.shape, x_NC.dtype)

    def work(rows: slice) -> None:
        t = _shifted(x_NC[rows])
        xp.exp(t, out=t)
        t /= t.sum(axis=-1, keepdims=True)
        out[rows] = t

    for_blocks(x_NC, work)
    return out  # type: ignore[no-any-return]


def softmax_gradient(g_NC: Array, y_NC: Array) -> Array:
    xp = module_of(g_NC)
    out = xp.empty(g_NC.shape, g_NC.dtype)

    def work(rows: slice) -> None:
        g, y = wide(g_NC[rows]), wide(y_NC[rows])
        t = g - xp.einsum("nc,nc->n", g, y)[:, None]
        t *= y
        out[rows] = t

    for_blocks(g_NC, work)
    return out  # type: ignore[no-any-return]


def log_softmax(x_NC: Array) -> Array:
    xp = module_of(x_NC)
    out = xp.empty(x_NC.shape, x_NC.dtype)

    def work(rows: slice) -> None:
        t = _shifted(x_NC[rows])
        t -= xp.log(xp.exp(t).sum(axis=-1, keepdims=True))
        out[rows] = t

    for_blocks(x_NC, work)
    return out  # type: ignore[no-any-return]


def log_softmax_gradient(g_NC: Array, y_NC: Array) -> Array:
    xp = module_of(g_NC)
    out = xp.empty(g_NC.shape, g_NC.dtype)

    def work(rows: slice) -> None:
        g = wide(g_NC[rows])
        t = xp.exp(wide(y_NC[rows]))
        t *= g.sum(axis=-1, keepdims=True)
        out[rows] = g - t

    for_blocks(g_NC, work)
    return out  # type: ignore[no-any-return]


def _shifted(x_NC: Array, largest_N: Array | None = None) -> Array:
    """x minus each row's largest element, so that exp cannot overflow, in a new wide array; fills `largest_N`."""
    x = wide(x_NC)
    largest = x.max(axis=-1, keepdims=True)
    if largest_N is not None:
        largest_N[...] = largest[:, 0]
    return x - largest  # type: ignore[no-any-return]


def cross_entropy(
    logits_NV: Array, targets_N: Array, spread_V: Array | None
) -> tuple[Array, Array | None, Array, Array]:
    xp = module_of(logits_NV)
    losses, largest, total = (xp.empty(targets_N.shape, accumulation_dtype(logits_NV.dtype)) for _ in range(3))
    spread_losses = None if spread_V is None else xp.empty_like(losses)

    def work(rows: slice) -> None:
        t = _shifted(logits_NV[rows], largest[rows])
        # Subtract before the logarithm: large logits of one size cancel without rounding.
        losses[rows] = -t[xp.arange(t.shape[0]), targets_N[rows]]
        if spread_losses is not None:
            spread_losses[rows] = -xp.einsum("nv,v->n", t, spread_V)
        xp.exp(t, out=t)
        total[rows] = t.sum(axis=-1)

    for_blocks(logits_NV, work)
    log_total = xp.log(total)
    losses += log_total
    if spread_losses is not None and spread_V is not None:
        spread_losses += log_total * spread_V.sum()
    for a, without_target in ((losses, 0), (spread_losses, 0), (largest, 0), (total, 1)):
        if a is not None:
            a[targets_N < 0] = without_target
    return losses, spread_losses, largest, total


def cross_entropy_gradient(
    softmax_N: Array,
    target_N: Array,
    spread_N: Array,
    logits_NV: Array,
    targets_N: Array,
    spread_V: Array | None,
    largest_N: Array,
    total_N: Array,
    *,
    out_NV: Array | None = None,
    is_rounded: bool = False,
) -> Array:
    xp = module_of(logits_NV)
    out: Array = xp.empty(logits_NV.shape, BFLOAT16 if is_rounded else logits_NV.dtype) if out_NV is None else out_NV
    if is_rounded:
        out = out.view(BFLOAT16)[:, : logits_NV.shape[1]]

    def work(rows: slice) -> None:
        t = wide(logits_NV[rows]) - largest_N[rows, None]
        xp.exp(t, out=t)
        t *= (softmax_N[rows] / total_N[rows])[:, None]
        t[xp.arange(t.shape[0]), targets_N[rows]] -= target_N[rows]
        if spread_V is not None:
            t -= spread_N[rows, None] * spread_V
        t[targets_N[rows] < 0] = 0
        out[rows] = rounded_to_bfloat16(t) if is_rounded else t

    for_blocks(logits_NV, work)
    return out
