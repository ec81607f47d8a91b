"""exp and functions of it in float32, without branches, so that loops over them become vector instructions.

exp(x) = 2^n exp(r) with n the integer nearest to x / ln 2 and |r| <= ln 2 / 2: exp(r) by a polynomial,
of relative error 5e-11 and rounded like any float32 sum, 2^n by the bits of the exponent. At either end 2^n is not a
float32, so it comes as two factors. A caller that multiplies by the second one last has a small relative error even
where exp(x) is subnormal.
"""

from __future__ import annotations

import numba
import numpy as np
from numba.extending import overload

from tensorgrad.kernels.compiled.jit import inlined

__all__ = ["ROUNDING", "exp", "exp_factors", "exp_of_negative", "put", "sigmoid_factors", "times_sigmoid"]

_F = np.float32
# ln 2 in two parts: the product of the first with an 8-bit integer is exact.
_LOG2_E, _LN2_HIGH, _LN2_LOW = _F(1.44269504), _F(0.693145752), _F(1.42860677e-6)
# Adding this number rounds to an integer, which then fills the lowest bits.
ROUNDING, _ROUNDING_BITS = _F(12582912.0), np.int32(0x4B400000)
_LOWEST_NORMAL = _F(-87.0)  # exp(x) is a normal number down to here
_LOWEST, _HIGHEST = _F(-126.0), _F(89.0)  # beyond, even 1e9 exp(x) is 0, and exp(x) is infinite
# exp(r) = 1 + r + r^2 (C2 + C3 r + ...)
_C2, _C3, _C4 = _F(0.5), _F(0.1666666567325592), _F(0.04166629537940025)
_C5, _C6, _C7 = _F(0.008333497680723667), _F(0.0013944759266451001), _F(0.00019790245278272778)
_ZERO, _ONE = _F(0.0), _F(1.0)


@inlined
def _expm1_and_exponent(x):
    """exp(r) - 1 and n, where exp(x) = 2^n exp(r)."""
    shifted = _F(x * _LOG2_E + ROUNDING)
    n = shifted - ROUNDING
    r = x - n * _LN2_HIGH
    r = r - n * _LN2_LOW
    p = _C7 * r + _C6
    p = p * r + _C5
    p = p * r + _C4
    p = p * r + _C3
    p = p * r + _C2
    p = (p * r) * r + r
    return p, np.int32(shifted.view(np.int32) - _ROUNDING_BITS)


@inlined
def exp_factors(x):
    """Two factors of exp(x): the first lies in 2^-92 .. 2^65, the second is 0 for x <= -126; nan for nan."""
    is_zero = x < _LOWEST
    x = _LOWEST if x < _LOWEST else x
    x = _HIGHEST if x > _HIGHEST else x
    p, k = _expm1_and_exponent(x)
    half = np.int32(k >> np.int32(1))
    first = np.int32((half + np.int32(127)) << np.int32(23)).view(np.float32)
    second = np.int32((k - half + np.int32(127)) << np.int32(23)).view(np.float32)
    return p * first + first, _ZERO if is_zero else second


@inlined
def exp(x):
    first, second = exp_factors(x)
    return first * second


@inlined
def exp_of_negative(x):
    """exp(x) for x <= 0, as a term of a sum of at least 1: never below exp(-87), which adds nothing."""
    p, k = _expm1_and_exponent(_LOWEST_NORMAL if x < _LOWEST_NORMAL else x)
    first = np.int32((k + np.int32(127)) << np.int32(23)).view(np.float32)
    return p * first + first


@inlined
def times_sigmoid(x, v):
    """x / (1 + exp(-v))."""
    first, second = exp_factors(-abs(v))
    bottom = _ONE + first * second
    # For v < 0 the numerator is x exp(v); its second factor comes last.
    first = _ONE if v >= _ZERO else first
    second = _ONE if v >= _ZERO else second
    return (x * first / bottom) * second


@inlined
def sigmoid_factors(v):
    """Two factors of sigmoid(v), and 1 - sigmoid(v)."""
    first, second = exp_factors(-abs(v))
    large = _ONE / (_ONE + first * second)
    if v >= _ZERO:
        return large, _ONE, first * second * large
    return first * large, second, large


def put(out, i, x):
    """out[i] = x; into uint16, the bits of the nearest bfloat16, ties to even."""


@overload(put)
def _put(out, i, x):
    def bits(out, i, x):
        exact = np.uint32(np.float32(x).view(np.uint32))
        odd = np.uint32((exact >> np.uint32(16)) & np.uint32(1))
        nearest = np.uint32(exact + odd + np.uint32(0x7FFF)) >> np.uint32(16)
        out[i] = np.uint16(nearest if x == x else 0x7FC0)

    def itself(out, i, x):
        out[i] = x

    return bits if out.dtype == numba.uint16 else itself
