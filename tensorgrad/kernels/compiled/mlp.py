"""The part of an MLP between its products, in one pass: bias, activation, both gradients, rounding to bfloat16."""

from __future__ import annotations

import numba
import numpy as np
from numba.extending import overload

from tensorgrad.array import Array
from tensorgrad.kernels import reference
from tensorgrad.kernels.bfloat16 import BFLOAT16
from tensorgrad.kernels.compiled.activation import (
    gelu_and_slope,
    gelu_of,
    gelu_tanh_and_slope,
    gelu_tanh_of,
    silu_and_slope,
)
from tensorgrad.kernels.compiled.elementary import put, times_sigmoid
from tensorgrad.kernels.compiled.jit import are_contiguous_floats, compiled, in_parts, inlined
from tensorgrad.kernels.compiled.sums import NUM_ROWS, sum_of_parts

__all__ = ["mlp_activation", "mlp_activation_gradient"]

_ZERO = np.float32(0.0)
_NONE = np.empty(0, np.float32)


def mlp_activation(x_NG: Array, bias_G: Array | None, activation: str, is_rounded: bool) -> Array:
    if not are_contiguous_floats(x_NG, bias_G):
        return reference.mlp_activation(x_NG, bias_G, activation, is_rounded)
    width = x_NG.shape[1] // 2 if activation == "swiglu" else x_NG.shape[1]
    y_NF = np.empty((len(x_NG), width), np.uint16 if is_rounded else np.float32)
    kernel = _FORWARD[activation]
    bias = _NONE if bias_G is None else bias_G
    in_parts(len(x_NG), x_NG.size, lambda start, stop: kernel(x_NG[start:stop], bias, y_NF[start:stop]))
    return y_NF.view(BFLOAT16) if is_rounded else y_NF


def mlp_activation_gradient(
    g_NF: Array, x_NG: Array, activation: str, is_rounded: bool, has_bias: bool
) -> tuple[Array, Array, Array | None]:
    if not are_contiguous_floats(g_NF, x_NG):
        return reference.mlp_activation_gradient(g_NF, x_NG, activation, is_rounded, has_bias)
    bits_NF = np.empty(g_NF.shape, np.uint16) if is_rounded else None
    dx_NG = np.empty(x_NG.shape, np.uint16 if is_rounded else np.float32)
    count = -(-len(x_NG) // NUM_ROWS)
    sums = np.empty((count, x_NG.shape[1]), np.float32)
    kernel = _BACKWARD[activation]

    def work(start: int, stop: int) -> None:
        rows = slice(start * NUM_ROWS, stop * NUM_ROWS)
        bits = None if bits_NF is None else bits_NF[rows]
        kernel(g_NF[rows], x_NG[rows], bits, dx_NG[rows], sums[start:stop])

    in_parts(count, x_NG.size, work)
    dbias_G = sum_of_parts(sums) if has_bias else None
    return (g_NF, dx_NG, dbias_G) if bits_NF is None else (bits_NF.view(BFLOAT16), dx_NG.view(BFLOAT16), dbias_G)


# --- forward -----------------------------------------------------------------------------------


@inlined
def _add(bias, x):
    if bias.shape[0]:
        for i in range(x.shape[0]):
            x[i] += bias[i]


@compiled
def _gelu(x_NG, bias, y_NF):
    for n in range(x_NG.shape[0]):
        x, y = x_NG[n], y_NF[n]
        _add(bias, x)
        for i in range(x.shape[0]):
            put(y, i, gelu_of(x[i]))


@compiled
def _gelu_tanh(x_NG, bias, y_NF):
    for n in range(x_NG.shape[0]):
        x, y = x_NG[n], y_NF[n]
        _add(bias, x)
        for i in range(x.shape[0]):
            put(y, i, gelu_tanh_of(x[i]))


@compiled
def _relu_squared(x_NG, bias, y_NF):
    for n in range(x_NG.shape[0]):
        x, y = x_NG[n], y_NF[n]
        _add(bias, x)
        for i in range(x.shape[0]):
            put(y, i, _relu_squared_and_slope(x[i])[0])


@compiled
def _swiglu(x_NG, bias, y_NF):
    width = y_NF.shape[1]
    for n in range(x_NG.shape[0]):
        _add(bias, x_NG[n])
        gate, value, y = x_NG[n, :width], x_NG[n, width:], y_NF[n]
        for i in range(width):
            put(y, i, times_sigmoid(gate[i], gate[i]) * value[i])


@inlined
def _relu_squared_and_slope(x):
    y = _ZERO if x < _ZERO else x  # nan for nan
    return y * y, y + y


# --- backward ----------------------------------------------------------------------------------
#
# The activation is written over g, or to `bits_NF` if there is one. A kernel never receives g twice: the compiler does
# not vectorise loops whose output array may overlap an input. sums (P, G): one row for each block of rows.


def _given(x, otherwise):
    """x, or `otherwise` if x is None."""


@overload(_given)
def _given_type(x, otherwise):
    if isinstance(x, numba.types.NoneType):
        return lambda x, otherwise: otherwise
    return lambda x, otherwise: x


@compiled
def _gelu_gradient(g_NF, x_NG, bits_NF, dx_NG, sums):
    y_NF = _given(bits_NF, g_NF)
    for n in range(x_NG.shape[0]):
        g, x, y, dx, total = g_NF[n], x_NG[n], y_NF[n], dx_NG[n], sums[n // NUM_ROWS]
        if n % NUM_ROWS == 0:
            total[:] = _ZERO
        for i in range(x.shape[0]):
            value, slope = gelu_and_slope(x[i])
            slope *= g[i]
            put(y, i, value)
            put(dx, i, slope)
            total[i] += slope


@compiled
def _gelu_tanh_gradient(g_NF, x_NG, bits_NF, dx_NG, sums):
    y_NF = _given(bits_NF, g_NF)
    for n in range(x_NG.shape[0]):
        g, x, y, dx, total = g_NF[n], x_NG[n], y_NF[n], dx_NG[n], sums[n // NUM_ROWS]
        if n % NUM_ROWS == 0:
            total[:] = _ZERO
        for i in range(x.shape[0]):
            value, slope = gelu_tanh_and_slope(x[i])
            slope *= g[i]
            put(y, i, value)
            put(dx, i, slope)
            total[i] += slope


@compiled
def _relu_squared_gradient(g_NF, x_NG, bits_NF, dx_NG, sums):
    y_NF = _given(bits_NF, g_NF)
    for n in range(x_NG.shape[0]):
        g, x, y, dx, total = g_NF[n], x_NG[n], y_NF[n], dx_NG[n], sums[n // NUM_ROWS]
        if n % NUM_ROWS == 0:
            total[:] = _ZERO
        for i in range(x.shape[0]):
            value, slope = _relu_squared_and_slope(x[i])
            slope *= g[i]
            put(y, i, value)
            put(dx, i, slope)
            total[i] += slope


@compiled
def _swiglu_gradient(g_NF, x_NG, bits_NF, dx_NG, sums):
    y_NF = _given(bits_NF, g_NF)
    width = g_NF.shape[1]
    for n in range(x_NG.shape[0]):
        g, y, total = g_NF[n], y_NF[n], sums[n // NUM_ROWS]
        gate, value, dgate, dvalue = x_NG[n, :width], x_NG[n, width:], dx_NG[n, :width], dx_NG[n, width:]
        if n % NUM_ROWS == 0:
            total[:] = _ZERO
        for i in range(width):
            silu, slope = silu_and_slope(gate[i])
            slope *= value[i] * g[i]
            of_value = silu * g[i]
            put(y, i, silu * value[i])
            put(dgate, i, slope)
            put(dvalue, i, of_value)
            total[i] += slope
            total[width + i] += of_value


_FORWARD = {"gelu": _gelu, "gelu_tanh": _gelu_tanh, "relu_squared": _relu_squared, "swiglu": _swiglu}
_BACKWARD = {
    "gelu": _gelu_gradient,
    "gelu_tanh": _gelu_tanh_gradient,
    "relu_squared": _relu_squared_gradient,
    "swiglu": _swiglu_gradient,
}
