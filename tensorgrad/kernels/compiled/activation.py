"""gelu, silu, swiglu: one pass over their operands."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tensorgrad.array import Array
from tensorgrad.kernels import reference
from tensorgrad.kernels.compiled.elementary import exp_factors, sigmoid_factors, times_sigmoid
from tensorgrad.kernels.compiled.jit import compiled, in_parts, inlined, plain
from tensorgrad.kernels.reference.activation import NORMAL_TAIL_FLOAT32

_F = np.float32
_TANH_LINEAR, _TANH_CUBIC = _F(2 * math.sqrt(2 / math.pi)), _F(2 * math.sqrt(2 / math.pi) * 0.044715)
_TANH_CUBIC_SLOPE = _F(6 * math.sqrt(2 / math.pi) * 0.044715)
_TANH_LIMIT = _F(40.0)
_BELL_SCALE = _F(1 / math.sqrt(2 * math.pi))
_TAIL = tuple(_F(c) for c in NORMAL_TAIL_FLOAT32.split())
_ZERO, _HALF, _ONE, _THREE, _SIX = _F(0.0), _F(0.5), _F(1.0), _F(3.0), _F(6.0)


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
    if not plain(*operands):
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
    # Beyond, the sigmoid is 0 or 1, and the slope of v would overflow; at infinity the slope is nan.
    t = _TANH_LIMIT if x > _TANH_LIMIT else x
    t = -_TANH_LIMIT if t < -_TANH_LIMIT else t
    first, second, rest = sigmoid_factors(t * (_TANH_LINEAR + _TANH_CUBIC * (t * t)))
    slope = _TANH_LINEAR + _TANH_CUBIC_SLOPE * (t * t)
    return x * first * second, first * (_ONE + t * rest * slope) * second + (x - x)


@inlined
def _normal_tail(x):
    """1 - Phi(|x|) = exp(-x x / 2) R((|x| - 3) / (|x| + 3)), Phi the normal distribution: R and the factors of exp."""
    z = _ONE - _SIX / (abs(x) + _THREE)
    p = _TAIL[0] * z + _TAIL[1]
    p = p * z + _TAIL[2]
    p = p * z + _TAIL[3]
    p = p * z + _TAIL[4]
    p = p * z + _TAIL[5]
    p = p * z + _TAIL[6]
    p = p * z + _TAIL[7]
    p = p * z + _TAIL[8]
    p = p * z + _TAIL[9]
    first, second = exp_factors(-_HALF * (x * x))
    return p, first, second


@inlined
def _of_tail(x, tail):
    """x Phi(x) of x (1 - Phi(|x|))."""
    # Above 6 the tail is less than rounding (and for infinity nan).
    rest = x if x > _SIX else x - tail
    return tail if x < _ZERO else rest


@inlined
def gelu_of(x):
    p, first, second = _normal_tail(x)
    return _of_tail(x, x * (p * first) * second)


@inlined
def gelu_and_slope(x):
    p, first, second = _normal_tail(x)
    tail = p * first * second
    bell = x * (_BELL_SCALE * first) * second
    return _of_tail(x, x * (p * first) * second), (tail if x < _ZERO else _ONE - tail) + bell


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
    if not plain(x):
        return reference.swiglu(x)
    width = x.shape[-1] // 2
    out = np.empty((*x.shape[:-1], width), np.float32)
    x_NG, out_NF = x.reshape(-1, 2 * width), out.reshape(-1, width)
    in_parts(x_NG.shape[0], x.size, lambda start, stop: _swiglu(x_NG, out_NF, start, stop))
    return out


def swiglu_gradient(g: Array, x: Array) -> Array:
    if not plain(g, x):
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
