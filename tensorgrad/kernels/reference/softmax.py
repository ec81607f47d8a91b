"""softmax, log_softmax, cross_entropy."""

from __future__ import annotations

from tensorgrad.array import Array, module_of
from tensorgrad.dtype import accumulation_dtype
from tensorgrad.kernels.reference.blocks import for_blocks, wide


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


def _shifted(x: Array) -> Array:
    """x minus each row's largest element, so that exp cannot overflow, in a fresh wide array."""
    x = wide(x)
    return x - x.max(axis=-1, keepdims=True)  # type: ignore[no-any-return]


def cross_entropy(logits_NV: Array, targets_N: Array, ignore_index: int) -> tuple[Array, Array]:
    xp = module_of(logits_NV)
    logsumexp = xp.empty(targets_N.shape, accumulation_dtype(logits_NV.dtype))

    def work(rows: slice) -> None:
        x = wide(logits_NV[rows])
        largest = x.max(axis=-1)
        t = x - largest[:, None]
        xp.exp(t, out=t)
        logsumexp[rows] = xp.log(t.sum(axis=-1)) + largest

    for_blocks(logits_NV, work)
    is_counted = targets_N != ignore_index
    safe = xp.where(is_counted, targets_N, 0)
    picked = xp.take_along_axis(logits_NV, safe[:, None], axis=1)[:, 0]
    losses = xp.where(is_counted, logsumexp - picked, 0).astype(logsumexp.dtype)
    return losses, logsumexp


def cross_entropy_gradient(
    g_N: Array, logits_NV: Array, targets_N: Array, logsumexp_N: Array, ignore_index: int
) -> Array:
    xp = module_of(logits_NV)
    is_counted = targets_N != ignore_index
    safe = xp.where(is_counted, targets_N, 0)
    weight_N = g_N.astype(logsumexp_N.dtype, copy=False)
    out = xp.empty(logits_NV.shape, logits_NV.dtype)

    def work(rows: slice) -> None:
        t = wide(logits_NV[rows]) - logsumexp_N[rows, None]
        xp.exp(t, out=t)
        t[xp.arange(t.shape[0]), safe[rows]] -= 1
        xp.multiply(t, weight_N[rows, None], out=t)
        out[rows] = t

    for_blocks(logits_NV, work)
    # Written, not multiplied by 0: the logits of an ignored row may not be finite.
    out[~is_counted] = 0
    return out  # type: ignore[no-any-return]
