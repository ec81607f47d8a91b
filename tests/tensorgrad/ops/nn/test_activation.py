"""Activations: conventions at corners, infinities, and what their arguments may be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tests.tensorgrad.ops.slopes import slopes

inf, nan = math.inf, math.nan


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(
    ("f", "at", "expected"),
    [
        (tg.relu, 0.0, 0.0),
        (tg.relu, nan, 1.0),
        (tg.leaky_relu, 0.0, 0.01),
        (lambda x: tg.leaky_relu(x, negative_slope=-2), -1.0, -2.0),
        (tg.hardtanh, 1.0, 0.0),
        (tg.hardtanh, -1.0, 0.0),
        (tg.hardtanh, 0.999, 1.0),
        (tg.relu6, 0.0, 0.0),
        (tg.relu6, 6.0, 0.0),
        (lambda x: tg.elu(x, alpha=2.0), 0.0, 2.0),
        (lambda x: tg.elu(x, alpha=2.0), -1e300, 0.0),
        (tg.selu, 0.0, 1.0507009873554805 * 1.6732632423543772),
        (lambda x: tg.celu(x, alpha=2.0), 0.0, 1.0),
        (tg.softplus, -800.0, 0.0),
        (tg.softplus, -700.0, math.exp(-700)),
        (tg.softplus, 20.0, 1 / (1 + math.exp(-20))),
        (tg.softplus, math.nextafter(20, 21), 1.0),
        (tg.logsigmoid, -1e300, 1.0),
        (tg.logsigmoid, 700.0, math.exp(-700)),
        (tg.logsigmoid, inf, 0.0),
        (tg.mish, -700.0, -699 * math.exp(-700)),
        (tg.mish, 1e300, 1.0),
        (tg.softsign, -1e150, 1e-300),
        (tg.silu, -700.0, -699 * math.exp(-700)),
        (tg.silu, -1e300, 0.0),
        (tg.silu, 1e300, 1.0),
        (tg.gelu, -1e300, 0.0),
        (tg.gelu, 1e300, 1.0),
        (lambda x: tg.gelu(x, approximate="tanh"), -1e300, 0.0),
        (lambda x: tg.gelu(x, approximate="tanh"), 1e300, 1.0),
    ],
)
def test_derivatives_at_corners_and_far_out(f: Any, at: float, expected: float, create_graph: bool) -> None:
    np.testing.assert_allclose(slopes(f, at, create_graph=create_graph), [expected], rtol=2e-12, atol=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_at_infinity_and_next_to_it_without_a_warning(dtype: str) -> None:
    largest = float(np.finfo(dtype).max)
    x = tg.tensor(np.array([inf, largest, -largest], dtype), requires_grad=True)
    for f, expected in (
        (tg.relu, [inf, largest, 0]),
        (tg.leaky_relu, [inf, largest, -0.01 * largest]),
        (tg.hardtanh, [1, 1, -1]),
        (tg.relu6, [6, 6, 0]),
        (tg.elu, [inf, largest, -1]),
        (tg.celu, [inf, largest, -1]),
        (tg.softplus, [inf, largest, 0]),
        (tg.logsigmoid, [0, 0, -largest]),
        (tg.mish, [inf, largest, 0]),
        (tg.silu, [inf, largest, 0]),
        (tg.gelu, [inf, largest, 0]),
        (lambda t: tg.gelu(t, approximate="tanh"), [inf, largest, 0]),
    ):
        np.testing.assert_allclose(f(x).numpy(), np.array(expected, dtype), rtol=1e-6)
        (slope,) = tg.grad(f(x[1:]).sum(), x)
        assert np.isfinite(slope.numpy()).all()
    lowest = tg.tensor(np.array([-inf, nan], dtype))
    for f, expected in (
        (tg.elu, -1),
        (tg.selu, -1.0507009873554805 * 1.6732632423543772),
        (tg.softplus, 0),
        (tg.logsigmoid, -inf),
        (tg.relu6, 0),
        (tg.leaky_relu, -inf),
    ):
        np.testing.assert_allclose(f(lowest).numpy(), np.array([expected, nan], dtype), rtol=1e-6)


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_softplus_with_any_threshold(beta: float) -> None:
    x = np.linspace(-50, 900, 77)
    exact = np.array([max(v, 0) + math.log1p(math.exp(-beta * abs(v))) / beta for v in x])
    np.testing.assert_allclose(tg.softplus(tg.tensor(x), beta=beta, threshold=1e6).numpy(), exact, rtol=1e-14)
    coarse = tg.softplus(tg.tensor(x), beta=beta, threshold=3).numpy()
    np.testing.assert_array_equal(coarse[x * beta > 3], x[x * beta > 3])
    np.testing.assert_allclose(coarse[x * beta <= 3], exact[x * beta <= 3], rtol=1e-14)


def test_celu_and_elu_are_one_function_where_alpha_is_1() -> None:
    x = tg.tensor(np.linspace(-3, 3, 13))
    np.testing.assert_array_equal(tg.elu(x).numpy(), tg.celu(x).numpy())
    np.testing.assert_allclose(tg.celu(x, alpha=0.5).numpy(), tg.elu(2 * x).numpy() / 2, rtol=1e-15)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda x: tg.leaky_relu(x, negative_slope=x), tg.DTypeError, "leaky_relu: expected negative_slope to be"),
        (lambda x: tg.elu(x, alpha="1"), tg.DTypeError, "elu: expected alpha to be a Python number, got '1'"),
        (lambda x: tg.celu(x, alpha=0), tg.ArgumentError, "celu: expected alpha other than 0"),
        (lambda x: tg.softplus(x, beta=0), tg.ArgumentError, "softplus: expected beta > 0, got 0"),
        (lambda x: tg.softplus(x, beta=-1.0), tg.ArgumentError, "softplus: expected beta > 0, got -1"),
        (lambda x: tg.softplus(x, threshold=None), tg.DTypeError, "softplus: expected threshold"),
        (lambda x: tg.hardtanh(x, min_val=1, max_val=0), tg.ArgumentError, "hardtanh: expected min_val <= max_val"),
        (lambda x: tg.hardtanh(x, min_val=nan), tg.ArgumentError, "hardtanh: expected min_val <= max_val"),
        (lambda x: tg.gelu(x, approximate="exact"), tg.ArgumentError, "gelu: expected approximate"),
        (lambda x: tg.mish(x.astype("int64")), tg.DTypeError, "mish: expected a float dtype"),
        (lambda x: tg.softsign(x.astype("int64")), tg.DTypeError, "softsign: expected a float dtype"),
        (lambda x: tg.swiglu(x), tg.ShapeError, "swiglu"),
    ],
)
def test_wrong_arguments(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call(tg.zeros(3))


@pytest.mark.parametrize(
    "name", ["sigmoid", "erf", "erfc", "silu", "gelu", "mish", "elu", "selu", "softplus", "logsigmoid"]
)
def test_float16_is_computed_in_float32_and_rounded_once(name: str) -> None:
    x = np.linspace(-14, 14, 2001).astype(np.float16)
    leaf, wide = tg.tensor(x, requires_grad=True), tg.tensor(x.astype(np.float64), requires_grad=True)
    out, expected = getattr(tg, name)(leaf), getattr(tg, name)(wide)
    assert out.dtype == np.float16
    pairs = ((out, expected), (tg.grad(out, leaf, np.ones_like(x))[0], tg.grad(expected, wide, np.ones(2001))[0]))
    for (got, truth), units in zip(pairs, (0.51, 2), strict=True):
        # Where a derivative passes 0 its terms' own rounding remains.
        unit = np.spacing(np.maximum(np.abs(truth.numpy()), 2.0**-14).astype(np.float16)).astype(np.float64)
        assert np.max(np.abs(got.numpy() - truth.numpy()) / unit) <= units


def test_the_third_order_of_mish() -> None:
    tg.check_grads(tg.mish, np.array([-2.0, -0.3, 0.7, 3.0]), order=3)
