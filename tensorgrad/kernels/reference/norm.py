"""layer_norm, rms_norm."""

from __future__ import annotations

from typing import Any

from tensorgrad.array import Array, module_of
from tensorgrad.dtype import accumulation_dtype
from tensorgrad.kernels.reference.blocks import add_in_order, for_blocks, wide

__all__ = ["layer_norm", "layer_norm_gradient", "rms_norm", "rms_norm_gradient"]


def layer_norm(x_NC: Array, weight_C: Array | None, bias_C: Array | None, eps: float) -> tuple[Array, Array, Array]:
    mean_N1 = module_of(x_NC).empty((x_NC.shape[0], 1), accumulation_dtype(x_NC.dtype))
    out_NC, rstd_N1 = _normalised(x_NC, weight_C, bias_C, eps, mean_N1)
    return out_NC, mean_N1, rstd_N1


def layer_norm_gradient(
    g_NC: Array, x_NC: Array, weight_C: Array | None, mean_N1: Array, rstd_N1: Array
) -> tuple[Array, Array | None, Array]:
    return _gradient(g_NC, x_NC, weight_C, mean_N1, rstd_N1)


def rms_norm(x_NC: Array, weight_C: Array | None, eps: float) -> tuple[Array, Array]:
    return _normalised(x_NC, weight_C, None, eps, None)


def rms_norm_gradient(g_NC: Array, x_NC: Array, weight_C: Array | None, rstd_N1: Array) -> tuple[Array, Array | None]:
    return _gradient(g_NC, x_NC, weight_C, None, rstd_N1)[:2]


def _normalised(
    x_NC: Array, weight_C: Array | None, bias_C: Array | None, eps: float, mean_N1: Array | None
) -> tuple[Array, Array]:
    """The output and rstd; fills `mean_N1`, without which nothing is subtracted."""
    xp = module_of(x_NC)
    out = xp.empty(x_NC.shape, x_NC.dtype)
    rstd_N1 = xp.empty((x_NC.shape[0], 1), accumulation_dtype(x_NC.dtype))

    def work(rows: slice) -> None:
        t = wide(x_NC[rows])
        if mean_N1 is not None:
            # Summed in float64: the mean of equal numbers is that number, and their variance 0.
            mean_N1[rows] = t.mean(axis=-1, keepdims=True, dtype=xp.float64)
            t = t - mean_N1[rows]
        rstd_N1[rows] = 1 / xp.sqrt(xp.einsum("nc,nc->n", t, t)[:, None] / t.shape[-1] + eps)
        t = t * rstd_N1[rows]
        if weight_C is not None:
            t *= weight_C
        if bias_C is not None:
            t += bias_C
        out[rows] = t

    for_blocks(x_NC, work)
    return out, rstd_N1


def _gradient(
    g_NC: Array, x_NC: Array, weight_C: Array | None, mean_N1: Array | None, rstd_N1: Array
) -> tuple[Array, Array | None, Any]:
    """dx = rstd (t - mean(t) - normal mean(t normal)), t = g weight; dweight; dbias. Without means, no mean(t)."""
    xp = module_of(x_NC)
    dx = xp.empty(x_NC.shape, x_NC.dtype)

    def work(rows: slice) -> tuple[Array | None, Array | None]:
        g, x = wide(g_NC[rows]), wide(x_NC[rows])
        normal = (x if mean_N1 is None else x - mean_N1[rows]) * rstd_N1[rows]
        dweight = None if weight_C is None else xp.einsum("nc,nc->c", g, normal)
        dbias = None if mean_N1 is None else g.sum(axis=0)
        t = g.copy() if weight_C is None else g * weight_C
        projection = xp.einsum("nc,nc->n", t, normal)[:, None] / x.shape[-1]
        if mean_N1 is not None:
            t -= t.mean(axis=-1, keepdims=True)
        normal *= projection
        t -= normal
        t *= rstd_N1[rows]
        dx[rows] = t
        return dweight, dbias

    parts: list[Any] = for_blocks(x_NC, work)
    dweight_C = None if weight_C is None else add_in_order([part[0] for part in parts], x_NC, x_NC.dtype)
    return dx, dweight_C, None if mean_N1 is None else add_in_order([part[1] for part in parts], x_NC, x_NC.dtype)
