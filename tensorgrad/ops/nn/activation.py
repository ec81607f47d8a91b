"""Activation functions."""

from __future__ import annotations

import math
from typing import Any

from tensorgrad.arguments import as_number, check_option
from tensorgrad.array import Array, module_of
from tensorgrad.errors import ArgumentError, ShapeError
from tensorgrad.kernels import kernels_for
from tensorgrad.kernels.reference.blocks import precisely
from tensorgrad.ops.common import TensorLike, float_operand, weak
from tensorgrad.ops.elementwise import abs, add, clip, divide, erfc, multiply, negative, sigmoid, square, tanh, where
from tensorgrad.ops.nn.definition import definition_vjp
from tensorgrad.ops.shape import split
from tensorgrad.tape import data, record
from tensorgrad.tensor import Tensor

__all__ = ["celu", "elu", "gelu", "hardtanh", "leaky_relu", "logsigmoid", "mish", "relu", "relu6", "selu"]
__all__ += ["silu", "softplus", "softsign", "swiglu"]

# --- piecewise linear --------------------------------------------------------------------------


def relu(x: TensorLike) -> Tensor:
    """max(x, 0); the derivative at 0 is 0."""
    a = float_operand("relu", x)
    out = module_of(a).maximum(a, 0)
    return record(out, (x, lambda g, y: multiply(g, (~(data(y) <= 0)).astype(data(y).dtype))), keep_output=True)


def leaky_relu(x: TensorLike, *, negative_slope: float = 0.01) -> Tensor:
    """x where x > 0, else x negative_slope; the derivative at 0 is negative_slope."""
    a = float_operand("leaky_relu", x)
    slope = as_number("leaky_relu", "negative_slope", negative_slope)
    xp = module_of(a)
    out = xp.maximum(a, 0) + weak(slope, a) * xp.minimum(a, 0)
    return record(out, (x, lambda g: where(a > 0, g, multiply(g, slope))))


def hardtanh(x: TensorLike, *, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x limited to min_val <= x <= max_val; the derivative at both is 0, where `clip` has 1."""
    low, high = as_number("hardtanh", "min_val", min_val), as_number("hardtanh", "max_val", max_val)
    if not low <= high:
        raise ArgumentError(f"hardtanh: expected min_val <= max_val, got {min_val} and {max_val}: exchange them")
    a = float_operand("hardtanh", x)
    out = module_of(a).minimum(module_of(a).maximum(a, weak(low, a)), weak(high, a))
    return record(out, (x, lambda g: where((a > low) & (a < high), g, 0.0)))


def relu6(x: TensorLike) -> Tensor:
    """x limited to 0 <= x <= 6; the derivative at both is 0."""
    a = float_operand("relu6", x)
    out = module_of(a).minimum(module_of(a).maximum(a, 0), 6)
    return record(out, (x, lambda g: where((a > 0) & (a < 6), g, 0.0)))


# --- smooth on both sides of 0 -----------------------------------------------------------------


def elu(x: TensorLike, *, alpha: float = 1.0) -> Tensor:
    """x where x > 0, else alpha (exp(x) - 1); the derivative at 0 is alpha.

    Source: Clevert, Unterthiner and Hochreiter, "Fast and accurate deep network learning by ELUs", 2015.
    """
    a = float_operand("elu", x)
    alpha = as_number("elu", "alpha", alpha)
    return record(_elu(a, alpha, 1.0, 1.0), (x, lambda g: multiply(g, _elu_slope(x, alpha, 1.0, 1.0))))


def selu(x: TensorLike) -> Tensor:
    """scale x where x > 0, else scale alpha (exp(x) - 1); the derivative at 0 is scale alpha. Keeps mean 0, variance 1.

    Source: Klambauer et al., "Self-normalizing neural networks", 2017, equation 2 and the numbers after 14.
    """
    a = float_operand("selu", x)
    numbers = (_SELU_ALPHA, _SELU_SCALE, 1.0)
    return record(_elu(a, *numbers), (x, lambda g: multiply(g, _elu_slope(x, *numbers))))


def celu(x: TensorLike, *, alpha: float = 1.0) -> Tensor:
    """x where x > 0, else alpha (exp(x / alpha) - 1): the derivative at 0 is 1 from both sides.

    Source: Barron, "Continuously differentiable exponential linear units", 2017.
    """
    a = float_operand("celu", x)
    alpha = as_number("celu", "alpha", alpha)
    if alpha == 0:
        raise ArgumentError("celu: expected alpha other than 0, got 0: use relu for the limit at 0")
    numbers = (alpha, 1.0, 1 / alpha)
    return record(_elu(a, *numbers), (x, lambda g: multiply(g, _elu_slope(x, *numbers))))


_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


def _elu(a: Array, alpha: float, scale: float, rate: float) -> Array:
    """scale x where x > 0, else scale alpha (exp(rate x) - 1)."""

    def value(t: Array) -> Array:
        xp = module_of(t)
        return scale * xp.where(t >= 0, t, alpha * xp.expm1(rate * xp.minimum(t, 0)))  # type: ignore[no-any-return]

    return precisely(value, a)


def _elu_slope(x: Any, alpha: float, scale: float, rate: float) -> Any:
    a = data(x)

    def value(t: Array) -> Array:
        xp = module_of(t)
        return scale * xp.where(t > 0, 1, alpha * rate * xp.exp(rate * xp.minimum(t, 0)))  # type: ignore[no-any-return]

    return record(
        precisely(value, a), (x, lambda g, y: multiply(g, where(a <= 0, multiply(y, rate), 0.0))), keep_output=True
    )


def softplus(x: TensorLike, *, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta, and x where beta x > threshold; beta > 0. It does not overflow for any threshold."""
    a = float_operand("softplus", x)
    beta, threshold = as_number("softplus", "beta", beta), as_number("softplus", "threshold", threshold)
    if not beta > 0:
        raise ArgumentError(f"softplus: expected beta > 0, got {beta}: negate x for a falling one")
    is_linear = a > threshold / beta

    def value(t: Array) -> Array:
        t = t * beta
        return (_log1p_exp_minus(t) + module_of(t).maximum(t, 0)) / beta  # type: ignore[no-any-return]

    out = module_of(a).where(is_linear, a, precisely(value, a))
    return record(out, (x, lambda g: multiply(g, where(is_linear, 1.0, sigmoid(multiply(x, beta))))))


def logsigmoid(x: TensorLike) -> Tensor:
    """log(sigmoid(x)), without overflow."""
    a = float_operand("logsigmoid", x)
    out = precisely(lambda t: module_of(t).minimum(t, 0) - _log1p_exp_minus(t), a)
    return record(out, (x, lambda g: multiply(g, sigmoid(negative(x)))))


def _log1p_exp_minus(t: Array) -> Array:
    """log(1 + exp(-|t|))."""
    xp = module_of(t)
    return xp.log1p(xp.exp(-xp.abs(t)))  # type: ignore[no-any-return]


def softsign(x: TensorLike) -> Tensor:
    """x / (1 + |x|)."""
    a = float_operand("softsign", x)
    out = a / (1 + module_of(a).abs(a))

    def vjp(g: Any) -> Any:
        size = add(abs(x), 1)
        return divide(divide(g, size), size)  # the square could overflow

    return record(out, (x, vjp))


def mish(x: TensorLike) -> Tensor:
    """x tanh(log(1 + exp(x))).

    Saves:   x.
    Source:  Misra, "Mish: a self regularized non-monotonic activation function", 2019.
    """
    a = float_operand("mish", x)

    def vjp(g: Any) -> Any:
        if type(g) is Tensor:
            return definition_vjp(mish_definition, [x], g)[0]
        return precisely(_mish_gradient, g, a)

    return record(precisely(_mish, a), (x, vjp))


def mish_definition(x: Tensor) -> Tensor:
    return multiply(x, tanh(softplus(x)))


# tanh(log(1 + e)) = n / (n + 2) with n = e (e + 2), which is 1 to the last bit from e = exp(21) on; there
# n^2 still fits float32.


def _mish(t: Array) -> Array:
    e = module_of(t).exp(module_of(t).minimum(t, 21))
    n = e * (e + 2)
    return t * (n / (n + 2))  # type: ignore[no-any-return]


def _mish_gradient(g: Array, t: Array) -> Array:
    t = module_of(t).minimum(t, 21)
    e = module_of(t).exp(t)
    n = e * (e + 2)
    return g * (n / (n + 2) + t * (4 * e * (e + 1) / (n + 2) ** 2))  # type: ignore[no-any-return]


# --- x times a distribution function -----------------------------------------------------------


def gelu(x: TensorLike, *, approximate: str = "none") -> Tensor:
    """x times the normal distribution function of x.

        none: x (1 + erf(x / sqrt(2))) / 2        tanh: x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2

    Raises:  DTypeError; ArgumentError for another `approximate`.
    Saves:   x.
    Source:  Hendrycks and Gimpel, "Gaussian error linear units", 2016; tanh is GPT-2's.
    """
    check_option("gelu", "approximate", approximate, "none", "tanh")
    a = float_operand("gelu", x)

    def vjp(g: Any) -> Any:
        if type(g) is Tensor:
            return definition_vjp(lambda x: gelu_definition(x, approximate), [x], g)[0]
        return kernels_for(g).gelu_gradient(g, a, approximate)

    return record(kernels_for(a).gelu(a, approximate), (x, vjp))


def gelu_definition(x: Tensor, approximate: str) -> Tensor:
    if approximate == "tanh":
        # (1 + tanh(v)) / 2 = sigmoid(2 v), which is 0 or 1 beyond 40, where x^3 could overflow.
        t = clip(x, -40, 40)
        inner = multiply(add(t, multiply(multiply(square(t), t), 0.044715)), math.sqrt(2 / math.pi))
        return multiply(x, sigmoid(multiply(inner, 2)))
    # (1 + erf(v)) / 2 = erfc(-v) / 2
    return multiply(multiply(x, erfc(multiply(x, -math.sqrt(0.5)))), 0.5)


def silu(x: TensorLike) -> Tensor:
    """x sigmoid(x), also called swish. Saves x."""
    a = float_operand("silu", x)

    def vjp(g: Any) -> Any:
        if type(g) is Tensor:
            return definition_vjp(silu_definition, [x], g)[0]
        return kernels_for(g).silu_gradient(g, a)

    return record(kernels_for(a).silu(a), (x, vjp))


def silu_definition(x: Tensor) -> Tensor:
    return multiply(x, sigmoid(x))


def swiglu(x: TensorLike) -> Tensor:
    """silu(gate) * value, where gate and value are the halves of the last axis.

    Args:    x (..., 2 F).
    Returns: (..., F).
    Raises:  ShapeError (an odd last axis), DTypeError.
    Saves:   x.
    Source:  Shazeer, "GLU variants improve transformer", 2020, equation 6.
    """
    a = float_operand("swiglu", x)
    if not a.ndim or a.shape[-1] % 2 or not a.shape[-1]:
        raise ShapeError(
            f"swiglu: expected a last axis of even size > 0, gate and value, got shape {a.shape}: "
            "put gate and value side by side"
        )

    def vjp(g: Any) -> Any:
        if type(g) is Tensor:
            return definition_vjp(swiglu_definition, [x], g)[0]
        return kernels_for(g).swiglu_gradient(g, a)

    return record(kernels_for(a).swiglu(a), (x, vjp))


def swiglu_definition(x: Tensor) -> Tensor:
    gate, value = split(x, 2, axis=-1)
    return multiply(silu_definition(gate), value)
