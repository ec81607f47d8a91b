"""layer_norm, rms_norm: one pass over memory forward and one backward, each row staying in the cache meanwhile."""

from __future__ import annotations

import functools

import numpy as np

from tensorgrad.array import Array
from tensorgrad.dtype import DType
from tensorgrad.kernels import reference
from tensorgrad.kernels.compiled.jit import are_contiguous_floats, in_parts, summing
from tensorgrad.kernels.compiled.sums import NUM_ROWS, sum_of_parts

__all__ = ["layer_norm", "layer_norm_gradient", "rms_norm", "rms_norm_gradient"]


def _weight(weight_C: Array | None, x_NC: Array) -> Array:
    """The weight, or ones: kernels without a weight would be fused, and so rounded, in another way."""
    return _ones(x_NC.shape[1], x_NC.dtype) if weight_C is None else weight_C


@functools.lru_cache(maxsize=16)
def _ones(width: int, dtype: DType) -> Array:
    return np.ones(width, dtype)


def layer_norm(x_NC: Array, weight_C: Array | None, bias_C: Array | None, eps: float) -> tuple[Array, Array, Array]:
    if not are_contiguous_floats(x_NC, weight_C, bias_C, like=x_NC):
        return reference.layer_norm(x_NC, weight_C, bias_C, eps)
    out = np.empty_like(x_NC)
    mean_N1, rstd_N1 = np.empty((len(x_NC), 1), x_NC.dtype), np.empty((len(x_NC), 1), x_NC.dtype)
    weight = _weight(weight_C, x_NC)
    bias = weight[:0] if bias_C is None else bias_C

    def work(start: int, stop: int) -> None:
        rows = slice(start, stop)
        _layer_norm(x_NC[rows], weight, bias, eps, out[rows], mean_N1[rows], rstd_N1[rows])

    in_parts(len(x_NC), x_NC.size, work)
    return out, mean_N1, rstd_N1


@summing
def _layer_norm(x_NC, weight, bias, eps, out_NC, mean_N1, rstd_N1):
    width = x_NC.shape[1]
    for n in range(x_NC.shape[0]):
        x, out = x_NC[n], out_NC[n]
        # Summed in float64: the mean of equal numbers is that number, and their variance 0.
        total = 0.0
        for i in range(width):
            total += np.float64(x[i])
        mean_N1[n, 0] = total / width
        mean = mean_N1[n, 0]
        squares = x_NC.dtype.type(0)
        for i in range(width):
            squares += (x[i] - mean) * (x[i] - mean)
        rstd_N1[n, 0] = 1 / np.sqrt(np.float64(squares) / width + eps)
        rstd = rstd_N1[n, 0]
        if bias.shape[0]:
            for i in range(width):
                out[i] = (x[i] - mean) * rstd * weight[i] + bias[i]
        else:
            for i in range(width):
                out[i] = (x[i] - mean) * rstd * weight[i]


def layer_norm_gradient(
    g_NC: Array, x_NC: Array, weight_C: Array | None, mean_N1: Array, rstd_N1: Array
) -> tuple[Array, Array | None, Array]:
    if not are_contiguous_floats(g_NC, x_NC, weight_C, mean_N1, rstd_N1, like=x_NC):
        return reference.layer_norm_gradient(g_NC, x_NC, weight_C, mean_N1, rstd_N1)
    dx_NC, width = np.empty_like(x_NC), x_NC.shape[1]
    weight = _weight(weight_C, x_NC)
    parts = np.empty((-(-len(x_NC) // NUM_ROWS), 2 * width), x_NC.dtype)

    def work(start: int, stop: int) -> None:
        rows = slice(start * NUM_ROWS, stop * NUM_ROWS)
        _layer_norm_gradient(
            g_NC[rows], x_NC[rows], weight, mean_N1[rows], rstd_N1[rows], dx_NC[rows], parts[start:stop]
        )

    in_parts(len(parts), x_NC.size, work)
    dweight, dbias = sum_of_parts(parts).reshape(2, width)
    return dx_NC, None if weight_C is None else dweight, dbias


@summing
def _layer_norm_gradient(g_NC, x_NC, weight, mean_N1, rstd_N1, dx_NC, parts):
    width = x_NC.shape[1]
    for part in range(parts.shape[0]):
        dweight, dbias = parts[part, :width], parts[part, width:]
        parts[part] = 0
        for n in range(part * NUM_ROWS, min((part + 1) * NUM_ROWS, x_NC.shape[0])):
            g, x, dx, mean, rstd = g_NC[n], x_NC[n], dx_NC[n], mean_N1[n, 0], rstd_N1[n, 0]
            # With n = (x - mean) rstd and t = g weight:  dx = rstd (t - mean(t) - n mean(t n))
            sum_t = sum_tn = x_NC.dtype.type(0)
            for i in range(width):
                normal, t = (x[i] - mean) * rstd, g[i] * weight[i]
                sum_t += t
                sum_tn += t * normal
            for i in range(width):
                dbias[i] += g[i]
                dweight[i] += g[i] * ((x[i] - mean) * rstd)
            mean_t, mean_tn = sum_t / x.dtype.type(width), sum_tn / x.dtype.type(width)
            for i in range(width):
                normal = (x[i] - mean) * rstd
                dx[i] = rstd * (g[i] * weight[i] - mean_t - normal * mean_tn)


def rms_norm(x_NC: Array, weight_C: Array | None, eps: float) -> tuple[Array, Array]:
    if not are_contiguous_floats(x_NC, weight_C, like=x_NC):
        return reference.rms_norm(x_NC, weight_C, eps)
    out = np.empty_like(x_NC)
    rstd_N1 = np.empty((len(x_NC), 1), x_NC.dtype)
    weight = _weight(weight_C, x_NC)

    def work(start: int, stop: int) -> None:
        _rms_norm(x_NC[start:stop], weight, eps, out[start:stop], rstd_N1[start:stop])

    in_parts(len(x_NC), x_NC.size, work)
    return out, rstd_N1


@summing
def _rms_norm(x_NC, weight, eps, out_NC, rstd_N1):
    width = x_NC.shape[1]
    for n in range(x_NC.shape[0]):
        x, out = x_NC[n], out_NC[n]
        squares = x_NC.dtype.type(0)
        for i in range(width):
            squares += x[i] * x[i]
        rstd_N1[n, 0] = 1 / np.sqrt(np.float64(squares) / width + eps)
        rstd = rstd_N1[n, 0]
        for i in range(width):
            out[i] = x[i] * rstd * weight[i]


def rms_norm_gradient(g_NC: Array, x_NC: Array, weight_C: Array | None, rstd_N1: Array) -> tuple[Array, Array | None]:
    if not are_contiguous_floats(g_NC, x_NC, weight_C, rstd_N1, like=x_NC):
        return reference.rms_norm_gradient(g_NC, x_NC, weight_C, rstd_N1)
    dx_NC = np.empty_like(x_NC)
    weight = _weight(weight_C, x_NC)
    parts = np.empty((-(-len(x_NC) // NUM_ROWS), x_NC.shape[1]), x_NC.dtype)

    def work(start: int, stop: int) -> None:
        rows = slice(start * NUM_ROWS, stop * NUM_ROWS)
        _rms_norm_gradient(g_NC[rows], x_NC[rows], weight, rstd_N1[rows], dx_NC[rows], parts[start:stop])

    in_parts(len(parts), x_NC.size, work)
    dweight = sum_of_parts(parts)
    return dx_NC, None if weight_C is None else dweight


@summing
def _rms_norm_gradient(g_NC, x_NC, weight, rstd_N1, dx_NC, parts):
    width = x_NC.shape[1]
    for part in range(parts.shape[0]):
        dweight = parts[part]
        parts[part] = 0
        for n in range(part * NUM_ROWS, min((part + 1) * NUM_ROWS, x_NC.shape[0])):
            g, x, dx, rstd = g_NC[n], x_NC[n], dx_NC[n], rstd_N1[n, 0]
            # With n = x rstd and t = g weight:  dx = rstd (t - n mean(t n))
            sum_tn = x_NC.dtype.type(0)
            for i in range(width):
                sum_tn += g[i] * weight[i] * (x[i] * rstd)
            for i in range(width):
                dweight[i] += g[i] * (x[i] * rstd)
            mean_tn = sum_tn / x.dtype.type(width)
            for i in range(width):
                dx[i] = rstd * (g[i] * weight[i] - x[i] * rstd * mean_tn)
