"""Errors in units in the last place: of float64 against 60 digits, of float32 against float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.array import Array

Function = Callable[[Any], Any]

OURS: dict[str, Function] = {
    "gelu tanh": lambda x: tg.gelu(x, approximate="tanh"),
    **{
        name: getattr(tg, name)
        for name in (
            "erf",
            "erfc",
            "sigmoid",
            "silu",
            "softplus",
            "logsigmoid",
            "gelu",
            "mish",
            "elu",
            "selu",
            "softsign",
        )
    },
}

# The largest errors of values and of derivatives: in float32 over all of its numbers, in float64 over |x| < 26.
LIMITS = {
    "float32": {
        "erf": (0.501, 2),
        "erfc": (0.501, 2),
        "sigmoid": (0.501, 2),
        "silu": (4, 10),
        "softplus": (0.501, 0.501),
        "logsigmoid": (0.501, 0.501),
        "gelu": (80, 80),
        "gelu tanh": (260, 260),
        "mish": (0.501, 0.501),
        "elu": (0.501, 0.501),
        "selu": (0.501, 0.501),
        "softsign": (2, 3),
    },
    "float64": {
        "erf": (2, 3),
        "erfc": (6, 3),
        "sigmoid": (3, 4),
        "silu": (3, 16),
        "softplus": (2, 3),
        "logsigmoid": (2, 3),
        "gelu": (8, 10),
        "gelu tanh": (1000, 1200),
        "mish": (4, 10),
        "elu": (1, 1),
        "selu": (3, 3),
        "softsign": (2, 4),
    },
}
# Near a root of the derivative the relative error has no bound: within 0.25 of ROOTS it is not asserted.
ROOTS = {"silu": -1.27846, "gelu": -0.75179, "gelu tanh": -0.75246, "mish": -1.19225}


def value_and_slope(f: Function, x: Array) -> tuple[Array, Array]:
    leaf = tg.tensor(x, requires_grad=True)
    with np.errstate(over="ignore"):  # selu of the largest number
        out = f(leaf)
    (slope,) = tg.grad(out, leaf, np.ones_like(out.numpy()))
    return out.numpy(), slope.numpy()


def errors(got: Array, truth: Array) -> Array:
    """Errors in units in the last place of the truth, rounded to the dtype of `got`; 0 where it overflows that."""
    info = np.finfo(got.dtype)
    exponent = np.frexp(np.maximum(np.abs(truth), float(info.smallest_normal)))[1] - 1
    is_finite = np.abs(truth) <= float(info.max)
    with np.errstate(invalid="ignore"):
        return np.where(is_finite, np.abs(got.astype(np.float64) - truth) * 2.0 ** (info.nmant - exponent), 0)


def every_float32() -> Array:
    """A 5,000th of all finite float32 numbers, subnormal and huge ones too, and more of those that matter."""
    numbers = np.arange(0, 1 << 32, 4999, dtype=np.uint64).astype(np.uint32).view(np.float32)
    near = [np.linspace(-size, size, 100_001, dtype=np.float32) for size in (1.5, 12, 110)]
    return np.concatenate([numbers[np.isfinite(numbers)], *near])


@pytest.mark.parametrize(
    ("name", "low"),
    [("exp", -np.inf), ("expm1", -np.inf), ("tanh", -np.inf), ("sin", -np.inf), ("log", 0), ("log1p", -1), ("sqrt", 0)],
)
def test_what_numpy_has_is_numpy_s(name: str, low: float) -> None:
    x = every_float32()
    x = x[x >= low]
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(getattr(tg, name)(tg.tensor(x)).numpy(), getattr(np, name)(x))


@pytest.mark.parametrize("name", OURS)
def test_float32(name: str) -> None:
    x = every_float32()
    found = value_and_slope(OURS[name], x)
    truths = value_and_slope(OURS[name], x.astype(np.float64))
    is_counted = np.abs(x - ROOTS.get(name, math.inf)) > 0.25
    for got, truth, limit, counted in zip(found, truths, LIMITS["float32"][name], (True, is_counted), strict=True):
        assert got.dtype == np.float32
        assert np.max(errors(got, truth) * counted) <= limit


@pytest.mark.oracle
@pytest.mark.parametrize("name", OURS)
def test_float32_is_no_further_from_the_truth_than_pytorch_s(name: str) -> None:
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    theirs = {
        "gelu tanh": lambda t: functional.gelu(t, approximate="tanh"),
        **{n: getattr(torch, n) for n in ("erf", "erfc", "sigmoid")},
    }.get(name) or getattr(functional, name)
    x = every_float32()
    t = torch.tensor(x, requires_grad=True)
    out = theirs(t)
    (slope,) = torch.autograd.grad(out.sum(), t)
    found = value_and_slope(OURS[name], x)
    truths = value_and_slope(OURS[name], x.astype(np.float64))
    for got, other, truth in zip(found, (out.detach().numpy(), slope.numpy()), truths, strict=True):
        assert np.max(errors(got, truth)) <= np.nanmax(errors(other, truth)) + 0.01


# --- float64 -----------------------------------------------------------------------------------


def in_60_digits() -> Any:
    """name -> (value, derivative), functions of mpmath's numbers."""
    mpmath = pytest.importorskip("mpmath")
    mp, mpf = mpmath.mp, mpmath.mpf
    mp.dps = 60
    exp, log1p, tanh = mp.exp, mp.log1p, mp.tanh

    def s(x: Any) -> Any:
        return 1 / (1 + exp(-x))

    def phi(x: Any) -> Any:
        return mp.erfc(-x / mp.sqrt(2)) / 2

    def bell(x: Any) -> Any:
        return 2 / mp.sqrt(mp.pi) * exp(-x * x)

    def v(x: Any) -> Any:
        return 2 * mp.sqrt(2 / mp.pi) * (x + mpf(0.044715) * x**3)

    def slope_of_v(x: Any) -> Any:
        return 2 * mp.sqrt(2 / mp.pi) * (1 + 3 * mpf(0.044715) * x**2)

    alpha, scale = mpf("1.6732632423543772848170429916717"), mpf("1.0507009873554804934193349852946")
    return mpf, {
        "erf": (mp.erf, bell),
        "erfc": (mp.erfc, lambda x: -bell(x)),
        "sigmoid": (s, lambda x: s(x) * s(-x)),
        "silu": (lambda x: x * s(x), lambda x: s(x) * (1 + x * s(-x))),
        "softplus": (lambda x: x if x > 20 else log1p(exp(x)), lambda x: mpf(1) if x > 20 else s(x)),
        "logsigmoid": (lambda x: -log1p(exp(-x)), lambda x: s(-x)),
        "gelu": (lambda x: x * phi(x), lambda x: phi(x) + x * exp(-x * x / 2) / mp.sqrt(2 * mp.pi)),
        "gelu tanh": (lambda x: x * s(v(x)), lambda x: s(v(x)) * (1 + x * s(-v(x)) * slope_of_v(x))),
        "mish": (
            lambda x: x * tanh(log1p(exp(x))),
            lambda x: tanh(log1p(exp(x))) + x * s(x) / mp.cosh(log1p(exp(x))) ** 2,
        ),
        "elu": (lambda x: x if x > 0 else mp.expm1(x), lambda x: mpf(1) if x > 0 else exp(x)),
        "selu": (
            lambda x: scale * (x if x > 0 else alpha * mp.expm1(x)),
            lambda x: scale * (mpf(1) if x > 0 else alpha * exp(x)),
        ),
        "softsign": (lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2),
    }


@pytest.mark.parametrize("name", OURS)
def test_float64(name: str) -> None:
    mpf, table = in_60_digits()
    rng = np.random.default_rng(3)
    small = np.exp(rng.uniform(-300, 0, 100)) * rng.choice([-1, 1], 100)
    x = np.concatenate([rng.uniform(-26, 26, 300), rng.uniform(-3, 3, 300), small, [0.0]])
    is_far_from_root = np.abs(x - ROOTS.get(name, math.inf)) > 0.25
    for got, truth, limit, counted in zip(
        value_and_slope(OURS[name], x), table[name], LIMITS["float64"][name], (True, is_far_from_root), strict=True
    ):
        exact = [truth(mpf(float(a))) for a in x]
        # The error as a difference of long numbers, in units of the rounded truth.
        difference = np.array([float(mpf(float(a)) - b) for a, b in zip(got, exact, strict=True)])
        rounded = np.array([float(b) for b in exact])
        units = np.spacing(np.maximum(np.abs(rounded), 2.0**-1000))
        assert np.max(np.abs(difference) / units * counted) <= limit


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_below_zero_results_are_still_right_relative_to_themselves(dtype: str) -> None:
    x = np.array([-20.0, -60.0, -87.0, -88.5, -100.0], dtype)
    least = float(np.finfo(dtype).smallest_subnormal)
    expected = [a * math.exp(a) for a in x.tolist()]
    slopes = [(1 + a) * math.exp(a) for a in x.tolist()]
    for ones, f in ((0, tg.silu), (1, tg.swiglu)):
        pairs = np.stack([x] + [np.ones_like(x)] * ones, axis=1)
        out, slope = value_and_slope(f, pairs)
        np.testing.assert_allclose(out[:, 0], expected, rtol=1e-6, atol=least)
        np.testing.assert_allclose(slope[:, 0], slopes, rtol=1e-6, atol=least)
    tail = tg.erfc(tg.tensor(np.array([9.0, 10.0, 26.0], dtype))).numpy()
    np.testing.assert_allclose(
        tail, [math.erfc(v) for v in (9, 10, 26)], rtol=1e-6 if dtype == "float32" else 1e-15, atol=least
    )
