"""The kernels against their definitions in float64, for shapes that do not fit their blocks, and any strides."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tensorgrad import Key
from tensorgrad.kernels import Kernels, kernels_for
from tensorgrad.kernels.attending import Attending
from tensorgrad.kernels.bfloat16 import to_float32
from tensorgrad.kernels.reference import blocks
from tensorgrad.kernels.reference.attention import QUERY_BLOCK
from tensorgrad.kernels.threads import threads
from tensorgrad.random import RowKeys, as_pairs
from tests.tensorgrad.tolerances import TOLERANCES

BLOCK = blocks.BLOCK_ELEMENTS
# (rows, width): one, none, a few; more rows than a block, ragged; rows wider than a block; one column.
SHAPES = [(1, 5), (0, 5), (7, 3), (BLOCK // 16 + 5, 16), (3, BLOCK + 7), (2 * BLOCK + 1, 1)]
DTYPES = ["float64", "float32"]


@pytest.fixture(params=["reference", "compiled"])
def kernels(request: pytest.FixtureRequest) -> Any:
    """Each set of kernels in turn: all must match the definitions."""
    if request.param == "compiled":
        pytest.importorskip("numba")
    return importlib.import_module(f"tensorgrad.kernels.{request.param}")


def normal(shape: tuple[int, ...], dtype: str, seed: int = 0, layout: str = "plain") -> np.ndarray:
    rng = np.random.default_rng([seed, *shape])
    if layout == "strided":
        return rng.normal(size=(*shape[:-1], 2 * shape[-1])).astype(dtype)[..., ::-2]
    if layout == "fortran":
        return np.asfortranarray(rng.normal(size=shape).astype(dtype))
    return rng.normal(size=shape).astype(dtype)


def assert_close(got: np.ndarray, expected: Any, dtype: str, units: float = 4) -> None:
    expected = np.asarray(expected)
    assert got.shape == expected.shape
    scale = max(1.0, np.abs(expected).max(initial=0.0))
    assert np.abs(got - expected).max(initial=0.0) <= units * TOLERANCES[dtype] * scale


def soft(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def phi(x: np.ndarray) -> np.ndarray:
    return np.array([(1 + math.erf(v / math.sqrt(2))) / 2 for v in x.ravel()]).reshape(x.shape)


def density(x: np.ndarray) -> np.ndarray:
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


ROWS: dict[str, tuple[Callable[..., Any], Callable[..., Any], int]] = {
    "erf": (lambda k, x: k.erf(x), lambda x: 2 * phi(x * math.sqrt(2)) - 1, 1),
    "gelu": (lambda k, x: k.gelu(x, "none"), lambda x: x * phi(x), 1),
    "gelu_gradient": (
        lambda k, g, x: k.gelu_gradient(g, x, "none"),
        lambda g, x: g * (phi(x) + x * density(x)),
        2,
    ),
    "gelu tanh": (lambda k, x: k.gelu(x, "tanh"), gelu_tanh, 1),
    "silu": (lambda k, x: k.silu(x), lambda x: x * sigmoid(x), 1),
    "silu_gradient": (
        lambda k, g, x: k.silu_gradient(g, x),
        lambda g, x: g * (sigmoid(x) + x * sigmoid(x) * sigmoid(-x)),
        2,
    ),
    "softmax": (lambda k, x: k.softmax(x), soft, 1),
    "softmax_gradient": (
        lambda k, g, y: k.softmax_gradient(g, y),
        lambda g, y: y * (g - (g * y).sum(axis=-1, keepdims=True)),
        2,
    ),
    "log_softmax": (lambda k, x: k.log_softmax(x), lambda x: np.log(soft(x)), 1),
    "log_softmax_gradient": (
        lambda k, g, y: k.log_softmax_gradient(g, y),
        lambda g, y: g - np.exp(y) * g.sum(axis=-1, keepdims=True),
        2,
    ),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ROWS)
def test_row_kernels_are_their_definitions(kernels: Kernels, name: str, shape: tuple[int, int], dtype: str) -> None:
    kernel, definition, count = ROWS[name]
    xs = [normal(shape, dtype, seed) for seed in range(count)]
    before = [x.copy() for x in xs]
    out = kernel(kernels, *xs)
    assert out.dtype == dtype
    wide = [x.astype(np.float64) for x in xs]
    units = 4 + shape[1] / 500 if "softmax" in name else 4
    assert_close(out, definition(*wide), dtype, units)
    for x, was in zip(xs, before, strict=True):
        np.testing.assert_array_equal(x, was)  # no argument is written to


@pytest.mark.parametrize("layout", ["strided", "fortran"])
@pytest.mark.parametrize("name", ROWS)
def test_row_kernels_take_any_strides(kernels: Kernels, name: str, layout: str) -> None:
    kernel, definition, count = ROWS[name]
    xs = [normal((33, 7), "float64", seed, layout) for seed in range(count)]
    assert_close(kernel(kernels, *xs), definition(*xs), "float64")


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_sums_over_rows_and_a_row_written_to_all(kernels: Kernels, dtype: str) -> None:
    x = normal((3000, 5), dtype)
    for a in (x, np.asfortranarray(x), x[::2, 1:]):
        for target in (dtype, "float32" if dtype == "float16" else dtype):
            sums = kernels.column_sums(a, np.dtype(target))
            assert sums.dtype == target
            np.testing.assert_allclose(sums, a.astype(float).sum(axis=0), rtol=1e-3 if target == "float16" else 1e-4)
    whole = np.zeros((4, 7), dtype)
    kernels.fill_rows(whole[:, 1:6], x[0])
    np.testing.assert_array_equal(whole[:, 1:6], np.broadcast_to(x[0], (4, 5)))
    assert (whole[:, [0, 6]] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 6), (0, 6), (7, 4), (300, 34), (BLOCK // 16 + 5, 16)], ids=str)
@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu_squared", "swiglu"])
def test_an_mlp_s_activation(kernels: Kernels, activation: str, shape: tuple[int, int], dtype: str) -> None:
    width = shape[1] // 2 if activation == "swiglu" else shape[1]
    x, bias, g = normal(shape, dtype), normal(shape[1:], dtype, 1), normal((shape[0], width), dtype, 2)
    h = x + bias
    value: Callable[..., np.ndarray] = {
        "gelu": lambda h: kernels.gelu(h, "none"),
        "gelu_tanh": lambda h: kernels.gelu(h, "tanh"),
        "relu_squared": lambda h: np.where(h > 0, h * h, 0),
        "swiglu": kernels.swiglu,
    }[activation]
    gradient: Callable[..., np.ndarray] = {
        "gelu": lambda g, h: kernels.gelu_gradient(g, h, "none"),
        "gelu_tanh": lambda g, h: kernels.gelu_gradient(g, h, "tanh"),
        "relu_squared": lambda g, h: np.where(h > 0, 2 * h * g, 0),
        "swiglu": kernels.swiglu_gradient,
    }[activation]
    for b in (bias, None):
        given = x.copy() if b is bias else h.copy()
        y = kernels.mlp_activation(given, b, activation, False)
        np.testing.assert_array_equal(given, h)
        assert_close(y, value(h), dtype)
        for has_bias in (False, True):
            again, dx, dbias = kernels.mlp_activation_gradient(g.copy(), h, activation, False, has_bias)
            assert_close(again, value(h), dtype)
            assert_close(dx, gradient(g, h), dtype)
            assert (dbias is None) == (not has_bias)
            if dbias is not None:
                assert dbias.dtype == dtype
                assert_close(dbias, gradient(g, h).astype(np.float64).sum(axis=0), dtype, 16)


def test_gelu_tanh_gradient_is_a_difference_quotient(kernels: Kernels) -> None:
    x, g, h = normal((40, 5), "float64"), normal((40, 5), "float64", 1), 1e-4
    slope = (8 * (gelu_tanh(x + h) - gelu_tanh(x - h)) - (gelu_tanh(x + 2 * h) - gelu_tanh(x - 2 * h))) / (12 * h)
    np.testing.assert_allclose(kernels.gelu_gradient(g, x, "tanh"), g * slope, rtol=1e-9, atol=1e-11)


def test_erf_is_exact_to_the_last_bits_everywhere(kernels: Kernels) -> None:
    x = np.concatenate([np.linspace(-7, 7, 20_001), [1.0, -1.0, 6.0, -6.0, 1e-300, -0.0, 40.0, np.inf, -np.inf]])
    expected = np.array([math.erf(v) for v in x])
    np.testing.assert_allclose(kernels.erf(x), expected, rtol=4e-16, atol=0)
    assert math.copysign(1, kernels.erf(np.array([-0.0]))[0]) == -1
    assert np.isnan(kernels.erf(np.array([np.nan]))).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 6), (0, 6), (7, 4), (BLOCK // 16 + 5, 16), (3, 2 * (BLOCK // 2 + 7))], ids=str)
def test_swiglu(kernels: Kernels, shape: tuple[int, int], dtype: str) -> None:
    x, g = normal(shape, dtype), normal((shape[0], shape[1] // 2), dtype, 1)
    wide, g_wide = x.astype(np.float64), g.astype(np.float64)
    gate, value = np.split(wide, 2, axis=1)
    s = sigmoid(gate)
    assert_close(kernels.swiglu(x), gate * s * value, dtype)
    expected = np.concatenate([g_wide * value * (s + gate * s * (1 - s)), g_wide * gate * s], axis=1)
    assert_close(kernels.swiglu_gradient(g, x), expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_layer_norm_and_rms_norm(kernels: Kernels, shape: tuple[int, int], dtype: str) -> None:
    rows, width = shape
    x, g = normal(shape, dtype), normal(shape, dtype, 1)
    weight, bias = normal((width,), dtype, 2), normal((width,), dtype, 3)
    xw, gw, ww, bw = (a.astype(np.float64) for a in (x, g, weight, bias))
    eps = 1e-2
    grows = 8 + math.sqrt(rows * width) / 20  # rounding of sums of random signs
    rstd = 1 / np.sqrt(xw.var(axis=1, keepdims=True) + eps)
    normed = (xw - xw.mean(axis=1, keepdims=True)) * rstd
    out, mean, got_rstd = kernels.layer_norm(x, weight, bias, eps)
    assert_close(out, normed * ww + bw, dtype, grows)
    assert_close(mean, xw.mean(axis=1, keepdims=True), dtype, grows)
    assert_close(got_rstd, rstd, dtype, grows)
    t = gw * ww
    dx = rstd * (t - t.mean(axis=1, keepdims=True) - normed * (t * normed).mean(axis=1, keepdims=True))
    results = kernels.layer_norm_gradient(g, x, weight, mean, got_rstd)
    for got, expected in zip(results, (dx, (gw * normed).sum(axis=0), gw.sum(axis=0)), strict=True):
        assert got.dtype == dtype
        assert_close(got, expected, dtype, grows)
    assert_close(kernels.layer_norm(x, weight, None, eps)[0], normed * ww, dtype, grows)

    rstd = 1 / np.sqrt((xw * xw).mean(axis=1, keepdims=True) + eps)
    normed = xw * rstd
    out, got_rstd = kernels.rms_norm(x, weight, eps)
    assert_close(out, normed * ww, dtype, grows)
    dx = rstd * (t - normed * (t * normed).mean(axis=1, keepdims=True))
    for got, expected in zip(
        kernels.rms_norm_gradient(g, x, weight, got_rstd), (dx, (gw * normed).sum(axis=0)), strict=True
    ):
        assert_close(got, expected, dtype, grows)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_norms_without_a_weight_are_those_of_ones(kernels: Kernels, shape: tuple[int, int], dtype: str) -> None:
    """Bit for bit."""
    x, g, bias, ones = (
        normal(shape, dtype),
        normal(shape, dtype, 1),
        normal(shape[1:], dtype, 2),
        np.ones(shape[1:], dtype),
    )
    for given in (bias, None):
        out, mean, rstd = kernels.layer_norm(x, None, given, 1e-2)
        np.testing.assert_array_equal(out, kernels.layer_norm(x, ones, given, 1e-2)[0])
    dx, dweight, dbias = kernels.layer_norm_gradient(g, x, None, mean, rstd)
    expected = kernels.layer_norm_gradient(g, x, ones, mean, rstd)
    np.testing.assert_array_equal(dx, expected[0])
    np.testing.assert_array_equal(dbias, expected[2])
    assert dweight is None
    out, rstd = kernels.rms_norm(x, None, 1e-2)
    np.testing.assert_array_equal(out, kernels.rms_norm(x, ones, 1e-2)[0])
    dx, dweight = kernels.rms_norm_gradient(g, x, None, rstd)
    np.testing.assert_array_equal(dx, kernels.rms_norm_gradient(g, x, ones, rstd)[0])
    assert dweight is None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cross_entropy(kernels: Kernels, shape: tuple[int, int], dtype: str) -> None:
    rows, classes = shape
    logits, spread = normal(shape, dtype), normal((classes,), dtype, 1) ** 2
    rng = np.random.default_rng(0)
    targets = rng.integers(0, classes, rows)
    wide = logits.astype(np.float64)
    p = soft(wide)
    one_hot = np.zeros(shape)
    one_hot[np.arange(rows), targets] = 1
    losses, spread_losses, largest, total = kernels.cross_entropy(logits, targets, spread)
    assert_close(losses, -np.log(p[np.arange(rows), targets]), dtype)
    assert_close(spread_losses, -(np.log(p) * spread).sum(axis=1), dtype, 4 + classes / 500)
    assert_close(largest, wide.max(axis=1), dtype)
    assert_close(total, np.exp(wide - wide.max(axis=1, keepdims=True)).sum(axis=1), dtype, 4 + classes / 500)
    a, b, c = (normal((rows,), dtype, seed) for seed in range(3))
    expected = a[:, None] * p - b[:, None] * one_hot - c[:, None] * spread
    results = kernels.cross_entropy_gradient(a, b, c, logits, targets, spread, largest, total)
    assert results.dtype == dtype
    assert_close(results, expected, dtype)
    assert kernels.cross_entropy(logits, targets, None)[1] is None
    results = kernels.cross_entropy_gradient(a, b, c, logits, targets, None, largest, total)
    assert_close(results, a[:, None] * p - b[:, None] * one_hot, dtype)
    for smooth in (None, spread):
        results = kernels.cross_entropy_gradient(a, b, c, logits, targets, smooth, largest, total)
        for out in (np.full_like(logits, np.nan), logits.copy()):
            given = logits if np.isnan(out).all() else out
            got = kernels.cross_entropy_gradient(a, b, c, given, targets, smooth, largest, total, out_NV=out)
            assert got is out
            np.testing.assert_array_equal(out, results)
            if dtype == "float32":
                given = logits if given is logits else logits.copy()
                out = given if given is not logits else np.full_like(logits, np.nan)
                operands = (a, b, c, given, targets, smooth, largest, total)
                narrow = kernels.cross_entropy_gradient(*operands, out_NV=out, is_rounded=True)
                assert np.may_share_memory(narrow, out) or not narrow.size
                exponent = np.frexp(results.astype(np.float64))[1]
                rounded = np.ldexp(np.round(np.ldexp(results.astype(np.float64), 8 - exponent)), exponent - 8)
                np.testing.assert_array_equal(to_float32(narrow), rounded)


def test_a_row_without_a_target_is_nothing_whatever_is_in_it(kernels: Kernels) -> None:
    x = np.array([[1.0, 2.0, 3.0], [np.nan, np.inf, 0.0]], np.float32)
    targets, spread = np.array([2, -1]), np.ones(3, np.float32)
    with np.errstate(invalid="ignore"):
        losses, spread_losses, largest, total = kernels.cross_entropy(x, targets, spread)
        assert spread_losses is not None
        assert [a[1] for a in (losses, spread_losses, largest, total)] == [0, 0, 0, 1]
        assert (losses[0] > 0) & (spread_losses[0] > 0)
        factors = [np.array([1.0, np.nan], np.float32)] * 3
        out = kernels.cross_entropy_gradient(*factors, x, targets, spread, largest, total)
    assert out[1].tolist() == [0, 0, 0]
    assert (out[0] != 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lengths", [(1, 1), (3, 5), (0, 4), (4, 0), (QUERY_BLOCK + 2, 7)], ids=str)
def test_attention_s_statistics_and_gradients(kernels: Kernels, lengths: tuple[int, int], dtype: str) -> None:
    queries, keys = lengths
    q, k, v, g = (
        normal(shape, dtype, seed)
        for seed, shape in enumerate(((3, 2, queries, 4), (3, 2, keys, 4), (3, 2, keys, 5), (3, 2, queries, 5)))
    )
    before = [a.copy() for a in (q, k, v, g)]
    attending = Attending(is_causal=False, scale=0.5)
    out, logsumexp = kernels.attention(q, k, v, attending)
    qw, kw, vw, gw = (a.astype(np.float64) for a in (q, k, v, g))
    scores = np.einsum("bhtd,bhsd->bhts", qw, kw) * 0.5
    weights = np.exp(scores)
    total = weights.sum(axis=-1)
    if keys:
        assert_close(logsumexp, np.log(total), dtype)
    else:
        assert (logsumexp == -np.inf).all()
    weights = weights / np.where(total == 0, 1, total)[..., None]
    expected = np.einsum("bhts,bhse->bhte", weights, vw)
    assert_close(out, expected, dtype)
    dweights = np.einsum("bhte,bhse->bhts", gw, vw)
    dscores = weights * (dweights - (gw * expected).sum(axis=-1, keepdims=True)) * 0.5
    gradients = (
        np.einsum("bhts,bhsd->bhtd", dscores, kw),
        np.einsum("bhts,bhtd->bhsd", dscores, qw),
        np.einsum("bhts,bhte->bhse", weights, gw),
    )
    for got, want in zip(kernels.attention_gradient(g, q, k, v, out, logsumexp, attending), gradients, strict=True):
        assert got.dtype == dtype
        assert_close(got, want, dtype, 12)
    for a, was in zip((q, k, v, g), before, strict=True):
        np.testing.assert_array_equal(a, was)


def test_results_do_not_depend_on_the_number_of_threads(kernels: Kernels) -> None:
    x, g = normal((BLOCK // 4, 16), "float32"), normal((BLOCK // 4, 16), "float32", 1)
    weight = normal((16,), "float32", 2)

    def results() -> list[np.ndarray]:
        _, mean, rstd = kernels.layer_norm(x, weight, None, 1e-5)
        return [*kernels.layer_norm_gradient(g, x, weight, mean, rstd), np.asarray(kernels.global_norm(x.ravel()))]

    alone = results()
    for count in (1, 2, 3):
        with threads(count):
            for one, many in zip(alone, results(), strict=True):
                np.testing.assert_array_equal(one, many)


# --- the rest ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.int8])
@pytest.mark.parametrize("shape", [(5, 3), (300, 2), (4,), (3, 2, 2), (3, 0)])
def test_scatter_add_of_rows(kernels: Kernels, shape: tuple[int, ...], kind: type) -> None:
    rng = np.random.default_rng(0)
    index = rng.integers(0, min(shape[0], 100), (6, 2)).astype(kind)
    values = rng.normal(size=(6, 2, *shape[1:]))
    buffer = rng.normal(size=shape)
    expected = buffer.copy()
    np.add.at(expected, index.astype(int), values)
    kernels.scatter_add(buffer, index, values)
    np.testing.assert_allclose(buffer, expected, rtol=1e-13)


def test_scatter_add_of_nothing_negative_rows_and_pairs(kernels: Kernels) -> None:
    buffer = np.ones((3, 2))
    kernels.scatter_add(buffer, np.zeros((0,), int), np.zeros((0, 2)))
    np.testing.assert_array_equal(buffer, 1)
    kernels.scatter_add(buffer, np.array([-1, 2, 2]), np.ones((3, 2)))
    np.testing.assert_array_equal(buffer[2], [4, 4])
    kernels.scatter_add(buffer, (np.array([0, 0]), np.array([1, 1])), np.array([10.0, 20.0]))
    np.testing.assert_array_equal(buffer[0], [1, 31])


def test_scatter_add_has_one_order_of_summation(kernels: Kernels) -> None:
    rng = np.random.default_rng(1)
    index, values = rng.integers(0, 7, 5000), rng.normal(size=(5000, 3)).astype(np.float32)
    first, second = np.zeros((7, 3), np.float32), np.zeros((7, 3), np.float32)
    kernels.scatter_add(first, index, values)
    kernels.scatter_add(second, index, values.copy(order="F"))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("size", [0, 1, 5, BLOCK, 2 * BLOCK + 3])
def test_global_norm_is_accumulated_in_float64(kernels: Kernels, size: int) -> None:
    flat = normal((size,), "float32")
    expected = math.sqrt(math.fsum(float(v) ** 2 for v in flat))
    np.testing.assert_allclose(kernels.global_norm(flat), expected, rtol=1e-13)
    if size > 1:
        # A float32 sum of squares would stop growing, or overflow.
        assert kernels.global_norm(np.full(size, 1e30, np.float32)) == pytest.approx(1e30 * math.sqrt(size), rel=1e-6)


def textbook_adamw(p: float, gs: list[float], lr: float, beta1: float, beta2: float, eps: float, decay: float) -> float:
    """Loshchilov and Hutter, "Decoupled weight decay regularization", 2019, algorithm 2, one number at a time."""
    m = v = 0.0
    for step, g in enumerate(gs, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        m_hat, v_hat = m / (1 - beta1**step), v / (1 - beta2**step)
        p = p - lr * (m_hat / (math.sqrt(v_hat) + eps) + decay * p)
    return p


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("gradient_scale", [1.0, 0.25])
def test_adamw_is_the_textbook_s(kernels: Kernels, decay: float, gradient_scale: float) -> None:
    size, steps = BLOCK + 9, 5
    parameters, gradients = normal((size,), "float64"), normal((steps, size), "float64", 1)
    start = parameters.copy()
    m, v = np.zeros(size), np.zeros(size)
    options = {"beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": decay}
    for step in range(1, steps + 1):
        g = gradients[step - 1].copy()
        rates = np.array([0.01, 1 - 0.9**step, 1 - 0.95**step, gradient_scale])
        kernels.adamw(parameters, g, m, v, rates, **options)
        np.testing.assert_array_equal(g, gradients[step - 1])
    for i in (0, 1, BLOCK - 1, BLOCK, size - 1):
        expected = textbook_adamw(start[i], [gradient_scale * g for g in gradients[:, i]], 0.01, 0.9, 0.95, 1e-8, decay)
        np.testing.assert_allclose(parameters[i], expected, rtol=1e-12)


def test_adamw_in_float32_stays_float32_and_close(kernels: Kernels) -> None:
    size = 1000
    state = [normal((size,), "float32"), np.zeros(size, np.float32), np.zeros(size, np.float32)]
    start, g = state[0].copy(), normal((size,), "float32", 1)
    options = {"beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1}
    kernels.adamw(state[0], g, *state[1:], np.array([1e-3, 1 - 0.9, 1 - 0.95, 1.0]), **options)
    expected = [textbook_adamw(float(p), [float(d)], 1e-3, 0.9, 0.95, 1e-8, 0.1) for p, d in zip(start, g, strict=True)]
    assert {a.dtype for a in state} == {np.dtype("float32")}
    np.testing.assert_allclose(state[0], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("narrow", ["float16", "float32"])
@pytest.mark.parametrize("size", [0, 7, BLOCK + 9])
def test_adamw_writes_the_copy_that_cast_would_make(kernels: Kernels, dtype: str, narrow: str, size: int) -> None:
    def state() -> list[np.ndarray]:
        return [abs(normal((size,), dtype, i)) for i in range(4)]

    options: Any = {"beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1}
    ours, theirs, rates = state(), state(), np.array([1e-2, 0.1, 0.05, 0.5])
    copy = np.full(size, 7, narrow)
    kernels.adamw(*ours, rates, **options, copy=copy)
    kernels.adamw(*theirs, rates, **options)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(copy, kernels.cast(theirs[0], np.dtype(narrow)))
    out = np.empty(size, narrow)
    assert kernels.cast(theirs[0], np.dtype(narrow), out) is out
    np.testing.assert_array_equal(out, copy)
    kernels.adamw(*ours, np.array([1e-2, 0.1, 0.05, math.nan]), **options, copy=copy)
    np.testing.assert_array_equal(out, copy)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rope_in_place_is_rope(kernels: Kernels, dtype: str) -> None:
    whole, angles = normal((3, 50, 4, 64), dtype), normal((50, 32), dtype, 1)
    cos, sin = np.cos(angles), np.sin(angles)
    part, expected = whole.transpose(0, 2, 1, 3)[:, :3], whole.copy()
    expected[:, :, :3] = kernels.rope(part, cos, sin).transpose(0, 2, 1, 3)
    assert np.shares_memory(kernels.rope(part, cos, sin, part), whole)
    np.testing.assert_array_equal(whole, expected)


@pytest.mark.parametrize("shape", [(), (0, 3), (7, 5), (BLOCK // 16 + 5, 16), (3, BLOCK + 7)], ids=str)
def test_dropout_of_blocks_is_dropout_of_the_whole(kernels: Kernels, shape: tuple[int, ...]) -> None:
    for dtype in ("float16", "float32", "float64"):
        x = normal(shape, dtype)
        keys = [Key(5), RowKeys(Key(6).split(shape[0]))] if shape else [Key(5)]
        for key in keys:
            wide = x.astype("float32") if dtype == "float16" else x
            expected = np.where(key.uniform(shape) >= 0.1, wide * (1 / 0.9), 0).astype(dtype)
            got = kernels.dropout(x, as_pairs(key, "cpu"), 0.1)
            assert got.dtype == x.dtype
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("scale", [math.nan, math.inf])
def test_adamw_leaves_everything_where_the_factor_is_not_finite(kernels: Kernels, scale: float) -> None:
    state = [normal((7,), "float32", i) for i in range(4)]
    before = [a.copy() for a in state]
    kernels.adamw(*state, np.array([0.1, 0.1, 0.05, scale]), beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1)
    for a, old in zip(state, before, strict=True):
        np.testing.assert_array_equal(a, old)


def test_numpy_arrays_get_the_reference_kernels() -> None:
    kernels = kernels_for(np.ones(1))
    names = [name for name in vars(Kernels) if not name.startswith("_")]
    assert len(names) >= 20
    assert all(callable(getattr(kernels, name)) for name in names)
