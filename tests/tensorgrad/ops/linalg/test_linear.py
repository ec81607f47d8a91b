"""linear of 16-bit floats and of operands rounded to them: its values, its gradients, and what it refuses."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.kernels import gemm
from tests.cupy_stand_in.products import interpreting

needs_bfloat16 = pytest.mark.skipif(bool(gemm.bfloat16_problem()), reason=f"oneDNN: {gemm.bfloat16_problem()}")
SHAPES = [((5, 7), (3, 7)), ((2, 3, 40), (50, 40)), ((7,), (4, 7)), ((6, 1), (2, 1)), ((600, 200), (300, 200))]


def rounded(a: np.ndarray) -> np.ndarray:
    """To 8 bits of precision, ties to even, in NumPy's own arithmetic."""
    mantissa, exponent = np.frexp(a.astype(np.float64))
    return np.ldexp(np.round(mantissa * 2**8), exponent - 8)


def drawn(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


@needs_bfloat16
@pytest.mark.parametrize(("x_shape", "w_shape"), SHAPES)
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("is_threaded", [False, True])
def test_values_and_gradients_are_those_of_rounded_operands(
    x_shape: tuple[int, ...], w_shape: tuple[int, int], has_bias: bool, is_threaded: bool
) -> None:
    a, w, b, g = drawn(x_shape, w_shape, w_shape[:1], (*x_shape[:-1], w_shape[0]))
    x, weight, bias = (tg.tensor(value, requires_grad=True) for value in (a, w, b))

    def run() -> Any:
        y = tg.linear(x, weight, bias if has_bias else None, product_dtype="bfloat16")
        y.backward(g)
        return y.numpy()

    if is_threaded:
        with tg.threads(2):
            out = run()
    else:
        out = run()
    a_r, w_r, g_r = rounded(a).reshape(-1, x_shape[-1]), rounded(w), rounded(g).reshape(-1, w_shape[0])
    expected = (a_r @ w_r.T).reshape(out.shape) + (b if has_bias else 0)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(x.grad.numpy(), (g_r @ w_r).reshape(x_shape), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(weight.grad.numpy(), g_r.T @ a_r, rtol=1e-5, atol=1e-4)
    if has_bias:
        np.testing.assert_allclose(bias.grad.numpy(), g.reshape(-1, w_shape[0]).sum(0), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "uint16", "uint32"])
def test_integers_are_multiplied_as_integers(dtype: str) -> None:
    x, w, b = (np.arange(size, dtype=dtype).reshape(shape) for size, shape in ((6, (2, 3)), (12, (4, 3)), (4, (4,))))
    out = tg.linear(x, w, b)
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, x @ w.T + b)


@needs_bfloat16
def test_any_memory_order_and_no_rows_at_all() -> None:
    a, w = drawn((6, 8), (4, 8))
    plain = tg.linear(a, w, product_dtype="bfloat16")
    for other in (np.asfortranarray(a), np.repeat(a, 2, axis=1)[:, ::2], a[::-1].copy()[::-1]):
        np.testing.assert_array_equal(tg.linear(other, w, product_dtype="bfloat16"), plain)
    x = tg.tensor(np.zeros((0, 8), np.float32), requires_grad=True)
    weight = tg.tensor(w, requires_grad=True)
    tg.linear(x, weight, product_dtype="bfloat16").sum().backward()
    assert x.grad.shape == (0, 8)
    np.testing.assert_array_equal(weight.grad.numpy(), 0 * w)
    everywhere = tg.tensor(a, requires_grad=True)
    tg.linear(everywhere, w, product_dtype="bfloat16").sum().backward()  # a cotangent without memory of its own
    np.testing.assert_allclose(everywhere.grad.numpy(), np.broadcast_to(rounded(w).sum(0), a.shape), rtol=1e-5)


@needs_bfloat16
def test_a_second_derivative_is_float32_s_of_the_rounded_operands() -> None:
    a, w, b = drawn((5, 7), (3, 7), (3,))

    def second(product_dtype: str | None, *values: np.ndarray) -> list[np.ndarray]:
        xs = [tg.tensor(value.astype(np.float32), requires_grad=True) for value in values]
        y = tg.linear(*xs, product_dtype=product_dtype)
        first = tg.grad((y * y * y).sum(), xs, create_graph=True)
        return [g.numpy() for g in tg.grad(sum((g * g).sum() for g in first), xs)]  # type: ignore[arg-type]

    for got, expected in zip(second("bfloat16", a, w, b), second(None, rounded(a), rounded(w), b), strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(got / scale, expected / scale, atol=0.03)  # the cotangents stay unrounded


@needs_bfloat16
def test_a_write_after_the_forward_does_not_reach_the_gradient() -> None:
    a, w = drawn((5, 7), (3, 7))
    x, weight = (tg.tensor(value, requires_grad=True) for value in (a, w))
    y = tg.linear(x, weight, product_dtype="bfloat16").sum()
    weight.data[...] = 0
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), np.broadcast_to(rounded(w).sum(0), a.shape), rtol=1e-5, atol=1e-6)


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    a, w = drawn((2, 3), (4, 3))
    with pytest.raises(tg.ArgumentError, match=r"linear: expected product_dtype.*got 'float16'"):
        tg.linear(a, w, product_dtype="float16")
    with pytest.raises(tg.ArgumentError, match="float64 on cpu"):
        tg.linear(a.astype(np.float64), w.astype(np.float64), product_dtype="bfloat16")
    monkeypatch.setattr("tensorgrad.kernels.gemm.onednn.problem", lambda: "not installed")
    with pytest.raises(tg.ArgumentError, match="expected oneDNN for product_dtype bfloat16, got not installed"):
        tg.linear(a, w, product_dtype="bfloat16")


def narrow_case(dtype: str) -> list[Any]:
    """x and g of 16 bits, weight and bias of float32, and what the gradients are in float64, of the rounded values."""
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    x, w, b, g = drawn((4, 300, 24), (16, 24), (16,), (4, 300, 16))
    narrow = tg.asarray(x).astype(dtype).array.dtype
    x, g = x.astype(narrow), g.astype(narrow)
    rows, g_rows = x.astype(np.float64).reshape(-1, 24), g.astype(np.float64).reshape(-1, 16)
    return [x, w, b, g, g_rows @ w.astype(narrow).astype(np.float64), g_rows.T @ rows, g_rows.sum(0)]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("is_added", [False, True])
def test_float32_parameters_of_a_16_bit_input(dtype: str, device: str, is_added: bool, cupy: Any) -> None:
    x, w, b, g, dx, dweight, dbias = narrow_case(dtype)
    given, weight, bias = (tg.tensor(z, device=device, requires_grad=True) for z in (x, w, b))
    before = float(is_added)
    if is_added:
        weight.grad, bias.grad = (tg.ones(z.shape, dtype="float32", device=device) for z in (w, b))
    y = tg.linear(given, weight, bias)
    assert y.dtype == x.dtype
    exact = x.astype(float) @ w.astype(x.dtype).astype(float).T + b.astype(x.dtype).astype(float)
    np.testing.assert_allclose(y.numpy().astype(float), exact, rtol=1e-2, atol=3e-2)
    y.backward(tg.tensor(g, device=device))
    assert (given.grad.dtype, weight.grad.dtype, bias.grad.dtype) == (x.dtype, "float32", "float32")
    np.testing.assert_allclose(given.grad.numpy().astype(float).reshape(dx.shape), dx, rtol=1e-2, atol=3e-2)
    # Sums over 1200 rows: float32's error, which 16 bits would exceed a thousand times.
    np.testing.assert_allclose(weight.grad.numpy(), before + dweight, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(bias.grad.numpy(), before + dbias, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_gradient_of_such_a_gradient(device: str, cupy: Any) -> None:
    x, w, b, *_ = narrow_case("float16")
    given, weight, bias = (tg.tensor(z, device=device, requires_grad=True) for z in (x, w, b))
    (dweight,) = tg.grad((tg.linear(given, weight, bias) ** 2 * 1e-3).sum(), weight, create_graph=True)
    assert dweight.dtype == "float32"
    (second,) = tg.grad(dweight.sum(), weight)
    assert second.dtype == "float32"
    moment = (x.astype(float).reshape(-1, 24)).sum(1)[:, None] * x.astype(float).reshape(-1, 24)
    np.testing.assert_allclose(second.numpy(), np.tile(2e-3 * moment.sum(0), (16, 1)), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_on_a_device_biases_and_their_gradients_are_parts_of_products(dtype: str, cupy: Any) -> None:
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    x, w, b, g = drawn((2, 6, 7), (3, 7), (3,), (2, 6, 3))
    parameter = "float64" if dtype == "float64" else "float32"
    given = tg.tensor(tg.tensor(x).astype(dtype).numpy(), device="cuda", requires_grad=True)
    weight, bias = (tg.tensor(z.astype(parameter), device="cuda", requires_grad=True) for z in (w, b))
    cotangent = tg.tensor(g, device="cuda").astype(dtype)
    with interpreting() as products:
        for _ in range(2):
            tg.linear(given, weight, bias).backward(cotangent)
    forward, d_x, d_weight, _, _, d_weight_again = (product.plan for product in products)
    assert (forward.has_bias, forward.dtype, forward.out_dtype) == (True, dtype, dtype)
    assert (d_x.has_bias, d_x.has_row_sums, d_x.out_dtype) == (False, False, dtype)
    for plan in (d_weight, d_weight_again):
        assert (plan.has_row_sums, plan.dtype, plan.out_dtype) == (True, dtype, parameter)
        assert (plan.m, plan.n, plan.k) == (7, 3, 12)
    assert (d_weight.accumulate, d_weight_again.accumulate) == (False, True)
    np.testing.assert_allclose(bias.grad.numpy(), 2 * g.sum((0, 1)), rtol=2e-2, atol=2e-2)
    # Without a bias that learns nothing is summed beside.
    with interpreting() as products:
        tg.linear(given, weight, bias.detach()).backward(cotangent)
    assert not any(product.plan.has_row_sums for product in products)
    # And a bias whose weight does not learn has its gradient too.
    bias.grad = None
    tg.linear(given, weight.detach(), bias).backward(cotangent)
    np.testing.assert_allclose(bias.grad.numpy(), g.sum((0, 1)), rtol=2e-2, atol=2e-2)


def test_other_mixtures_are_refused(cupy: Any) -> None:
    x, w = (tg.ones((2, 2), dtype=dtype) for dtype in ("float16", "float64"))
    for pair in ((x, w), (w, x), (w, w.astype("float32")), (x.astype("int16"), w.astype("float32"))):
        with pytest.raises(tg.DTypeError, match="linear: expected operands of one dtype"):
            tg.linear(*pair)
    with pytest.raises(tg.DTypeError, match="linear: expected operands of one dtype, got float32 and float16"):
        tg.linear(x, w.astype("float32"), x[0])
    with pytest.raises(tg.DeviceError, match="linear: expected operands on one device"):
        tg.linear(x, tg.ones((2, 2), dtype="float32", device="cuda"))


PRODUCT_DTYPES = [None, pytest.param("bfloat16", marks=needs_bfloat16)]


@pytest.mark.parametrize("product_dtype", PRODUCT_DTYPES)
def test_a_weight_s_gradient_is_added_to_what_is_there(product_dtype: str | None) -> None:
    a, w, g = drawn((2, 6, 7), (3, 7), (2, 6, 3))
    fresh, given = (tg.tensor(w, requires_grad=True) for _ in range(2))
    buffer = np.ones_like(w)
    given.grad = tg.tensor(buffer)
    held = given.grad.array
    for weight in (fresh, given):
        tg.linear(a, weight, product_dtype=product_dtype).backward(g)
    assert given.grad.array is held
    np.testing.assert_allclose(held, 1 + fresh.grad.numpy(), rtol=1e-5, atol=1e-5)
    # A weight that is used twice, once not in a product.
    for weight in (fresh, given):
        (tg.linear(weight, weight, product_dtype=product_dtype).sum() + (weight * weight).sum()).backward()
    np.testing.assert_allclose(held, 1 + fresh.grad.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("product_dtype", PRODUCT_DTYPES)
def test_no_array_of_the_weight_s_size_is_made_for_its_gradient(product_dtype: str | None) -> None:
    a, w = drawn((45, 1000), (1500, 1000))
    weight = tg.tensor(w, requires_grad=True)
    weight.grad = tg.zeros(w.shape, dtype="float32")
    y = tg.linear(a, weight, product_dtype=product_dtype).sum()
    with tg.threads(2):
        tracemalloc.start()
        y.backward()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < w.nbytes * 0.6  # NumPy adds a quarter at a time


def test_hooks_and_those_who_ask_for_a_gradient_see_all_of_it() -> None:
    a, w, g = drawn((6, 7), (3, 7), (6, 3))
    weight = tg.tensor(w, requires_grad=True)
    weight.grad = tg.ones(w.shape, dtype="float32")
    seen = []
    remove = weight.register_hook(lambda g: seen.append(g.numpy()))
    tg.linear(a, weight).backward(g)
    remove()
    np.testing.assert_allclose(seen[0], g.T @ a, rtol=1e-5)
    np.testing.assert_allclose(weight.grad.numpy(), 1 + g.T @ a, rtol=1e-5, atol=1e-5)
    (found,) = tg.grad(tg.linear(a, weight), weight, g)
    np.testing.assert_allclose(found.numpy(), g.T @ a, rtol=1e-5)
    np.testing.assert_allclose(weight.grad.numpy(), 1 + g.T @ a, rtol=1e-5, atol=1e-5)
