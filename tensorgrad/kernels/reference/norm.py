"""layer_norm, rms_norm."""

from __future__ import annotations

from tensorgrad.array import Array, module_of
from tensorgrad.dtype import accumulation_dtype
from tensorgrad.kernels.reference.blocks import add_in_order, for_blocks, wide

__all__ = ["layer_norm", "layer_norm_gradient", "rms_norm", "rms_norm_gradient"]


def layer_norm(x_NC: Array, weight_C: Array | None, bias_C: Array | None, eps: float) -> tuple[Array, Array, Array]:
    xp = module_of(x_NC)
    out = xp.empty(x_NC.shape, x_NC.dtype)
    mean_N1 = xp.empty((x_NC.shape[0], 1), accumulation_dtype(x_NC.dtype))
    rstd_N1 = xp.empty_like(mean_N1)

    def work(rows: slice) -> None:
        x = wide(x_NC[rows])
        # Summed in float64: the mean of equal numbers is that number, and their variance 0.
        mean_N1[rows] = x.mean(axis=-1, keepdims=True, dtype=xp.float64)
        t = x - mean_N1[rows]
        variance = xp.einsum("nc,nc->n", t, t)[:, None] / x.shape[-1]
        rstd_N1[rows] = 1 / xp.sqrt(variance + eps)
        t *= rstd_N1[rows]
        if weight_C is not None:
            t *= weight_C
        if bias_C is not None:
            t += bias_C
        out[rows] = t

    for_blocks(x_NC, work)
    return out, mean_N1, rstd_N1


def layer_norm_gradient(
    g_NC: Array, x_NC: Array, weight_C: Array | None, mean_N1: Array, rstd_N1: Array
) -> tuple[Array, Array | None, Array]:
    xp = module_of(x_NC)
    width = x_NC.shape[-1]
    dx = xp.empty(x_NC.shape, x_NC.dtype)

    def work(rows: slice) -> tuple[Array, Array]:
        g = wide(g_NC[rows])
        normal = wide(x_NC[rows]) - mean_N1[rows]
        normal *= rstd_N1[rows]
        dweight, dbias = xp.einsum("nc,nc->c", g, normal), g.sum(axis=0)
        t = g.copy() if weight_C is None else g * weight_C
        # dx = rstd (t - mean(t) - normal mean(t normal))
        projection = xp.einsum("nc,nc->n", t, normal)[:, None] / width
        t -= t.mean(axis=-1, keepdims=True)
        normal *= projection
        t -= normal
        t *= rstd_N1[rows]
        dx[rows] = t
        return dweight, dbias

    parts = for_blocks(x_NC, work)
    dweight_C, dbias_C = (add_in_order([part[i] for part in parts], x_NC, x_NC.dtype) for i in (0, 1))
    return dx, None if weight_C is None else dweight_C, dbias_C


def rms_norm(x_NC: Array, weight_C: Array | None, eps: float) -> tuple[Array, Array]:
    xp = module_of(x_NC)
    out = xp.empty(x_NC.shape, x_NC.dtype)
    rstd_N1 = xp.empty((x_NC.shape[0], 1), accumulation_dtype(x_NC.dtype))

    def work(rows: slice) -> None:
        x = wide(x_NC[rows])
        rstd_N1[rows] = 1 / xp.sqrt(xp.einsum("nc,nc->n", x, x)[:, None] / x.shape[-1] + eps)
        t = x * rstd_N1[rows]
        if weight_C is not None:
            t *= weight_C
        out[rows] = t

    for_blocks(x_NC, work)
    return out, rstd_N1


def rms_norm_gradient(g_NC: Array, x_NC: Array, weight_C: Array | None, rstd_N1: Array) -> tuple[Array, Array | None]:
    xp = module_of(x_NC)
    width = x_NC.shape[-1]
    dx = xp.empty(x_NC.shape, x_NC.dtype)

    def work(rows: slice) -> Array:
        g = wide(g_NC[rows])
        normal = wide(x_NC[rows]) * rstd_N1[rows]
        dweight: Array = xp.einsum("nc,nc->c", g, normal)
        t = g.copy() if weight_C is None else g * weight_C
        # dx = rstd (t - normal mean(t normal))
        normal *= xp.einsum("nc,nc->n", t, normal)[:, None] / width
        t -= normal
        t *= rstd_N1[rows]
        dx[rows] = t
        return dweight

    dweight_C = add_in_order(for_blocks(x_NC, work), x_NC, x_NC.dtype)
    return dx, None if weight_C is None else dweight_C
