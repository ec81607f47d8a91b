"""gelu, silu, swiglu: one pass over their operands."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tensorgrad.array import Array
from tensorgrad.kernels import reference
from tensorgrad.kernels.compiled.elementary import ROUNDING, sigmoid_factors, times_sigmoid
from tensorgrad.kernels.compiled.jit import are_contiguous_floats, compiled, in_parts, inlined

__all__ = ["gelu", "gelu_gradient", "silu", "silu_gradient", "swiglu", "swiglu_gradient"]

_F = np.float32
_TANH_LINEAR, _TANH_CUBIC = _F(2 * math.sqrt(2 / math.pi)), _F(2 * math.sqrt(2 / math.pi) * 0.044715)
_TANH_CUBIC_SLOPE = _F(6 * math.sqrt(2 / math.pi) * 0.044715)
_TANH_LIMIT = _F(40.0)
_BELL_SCALE = _F(1 / math.sqrt(2 * math.pi))
_ZERO, _ONE = _F(0.0), _F(1.0)
_FAR = _F(14.5)  # beyond it gelu(-x) is less than the smallest number, so 0
# Exact to 6e-9; the coefficient of the highest power first.
_TAIL_TOP = (_F(0.3989469), _F(3.938045), _F(17.758217), _F(42.476524), _F(48.455196))
_TAIL_BOTTOM = (_F(9.87184), _F(45.498753), _F(116.538605), _F(162.2764), _F(96.91039))  # below one t^5
# exp(-s / 2) = 1 + s (...), exact to 2e-9 for |s| <= ln 2; ln 4 in two parts: its first 16 bits, and the rest.
_BELL = (_F(2.1630707e-05), _F(-0.00026169236), _F(0.00260425), _F(-0.02083304), _F(0.124999985), _F(-0.5))
_LOG2_SLOPE, _LN4_HIGH, _LN4_LOW = _F(-0.7213475), _F(1.3862915), _F(2.8572135e-06)
# 2^(n + 64) by the bits of the exponent; n is in the lowest bits of the sum with `ROUNDING`.
_POWER_64, _POWER_MINUS_64 = np.int32((127 + 64) << 23), _F(2.0**-64)


def silu(x: Array) -> Array:
    return _elementwise(_silu, reference.silu, x)


def silu_gradient(g: Array, x: Array) -> Array:
    return _elementwise(_silu_gradient, reference.silu_gradient, g, x)


def gelu(x: Array, approximate: str) -> Array:
    kernel = _gelu_tanh if approximate == "tanh" else _gelu
    return _elementwise(kernel, lambda x: reference.gelu(x, approximate), x)


def gelu_gradient(g: Array, x: Array, approximate: str) -> Array:
    kernel = _gelu_tanh_gradient if approximate == "tanh" else _gelu_gradient
    return _elementwise(kernel, lambda g, x: reference.gelu_gradient(g, x, approximate), g, x)


def _elementwise(kernel: Callable[..., None], otherwise: Callable[..., Array], *operands: Array) -> Array:
    if not are_contiguous_floats(*operands):
        return otherwise(*operands)
    out = np.empty(operands[0].shape, np.float32)
    flat = [a.reshape(-1) for a in (*operands, out)]
    in_parts(out.size, out.size, lambda start, stop: kernel(*(a[start:stop] for a in flat)))
    return out


# --- of one number -----------------------------------------------------------------------------


@inlined
def silu_and_slope(x):
    first, second, rest = sigmoid_factors(x)
    return x * first * second, first * (_ONE + x * rest) * second


@inlined
def gelu_tanh_of(x):
    # (1 + tanh(v / 2)) / 2 = sigmoid(v)
    return times_sigmoid(x, x * (_TANH_LINEAR + _TANH_CUBIC * (x * x)))


@inlined
def gelu_tanh_and_slope(x):
    # Beyond this bound the sigmoid is 0 or 1, and the slope of v would overflow; at infinity the slope is nan.
    t = _TANH_LIMIT if x > _TANH_LIMIT else x
    t = -_TANH_LIMIT if t < -_TANH_LIMIT else t
    first, second, rest = sigmoid_factors(t * (_TANH_LINEAR + _TANH_CUBIC * (t * t)))
    slope = _TANH_LINEAR + _TANH_CUBIC_SLOPE * (t * t)
    return x * first * second, first * (_ONE + t * rest * slope) * second + (x - x)


@inlined
def _bell(t):
    """2^64 exp(-t t / 2), for 0 <= t <= _FAR; the factor keeps it above the subnormal numbers."""
    shifted = _F((t * _LOG2_SLOPE) * t + ROUNDING)
    n = shifted - ROUNDING
    # exp(-t t / 2) = 2^n exp(-s / 2). One product is exact; so is the other where product and sum are one instruction.
    # Then t t is never rounded, and no error grows with it.
    s = t * t + n * _LN4_HIGH
    s = n * _LN4_LOW + s
    p = _BELL[0] * s + _BELL[1]
    p = p * s + _BELL[2]
    p = p * s + _BELL[3]
    p = p * s + _BELL[4]
    p = p * s + _BELL[5]
    power = np.int32((shifted.view(np.int32) << np.int32(23)) + _POWER_64).view(np.float32)
    return (p * s) * power + power


@inlined
def _tail_ratio(t):
    """P and Q in 1 - Phi(t) = exp(-t t / 2) P / Q, for 0 <= t <= _FAR; Phi is the normal distribution."""
    p = _TAIL_TOP[0] * t + _TAIL_TOP[1]
    p = p * t + _TAIL_TOP[2]
    p = p * t + _TAIL_TOP[3]
    p = p * t + _TAIL_TOP[4]
    q = t + _TAIL_BOTTOM[0]
    q = q * t + _TAIL_BOTTOM[1]
    q = q * t + _TAIL_BOTTOM[2]
    q = q * t + _TAIL_BOTTOM[3]
    return p, q * t + _TAIL_BOTTOM[4]


@inlined
def _size(x):
    """min(|x|, _FAR); nan for nan."""
    return _FAR if abs(x) > _FAR else abs(x)


@inlined
def gelu_of(x):
    # x Phi(x) = max(x, 0) - |x| (1 - Phi(|x|))
    t = _size(x)
    p, q = _tail_ratio(t)
    below = x if x < _ZERO else _ZERO
    return (x - below) - (t * p * _bell(t) / q) * _POWER_MINUS_64  # nan for -inf, as in the definition


@inlined
def gelu_and_slope(x):
    t = _size(x)
    p, q = _tail_ratio(t)
    bell = _bell(t)
    tail = p * bell / q
    below = x if x < _ZERO else _ZERO
    # The slope is Phi(x) + x exp(-x x / 2) / sqrt(2 pi).
    excess = t * (_BELL_SCALE * bell) - tail
    excess = -excess if x < _ZERO else excess
    slope = excess * _POWER_MINUS_64 + (_ZERO if x < _ZERO else _ONE)
    return (x - below) - (t * tail) * _POWER_MINUS_64, slope + (x - x)  # nan at infinity, as in the definition


# --- of arrays ---------------------------------------------------------------------------------


@compiled
def _silu(x, out):
    for i in range(out.shape[0]):
        out[i] = times_sigmoid(x[i], x[i])


@compiled
def _silu_gradient(g, x, out):
    for i in range(out.shape[0]):
        out[i] = g[i] * silu_and_slope(x[i])[1]


@compiled
def _gelu_tanh(x, out):
    for i in range(out.shape[0]):
        out[i] = gelu_tanh_of(x[i])


@compiled
def _gelu_tanh_gradient(g, x, out):
    for i in range(out.shape[0]):
        out[i] = g[i] * gelu_tanh_and_slope(x[i])[1]


@compiled
def _gelu(x, out):
    for i in range(out.shape[0]):
        out[i] = gelu_of(x[i])


@compiled
def _gelu_gradient(g, x, out):
    for i in range(out.shape[0]):
        out[i] = g[i] * gelu_and_slope(x[i])[1]


def swiglu(x: Array) -> Array:
    if not are_contiguous_floats(x):
        return reference.swiglu(x)
    width = x.shape[-1] // 2
    out = np.empty((*x.shape[:-1], width), np.float32)
    x_NG, out_NF = x.reshape(-1, 2 * width), out.reshape(-1, width)
    in_parts(x_NG.shape[0], x.size, lambda start, stop: _swiglu(x_NG, out_NF, start, stop))
    return out


def swiglu_gradient(g: Array, x: Array) -> Array:
    if not are_contiguous_floats(g, x):
        return reference.swiglu_gradient(g, x)
    width = x.shape[-1] // 2
    out = np.empty(x.shape, np.float32)
    x_NG, g_NF, out_NG = x.reshape(-1, 2 * width), g.reshape(-1, width), out.reshape(-1, 2 * width)
    in_parts(x_NG.shape[0], x.size, lambda start, stop: _swiglu_gradient(g_NF, x_NG, out_NG, start, stop))
    return out


@compiled
def _swiglu(x_NG, out_NF, start, stop):
    width = out_NF.shape[1]
    for n in range(start, stop):
        gate, value, out = x_NG[n, :width], x_NG[n, width:], out_NF[n]
        for i in range(width):
            out[i] = times_sigmoid(gate[i], gate[i]) * value[i]


@compiled
def _swiglu_gradient(g_NF, x_NG, out_NG, start, stop):
    width = g_NF.shape[1]
    for n in range(start, stop):
        g, gate, value = g_NF[n], x_NG[n, :width], x_NG[n, width:]
        dgate, dvalue = out_NG[n, :width], out_NG[n, width:]
        for i in range(width):
            y, slope = silu_and_slope(gate[i])
            dvalue[i] = g[i] * y
            dgate[i] = g[i] * (value[i] * slope)
