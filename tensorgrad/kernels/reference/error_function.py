"""erf, erfc, and the functions that they and gelu share."""

from __future__ import annotations

from tensorgrad.array import Array, module_of
from tensorgrad.kernels.reference.blocks import precisely

__all__ = ["erf", "erfc"]

# Chebyshev fits, highest power first. erf(x) = x P(x x) for |x| <= 1, exact to 2e-16; and for every x >= 0
# exp(x x) erfc(x) = Q((x - 3) / (x + 3)) / (x + 3), exact to 2e-17: Q is smooth, from 3 down to 0.56.
_ERF_NEAR = (
    "5.9571761477489114e-11 -1.1372848856791674e-9 1.4659775274047436e-8 -1.6350312701054695e-7 "
    "1.6461000484121368e-6 -1.4925595266831182e-5 0.00012055331111642711 -0.00085483269808337899 "
    "0.0052239776248180145 -0.026866170645076793 0.11283791670954879 -0.37612638903183748 1.1283791670955126"
)
_ERFC_SCALED = (
    "1.8102815683637526e-10 8.102668624003257e-10 -1.0795037278510775e-09 -8.68917229673563e-09 "
    "-7.153751145495182e-10 5.117094154651631e-08 4.565470037225715e-08 -2.3383735980435184e-07 "
    "-4.0756884426822985e-07 9.988024518234282e-07 2.7651479916016476e-06 -4.749019807941394e-06 "
    "-1.747047597754263e-05 3.03980483596444e-05 0.00010756146675383789 -0.0002767778132333872 "
    "-0.000548309689252168 0.0030340619959404215 -0.0012124166273809992 -0.026827234624041664 "
    "0.11952776128729657 -0.3104672619005836 0.5902283571041017 -0.8833944531698834 1.0740069070883398"
)


def polynomial(coefficients: str, t: Array) -> Array:
    """The polynomial with these coefficients, highest power first, in a new array."""
    first, second, *others = map(float, coefficients.split())
    total = first * t + second
    for c in others:
        total *= t
        total += c
    return total


def erf(x: Array) -> Array:
    def value(t: Array) -> Array:
        xp = module_of(t)
        size = xp.abs(t)
        magnitude = xp.where(size <= 1, _near(size), 1 - scaled_erfc(size) * exp_minus_square(size))
        return xp.copysign(magnitude, t)  # type: ignore[no-any-return]

    return precisely(value, x)


def erfc(x: Array) -> Array:
    def value(t: Array) -> Array:
        xp = module_of(t)
        size = xp.abs(t)
        tail = scaled_erfc(size) * exp_minus_square(size)
        far = xp.where(t > 0, tail, 2 - tail)
        return xp.where(size <= 0.5, 1 - xp.copysign(_near(size), t), far)  # type: ignore[no-any-return]

    return precisely(value, x)


def _near(size: Array) -> Array:
    """erf(size) for 0 <= size <= 1; undefined beyond."""
    size = module_of(size).minimum(size, 1)
    return size * polynomial(_ERF_NEAR, size * size)


def scaled_erfc(size: Array) -> Array:
    """exp(size size) erfc(size), for size >= 0."""
    inverse = 1 / (size + 3)
    return polynomial(_ERFC_SCALED, 1 - 6 * inverse) * inverse


def exp_minus_square(size: Array, scale: float = 1.0) -> Array:
    """exp(-scale size size), scale a power of 2 and at least 0.5: its relative error does not grow with size."""
    xp = module_of(size)
    size = xp.minimum(xp.abs(size), 40)  # beyond it the result is 0
    # size size = high high + (size - high) (size + high), the square of the 24-bit part without rounding.
    high = size.astype(xp.float32).astype(size.dtype)
    rest = (size - high) * (size + high)
    return xp.exp(-scale * high * high) * xp.exp(-scale * rest)  # type: ignore[no-any-return]
