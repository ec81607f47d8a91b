"""erf, gelu, silu, swiglu."""

from __future__ import annotations

import math

import numpy as np

from tensorgrad.array import Array, module_of
from tensorgrad.kernels.reference.blocks import for_blocks, wide

# erf(x) = x P(x x) for |x| <= 1, and 1 - exp(-x x) Q((x - 2) / (x + 2)) beyond, up to 6, where it is 1 to the
# last bit. P and Q are Chebyshev fits, highest power first, right to 2e-16.
_ERF_NEAR = (
    "5.9571761477489114e-11 -1.1372848856791674e-9 1.4659775274047436e-8 -1.6350312701054695e-7 "
    "1.6461000484121368e-6 -1.4925595266831182e-5 0.00012055331111642711 -0.00085483269808337899 "
    "0.0052239776248180145 -0.026866170645076793 0.11283791670954879 -0.37612638903183748 1.1283791670955126"
)
_ERFC_FAR = (
    "-4.215301054238321e-7 -5.3226968556557863e-7 1.1780775215625583e-6 3.789215643758464e-6 "
    "1.3926211836188029e-6 -1.3968072301771461e-5 -2.7579864674305786e-5 2.7525480361206067e-5 "
    "0.00017436116545392264 4.3555602195154722e-5 -0.00098197702656788892 -0.0008471432509203844 "
    "0.0069974617392004438 0.0037328924043277639 -0.078978581015732125 0.24165819424246646 "
    "-0.4271858474139584 0.25539567631050574"
)
# The normal distribution's upper tail, 1 - Phi(x) = exp(-x x / 2) R((x - 3) / (x + 3)) for x >= 0, per precision.
_NORMAL_TAIL = {
    "float64": (
        "-5.45844237530793041e-12 -2.01143630313871187e-9 -7.07937369663493821e-9 1.88119873697525784e-9 "
        "4.38881126024636713e-8 5.91708415816152816e-8 -9.07726992480561204e-8 -3.77538640329367579e-7 "
        "-2.36976261115835241e-7 1.19359149233922585e-6 2.86475236013107818e-6 -1.24049937302271713e-6 "
        "-0.0000153439537072204916 -0.0000125970140389484298 0.0000684951261412498363 0.000131542225021060228 "
        "-0.000345570165112842623 -0.000990838164977314474 0.00290591471178888673 0.00613335968668605769 "
        "-0.0462134575196301336 0.123224950315347358 -0.206402612008476778 0.121513948355562171"
    ),
    "float32": (
        "5.40938601e-5 0.000116207929 -0.000339556464 -0.000984276383 0.00290442839 0.00613219251 "
        "-0.0462132475 0.123225022 -0.206402622 0.121513948"
    ),
}


def _polynomial(coefficients: str, t: Array) -> Array:
    first, second, *others = map(float, coefficients.split())
    total = first * t + second
    for c in others:
        total *= t
        total += c
    return total


def erf(x: Array) -> Array:
    xp = module_of(x)
    out = xp.empty(x.shape, x.dtype)
    flat_x, flat_out = x.reshape(-1), out.reshape(-1)

    def work(rows: slice) -> None:
        # In float64 also for float32: rounded once.
        t = flat_x[rows].astype(xp.float64, copy=False)
        size = xp.minimum(xp.abs(t), 6)  # nan stays
        near = xp.minimum(size, 1)
        far = xp.maximum(size, 1)
        tail = xp.exp(-far * far) * _polynomial(_ERFC_FAR, (far - 2) / (far + 2))
        magnitude = xp.where(size <= 1, near * _polynomial(_ERF_NEAR, near * near), 1 - tail)
        flat_out[rows] = xp.copysign(magnitude, t)

    for_blocks(flat_x, work)
    return out  # type: ignore[no-any-return]


def _normal_distribution(x: Array) -> tuple[Array, Array]:
    """Phi(x), and exp(-x x / 2), in the precision of x.

    Computed from the tail, so that a small Phi is right relative to itself; and without choices
    between elements, which cost NumPy more than the arithmetic.
    """
    xp = module_of(x)
    size = xp.abs(x)
    bell = x * x
    bell *= -0.5
    xp.exp(bell, out=bell)
    # (x - 3) / (x + 3) as 1 - 6 / (x + 3), which is 1 for an infinite x.
    size += 3
    xp.divide(-6, size, out=size)
    size += 1
    tail = _polynomial(_NORMAL_TAIL[x.dtype.name], size)
    tail *= bell
    # tail for x < 0, 1 - tail for x >= 0
    sign = xp.copysign(1, x)
    tail *= sign
    sign += 1
    sign *= 0.5
    sign -= tail
    return sign, bell


_TANH_SCALE = math.sqrt(2 / math.pi)
_TANH_CUBIC = 0.044715


def gelu(x: Array, approximate: str) -> Array:
    return _gelu_parts(x, None, approximate)


def gelu_gradient(g: Array, x: Array, approximate: str) -> Array:
    return _gelu_parts(x, g, approximate)


def _gelu_parts(x: Array, g: Array | None, approximate: str) -> Array:
    """x Phi(x); or, given g, g (Phi(x) + x Phi'(x))."""
    xp = module_of(x)
    out = xp.empty(x.shape, x.dtype)
    flat_x, flat_out = x.reshape(-1), out.reshape(-1)
    flat_g = None if g is None else g.reshape(-1)

    def work(rows: slice) -> None:
        t = wide(flat_x[rows])
        slope = density = None
        if approximate == "tanh":
            inner = t * t
            if flat_g is not None:
                slope = _TANH_SCALE * (1 + 3 * _TANH_CUBIC * inner)
            inner *= _TANH_CUBIC
            inner += 1
            inner *= t
            inner *= _TANH_SCALE
            phi = xp.tanh(inner, out=inner)
            if slope is not None:
                # Phi'(x) = (1 - tanh^2) / 2 * slope, taken before phi becomes (1 + tanh) / 2.
                density = 0.5 * (1 - phi * phi) * slope
            phi += 1
            phi *= 0.5
        else:
            phi, density = _normal_distribution(t)
            density *= 1 / math.sqrt(2 * math.pi)
        if density is None or flat_g is None:
            flat_out[rows] = phi * t
        else:
            density *= t
            density += phi
            flat_out[rows] = density * flat_g[rows]

    for_blocks(flat_x, work)
    return out  # type: ignore[no-any-return]


def _sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) in a fresh array; where exp overflows it is 0, as it should be."""
    xp = module_of(x)
    with np.errstate(over="ignore"):
        y = xp.exp(-x)
    y += 1
    return xp.divide(1, y, out=y)  # type: ignore[no-any-return]


def silu(x: Array) -> Array:
    out = module_of(x).empty(x.shape, x.dtype)
    flat_x, flat_out = x.reshape(-1), out.reshape(-1)

    def work(rows: slice) -> None:
        t = wide(flat_x[rows])
        flat_out[rows] = t * _sigmoid(t)

    for_blocks(flat_x, work)
    return out  # type: ignore[no-any-return]


def silu_gradient(g: Array, x: Array) -> Array:
    out = module_of(x).empty(x.shape, x.dtype)
    flat_x, flat_out, flat_g = x.reshape(-1), out.reshape(-1), g.reshape(-1)

    def work(rows: slice) -> None:
        t = wide(flat_x[rows])
        s = _sigmoid(t)
        flat_out[rows] = flat_g[rows] * (s * (1 + t * (1 - s)))

    for_blocks(flat_x, work)
    return out  # type: ignore[no-any-return]


def swiglu(x: Array) -> Array:
    width = x.shape[-1] // 2
    rows_x = x.reshape(-1, 2 * width)
    out = module_of(x).empty((rows_x.shape[0], width), x.dtype)

    def work(rows: slice) -> None:
        gate = wide(rows_x[rows, :width])
        s = _sigmoid(gate)
        s *= gate
        s *= rows_x[rows, width:]
        out[rows] = s

    for_blocks(rows_x, work)
    return out.reshape(*x.shape[:-1], width)  # type: ignore[no-any-return]


def swiglu_gradient(g: Array, x: Array) -> Array:
    width = x.shape[-1] // 2
    rows_x, rows_g = x.reshape(-1, 2 * width), g.reshape(-1, width)
    out = module_of(x).empty(rows_x.shape, x.dtype)

    def work(rows: slice) -> None:
        gate, value, g_rows = wide(rows_x[rows, :width]), rows_x[rows, width:], rows_g[rows]
        s = _sigmoid(gate)
        slope = 1 - s
        slope *= gate
        slope += 1
        slope *= s  # silu'(gate)
        slope *= value
        slope *= g_rows
        out[rows, :width] = slope
        s *= gate
        s *= g_rows
        out[rows, width:] = s

    for_blocks(rows_x, work)
    return out.reshape(x.shape)  # type: ignore[no-any-return]
