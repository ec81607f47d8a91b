"""mlp against the ops that it is made of: values, gradients in every precision, and what it keeps in memory."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.ops.nn.mlp import ACTIVATIONS, mlp_definition
from tensorgrad.residuals import owners, residuals
from tests.cupy_stand_in.products import interpreting
from tests.tensorgrad.ops.linalg.test_linear import drawn, needs_bfloat16, rounded

PRODUCT_DTYPES = [None, pytest.param("bfloat16", marks=needs_bfloat16)]


def case(activation: str, rows: tuple[int, ...] = (2, 60), width: int = 24, hidden: int = 40) -> list[np.ndarray]:
    """x, weights, biases, and a cotangent."""
    inner = 2 * hidden if activation == "swiglu" else hidden
    x, up, down, b, c, g = drawn((*rows, width), (inner, width), (16, hidden), (inner,), (16,), (*rows, 16))
    return [x, up / 4, down / 4, b, c, g]


def leaves(arrays: list[np.ndarray], device: str = "cpu") -> list[tg.Tensor]:
    return [tg.tensor(a, device=device, requires_grad=True) for a in arrays]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("count", [3, 4, 5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_is_what_it_is_made_of(activation: str, count: int, dtype: str) -> None:
    *inputs, g = (a.astype(dtype) for a in case(activation))
    fused, apart = leaves(inputs[:count]), leaves(inputs[:count])
    for xs, f in ((fused, tg.mlp), (apart, mlp_definition)):
        for _ in range(2):  # the second is added to the first
            y = f(*xs, activation=activation)
            y.backward(g)
    tolerance = {"rtol": 1e-12, "atol": 1e-12} if dtype == "float64" else {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(
        tg.mlp(*inputs[:count], activation=activation),
        mlp_definition(*inputs[:count], activation=activation),
        **tolerance,
    )
    for x, z in zip(fused, apart, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), z.grad.numpy(), **tolerance)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("learning", [(0,), (1,), (2,), (3,), (4,), (1, 2), (3, 4), (0, 4)])
def test_any_of_its_inputs_may_learn(learning: tuple[int, ...], device: str, cupy: Any) -> None:
    *inputs, g = case("gelu_tanh")
    everything = leaves(inputs)
    tg.mlp(*everything).backward(g)
    some = leaves(inputs, device)
    some = [x if i in learning else x.detach() for i, x in enumerate(some)]
    tg.mlp(*some).backward(tg.tensor(g, device=device))
    for i in learning:
        np.testing.assert_allclose(some[i].grad.numpy(), everything[i].grad.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("product_dtype", PRODUCT_DTYPES)
@pytest.mark.parametrize("activation", ["gelu_tanh", "swiglu"])
def test_it_keeps_its_input_and_what_goes_into_the_activation(activation: str, product_dtype: str | None) -> None:
    *inputs, _ = case(activation)
    x, up, down, b, c = leaves(inputs)
    y = tg.mlp(x, up, down, b, c, activation=activation, product_dtype=product_dtype)
    kept = owners(residuals(y.node))  # type: ignore[arg-type]
    parameters = sum(z.size for z in inputs[1:])
    hidden = 120 * len(inputs[1])
    if product_dtype is None:
        assert sum(z.size for z in kept) == x.size + hidden + parameters
    else:
        assert sum(z.nbytes for z in kept) == 2 * x.size + 4 * hidden + 2 * (up.size + down.size) + 4 * (
            b.size + c.size
        )


def test_it_keeps_nothing_where_nobody_learns_and_no_array_is_alive_for_longer_than_it_is_needed() -> None:
    *inputs, g = case("gelu_tanh", rows=(1000,), width=64, hidden=2000)
    xs = leaves(inputs)
    for x in xs:
        x.grad = tg.zeros(x.shape, dtype="float32")
    hidden = 1000 * 2000 * 4

    def peak(f: Any) -> int:
        f()  # what is compiled and kept
        tracemalloc.start()
        try:
            held = f()
            assert held is not f
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    with tg.no_grad():
        assert peak(lambda: tg.mlp(*xs)) < 2.3 * hidden  # in and out of the activation
    assert peak(lambda: tg.mlp(*(x.detach() for x in xs))) < 2.3 * hidden
    # The activation takes the place of its cotangent: with h and dh the third at most.
    assert peak(lambda: tg.mlp(*xs).backward(g)) < 3.4 * hidden


@needs_bfloat16
@pytest.mark.parametrize("is_threaded", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_products_of_bfloat16(activation: str, is_threaded: bool) -> None:
    *inputs, g = case(activation, rows=(300,))
    xs = leaves(inputs)

    def run() -> np.ndarray:
        y = tg.mlp(*xs, activation=activation, product_dtype="bfloat16")
        y.backward(g)
        return y.numpy()

    if is_threaded:
        with tg.threads(2):
            out = run()
    else:
        out = run()
    # Each operand rounded, in float64 between.
    x, up, down = map(rounded, inputs[:3])
    act = {
        "gelu": tg.gelu,
        "gelu_tanh": lambda h: tg.gelu(h, approximate="tanh"),
        "relu_squared": lambda h: tg.square(tg.relu(h)),
        "swiglu": tg.swiglu,
    }[activation]
    h = tg.tensor(x @ up.T + inputs[3], requires_grad=True)
    a = act(h)
    np.testing.assert_allclose(out, rounded(a.numpy()) @ down.T + inputs[4], rtol=1e-2, atol=1e-2)
    (dh,) = tg.grad(a, h, rounded(g) @ down)
    exact = [rounded(dh.numpy()) @ up, rounded(dh.numpy()).T @ x, rounded(g).T @ rounded(a.numpy())]
    for got, want in zip((z.grad.numpy() for z in xs), (*exact, dh.numpy().sum(0), g.sum(0)), strict=True):
        # A number next to the middle of two may be rounded to either.
        np.testing.assert_allclose(got, want, rtol=1e-2, atol=2e-3 * np.abs(want).max())


@needs_bfloat16
def test_a_second_derivative_is_float32_s_of_the_rounded_operands() -> None:
    *inputs, _ = case("gelu_tanh", rows=(5,))

    def second(product_dtype: str | None, *values: np.ndarray) -> list[np.ndarray]:
        xs = leaves([value.astype(np.float32) for value in values])
        y = tg.mlp(*xs, product_dtype=product_dtype)
        first = tg.grad((y * y).sum(), xs, create_graph=True)
        return [g.numpy() for g in tg.grad(sum((g * g).sum() for g in first), xs)]  # type: ignore[arg-type]

    exact = [rounded(value) for value in inputs[:3]] + inputs[3:]
    for got, expected in zip(second("bfloat16", *inputs), second(None, *exact), strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(got / scale, expected / scale, atol=0.03)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("activation", ["gelu_tanh", "swiglu", "relu_squared"])
def test_float32_parameters_of_a_16_bit_input(dtype: str, device: str, activation: str, cupy: Any) -> None:
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    *inputs, g = case(activation)
    narrow = tg.tensor(inputs[0]).astype(dtype).numpy().dtype
    x, g = inputs[0].astype(narrow), g.astype(narrow)
    xs = leaves([x, *inputs[1:]], device)
    exact = leaves([np.float64(z) for z in (x, *(w.astype(narrow) for w in inputs[1:]))])
    y = tg.mlp(*xs, activation=activation)
    y.backward(tg.tensor(g, device=device))
    expected = mlp_definition(*exact, activation=activation)
    expected.backward(g.astype(np.float64))
    assert y.dtype == narrow
    for got, want in zip((y, *(z.grad for z in xs)), (expected, *(z.grad for z in exact)), strict=True):
        scale = np.abs(want.numpy()).max()
        np.testing.assert_allclose(got.numpy().astype(float) / scale, want.numpy() / scale, atol=2e-2)
    assert [z.grad.dtype for z in xs] == [narrow, *["float32"] * 4]
    (second,) = tg.grad(tg.grad(tg.mlp(*xs, activation=activation).sum(), xs[1], create_graph=True)[0].sum(), xs[2])
    assert second.dtype == "float32"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_on_a_device_biases_and_gelu_and_their_gradients_are_parts_of_products(dtype: str, cupy: Any) -> None:
    *inputs, g = case("gelu_tanh", rows=(3,))
    xs = leaves([inputs[0].astype(dtype), *inputs[1:]], "cuda")
    there = leaves([inputs[0].astype(dtype).astype(np.float32), *inputs[1:]])
    for x in there:
        x.grad = tg.zeros(x.shape, dtype="float32")
    for _ in range(2):
        with interpreting() as products:
            tg.mlp(*xs).backward(tg.tensor(g.astype(dtype), device="cuda"))
    up, down, into, d_down, d_up, d_x = (product.plan for product in products)
    assert [plan.has_bias for plan in (up, down, into, d_x)] == [True, True, False, False]
    for plan in (d_down, d_up):
        assert (plan.has_row_sums, plan.accumulate, plan.out_dtype) == (True, True, "float32")
    is_gelu = dtype == "float16"
    assert [up.gelu, into.gelu] == (["value", "gradient"] if is_gelu else ["", ""])
    for _ in range(2):
        tg.mlp(*there).backward(g)
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == "float32" else {"rtol": 2e-2, "atol": 2e-2}
    for x, other in zip(xs, there, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), other.grad.numpy(), **tolerance)
    # Without gradients nothing but the result is written.
    with interpreting() as products, tg.no_grad():
        tg.mlp(*xs)
    assert [(product.plan.gelu, product.plan.aux) for product in products] == [
        ("value" if is_gelu else "", None),
        ("", None),
    ]


def test_no_array_of_a_weight_s_size_is_made_for_its_gradient() -> None:
    *inputs, g = case("gelu_tanh", rows=(16,), width=1000, hidden=1000)
    xs = leaves(inputs[:3])
    for x in xs:
        x.grad = tg.zeros(x.shape, dtype="float32")
    y = tg.mlp(xs[0].detach(), *xs[1:])
    with tg.threads(2):
        tracemalloc.start()
        y.backward(g)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < inputs[1].nbytes * 0.7  # NumPy adds a quarter at a time


@needs_bfloat16
def test_a_write_after_the_forward_does_not_reach_a_gradient_of_what_was_rounded() -> None:
    *inputs, g = case("gelu_tanh")
    xs = leaves(inputs[:3])
    tg.mlp(*xs, product_dtype="bfloat16").backward(g)
    expected = xs[0].grad.numpy()
    xs[0].grad = None
    y = tg.mlp(*xs, product_dtype="bfloat16")
    xs[1].data[...] = 0
    y.backward(g)
    np.testing.assert_array_equal(xs[0].grad.numpy(), expected)


def test_refusals(monkeypatch: pytest.MonkeyPatch, cupy: Any) -> None:
    x, up, down, *_ = case("gelu")
    with pytest.raises(tg.ArgumentError, match=r"mlp: expected activation to be one of .*got 'tanh'"):
        tg.mlp(x, up, down, activation="tanh")
    with pytest.raises(tg.ArgumentError, match=r"mlp: expected product_dtype.*got 'float16'"):
        tg.mlp(x, up, down, product_dtype="float16")
    monkeypatch.setattr("tensorgrad.kernels.gemm.onednn.problem", lambda: "not installed")
    with pytest.raises(tg.ArgumentError, match="mlp: expected oneDNN for product_dtype bfloat16, got not installed"):
        tg.mlp(x, up, down, product_dtype="bfloat16")
    with pytest.raises(tg.DeviceError, match="mlp: expected operands on one device"):
        tg.mlp(x, tg.tensor(up, device="cuda"), down)
    with pytest.raises(tg.DTypeError, match="mlp: expected operands of one dtype"):
        tg.mlp(x, up, down.astype(np.float64))
    with pytest.raises(tg.DTypeError, match="mlp: expected a Tensor or an array"):
        tg.mlp(1.0, up, down)
    for wrong in ((x, up.T, down), (x[0, 0, 0], up, down), (x, up, down.T), (x, up[0], down), (x, 1.0, down)):
        with pytest.raises(tg.ShapeError, match="mlp: expected x"):
            tg.mlp(*wrong)
    with pytest.raises(tg.ShapeError, match=r"mlp: .*\(2 F, C\)"):
        tg.mlp(x, up[:0], down[:, :0], activation="swiglu")
