"""gelu, silu, swiglu."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tensorgrad.array import Array, module_of
from tensorgrad.kernels.reference.blocks import for_blocks, wide
from tensorgrad.kernels.reference.error_function import exp_minus_square, polynomial, scaled_erfc

__all__ = ["gelu", "gelu_gradient", "silu", "silu_gradient", "swiglu", "swiglu_gradient"]

_TANH_SCALE = math.sqrt(2 / math.pi)
_TANH_CUBIC = 0.044715
# The normal distribution's upper tail, 1 - Phi(x) = exp(-x x / 2) R((x - 3) / (x + 3)) for x >= 0.
NORMAL_TAIL_FLOAT32 = (
    "5.40938601e-5 0.000116207929 -0.000339556464 -0.000984276383 0.00290442839 0.00613219251 "
    "-0.0462132475 0.123225022 -0.206402622 0.121513948"
)


def gelu(x: Array, approximate: str) -> Array:
    xp = module_of(x)

    def work(t: Array, out: Array) -> None:
        if approximate == "tanh":
            xp.divide(t, _one_plus_exp_minus(_tanh_inner(t, t * t)), out=out, casting="same_kind")
        else:
            xp.multiply(_normal_distribution(t)[0], t, out=out, casting="same_kind")

    with np.errstate(over="ignore"):
        return _in_blocks(work, x)


def gelu_gradient(g: Array, x: Array, approximate: str) -> Array:
    """g (Phi(x) + x Phi'(x))."""
    multiply = module_of(x).multiply

    def work(t: Array, g: Array, out: Array) -> None:
        multiply(gelu_and_slope(t, approximate)[1], g, out=out, casting="same_kind")

    with np.errstate(over="ignore"):
        return _in_blocks(work, x, g)


def _in_blocks(work: Callable[..., None], x: Array, *others: Array) -> Array:
    """An elementwise function: work(x in its accumulation dtype, *others, out) for each block."""
    out = module_of(x).empty(x.shape, x.dtype)
    flat_x, *flats = (a.reshape(-1) for a in (x, *others, out))

    def block(rows: slice) -> None:
        work(wide(flat_x[rows]), *(flat[rows] for flat in flats))

    for_blocks(flat_x, block)
    return out  # type: ignore[no-any-return]


def gelu_and_slope(t: Array, approximate: str) -> tuple[Array, Array]:
    """t Phi(t) and Phi(t) + t Phi'(t), in new arrays. Intermediate values may overflow; the results do not."""
    if approximate == "tanh":
        xp, square = module_of(t), t * t
        phi = _one_plus_exp_minus(_tanh_inner(t, square))
        xp.divide(1, phi, out=phi)
        # Phi' = Phi (1 - Phi) v', where v' is kept finite for large t: Phi (1 - Phi) is 0 there.
        xp.minimum(square, 1e4, out=square)
        square *= 6 * _TANH_SCALE * _TANH_CUBIC
        square += 2 * _TANH_SCALE
        density = 1 - phi
        density *= phi
        density *= square
    else:
        phi, density = _normal_distribution(t)
    density *= t
    density += phi
    phi *= t
    return phi, density


def _tanh_inner(t: Array, square: Array) -> Array:
    """v with Phi = (1 + tanh(v / 2)) / 2 = sigmoid(v): the sum would cancel for v far below 0."""
    v = square * (2 * _TANH_SCALE * _TANH_CUBIC)
    v += 2 * _TANH_SCALE
    v *= t
    return v


def _normal_distribution(x: Array) -> tuple[Array, Array]:
    """The normal distribution function of x and its density, in the precision of x.

    Computed from the tail, so that small values have a small relative error; and without choices between elements,
    which cost NumPy more than the arithmetic.
    """
    xp = module_of(x)
    size = xp.abs(x)
    if x.dtype == xp.float64:
        bell = exp_minus_square(size, 0.5)
        tail = scaled_erfc(size * math.sqrt(0.5))
        tail *= 0.5
    else:
        bell = x * x
        bell *= -0.5
        xp.exp(bell, out=bell)
        # (x - 3) / (x + 3) as 1 - 6 / (x + 3), which is 1 for infinite x.
        size += 3
        xp.divide(-6, size, out=size)
        size += 1
        tail = polynomial(NORMAL_TAIL_FLOAT32, size)
    tail *= bell
    bell *= 1 / math.sqrt(2 * math.pi)
    # tail for x < 0, 1 - tail for x >= 0
    sign = xp.copysign(1, x)
    tail *= sign
    sign += 1
    sign *= 0.5
    sign -= tail
    return sign, bell


def _one_plus_exp_minus(x: Array) -> Array:
    """1 + exp(-x), in a new array: the divisor of a sigmoid with a small relative error.

    It is float64 if exp overflows float32, because the sigmoid is not 0 there yet.
    """
    xp = module_of(x)
    y = -x
    try:
        with np.errstate(over="raise"):
            xp.exp(y, out=y)
    except FloatingPointError:
        y = -x.astype(xp.float64)
        with np.errstate(over="ignore"):
            xp.exp(y, out=y)
    y += 1
    return y


def sigmoid(x: Array) -> Array:
    y = _one_plus_exp_minus(x)
    return module_of(x).divide(1, y, out=y)  # type: ignore[no-any-return]


def silu_slope(x: Array, s: Array) -> Array:
    """silu'(x) = s (1 + x (1 - s)), with s = sigmoid(x)."""
    slope = 1 - s
    slope *= x
    slope += 1
    slope *= s
    return slope


def silu(x: Array) -> Array:
    divide = module_of(x).divide
    return _in_blocks(lambda t, out: divide(t, _one_plus_exp_minus(t), out=out, casting="same_kind"), x)


def silu_gradient(g: Array, x: Array) -> Array:
    multiply = module_of(x).multiply
    return _in_blocks(lambda t, g, out: multiply(silu_slope(t, sigmoid(t)), g, out=out, casting="same_kind"), x, g)


def swiglu(x: Array) -> Array:
    xp = module_of(x)
    width = x.shape[-1] // 2
    rows_x = x.reshape(-1, 2 * width)
    out = xp.empty((rows_x.shape[0], width), x.dtype)

    def work(rows: slice) -> None:
        gate = wide(rows_x[rows, :width])
        s = _one_plus_exp_minus(gate)
        xp.divide(gate, s, out=s)
        xp.multiply(s, rows_x[rows, width:], out=out[rows], casting="same_kind")

    for_blocks(rows_x, work)
    return out.reshape(*x.shape[:-1], width)  # type: ignore[no-any-return]


def swiglu_gradient(g: Array, x: Array) -> Array:
    xp = module_of(x)
    width = x.shape[-1] // 2
    rows_x, rows_g = x.reshape(-1, 2 * width), g.reshape(-1, width)
    out = xp.empty(rows_x.shape, x.dtype)

    def work(rows: slice) -> None:
        gate, g_rows = wide(rows_x[rows, :width]), rows_g[rows]
        s = sigmoid(gate)
        slope = silu_slope(gate, s)
        slope *= rows_x[rows, width:]
        slope *= g_rows
        out[rows, :width] = slope
        s *= gate
        s *= g_rows
        out[rows, width:] = s

    for_blocks(rows_x, work)
    return out.reshape(x.shape)  # type: ignore[no-any-return]
