"""linear_cross_entropy: bit for bit what the two ops give; it writes over its own logits, and only when it is time."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tensorgrad as tg
from tensorgrad import kernels
from tensorgrad.kernels import gemm, reference
from tensorgrad.kernels.bfloat16 import BFLOAT16
from tensorgrad.residuals import residuals
from tests.cupy_stand_in.products import interpreting

Loss = Callable[..., tg.Tensor]

needs_bfloat16 = pytest.mark.skipif(bool(gemm.bfloat16_problem()), reason=f"oneDNN: {gemm.bfloat16_problem()}")


def composed(x: Any, weight: Any, targets: Any, product_dtype: str | None = None, **options: Any) -> tg.Tensor:
    return tg.cross_entropy(tg.linear(x, weight, product_dtype=product_dtype), targets, **options)


def drawn(rows: tuple[int, ...], width: int, classes: int, dtype: str = "float64") -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng([*rows, width, classes])
    x, weight = rng.normal(size=(*rows, width)), rng.normal(size=(classes, width))
    targets = rng.integers(0, classes, rows)
    targets = np.where(rng.random(rows) < 0.2, -100, targets)
    targets.reshape(-1)[:1] = 0  # one counts
    return x.astype(dtype), weight.astype(dtype), targets


def leaves(*arrays: np.ndarray, device: str = "cpu") -> list[tg.Tensor]:
    return [tg.tensor(a, device=device, requires_grad=True) for a in arrays]


def assert_equal(found: Any, expected: Any) -> None:
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_array_equal(got.numpy(), want.numpy())


@settings(max_examples=30)
@given(
    rows=st.sampled_from([(5,), (2, 3), (), (0,), (1, 40)]),
    width=st.integers(1, 9),
    classes=st.integers(1, 70),
    dtype=st.sampled_from(["float32", "float64"]),
    reduction=st.sampled_from(["sum", "mean", "none"]),
    smoothing=st.sampled_from([0.0, 0.1]),
    z_loss=st.sampled_from([0.0, 0.01]),
)
def test_values_and_gradients_are_those_of_the_two(
    rows: tuple[int, ...], width: int, classes: int, dtype: str, reduction: str, smoothing: float, z_loss: float
) -> None:
    a, w, targets = drawn(rows, width, classes, dtype)
    options = {"reduction": reduction, "label_smoothing": smoothing, "z_loss": z_loss}
    results = []
    for f in (composed, tg.linear_cross_entropy):
        x, weight = leaves(a, w)
        weight.grad = tg.tensor(np.ones_like(w))  # added to in place
        loss = f(x, weight, targets, **options)
        loss.backward(np.full(loss.shape, 0.5, dtype))
        results.append((loss, x.grad, weight.grad))
    assert_equal(*results)


@needs_bfloat16
def test_what_is_rounded_is_all_that_is_kept() -> None:
    a, w, targets = drawn((4, 8), 16, 24, "float32")
    x, weight = leaves(a, w)
    loss = tg.linear_cross_entropy(x, weight, targets, product_dtype="bfloat16")
    assert loss.node is not None
    kept = residuals(loss.node)
    assert not any(np.may_share_memory(one, t.array) for one in kept for t in (x, weight))
    assert {one.dtype for one in kept if one.shape in ((32, 16), (24, 16))} == {BFLOAT16}


@pytest.mark.parametrize("needed", [(True, False), (False, True)])
def test_only_one_operand_may_need_a_gradient(needed: tuple[bool, bool]) -> None:
    a, w, targets = drawn((3, 4), 5, 6)
    for f in (composed, tg.linear_cross_entropy):
        x, weight = (tg.tensor(v, requires_grad=flag) for v, flag in zip((a, w), needed, strict=True))
        f(x, weight, targets).backward()
        found = [t.grad for t in (x, weight) if t.grad is not None]
        if f is composed:
            expected = found
    assert_equal(found, expected)
    assert type(tg.linear_cross_entropy(a, w, targets)) is np.ndarray


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_of_16_bit_floats_beside_float32_parameters(dtype: str, device: str, cupy: Any) -> None:
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    a, w, targets = drawn((4, 8), 16, 24, "float32")
    ids = tg.tensor(targets, device=device).array
    results = []
    with interpreting():
        for f in (composed, tg.linear_cross_entropy):
            (weight,) = leaves(w, device=device)
            x = tg.tensor(tg.tensor(a).astype(dtype).array, device=device, requires_grad=True)
            loss = f(x, weight, ids, reduction="sum")
            loss.backward()
            results.append([loss, x.grad, weight.grad])
    assert_equal(*results)
    assert [str(t.dtype) for t in results[1]] == ["float32", dtype, "float32"]


@needs_bfloat16
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_of_products_of_rounded_operands(smoothing: float) -> None:
    a, w, targets = drawn((4, 8), 16, 24, "float32")
    results = []
    for f in (composed, tg.linear_cross_entropy):
        x, weight = leaves(a, w)
        loss = f(x, weight, targets, product_dtype="bfloat16", label_smoothing=smoothing)
        kept = tg.grad(loss, [x, weight], keep_graph=True)
        recorded = tg.grad(loss, [x, weight], create_graph=True)
        loss.backward()
        results.append([loss, *kept, x.grad, weight.grad])
        for got, want in zip(recorded, kept, strict=True):  # whose cotangents stay unrounded
            np.testing.assert_allclose(got.numpy(), want.numpy(), atol=2e-2 * np.abs(want.numpy()).max())
        if f is composed:
            expected = recorded
    assert_equal(*results)
    for got, want in zip(recorded, expected, strict=True):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-5, atol=1e-7)


# --- who may still need the logits -------------------------------------------------------------------


def twice(f: Loss, create_graph: bool) -> list[tg.Tensor]:
    """Gradients of a graph that is kept, of the same graph again, and at last, when it is freed."""
    a, w, targets = drawn((3, 4), 5, 6)
    x, weight = leaves(a, w)
    loss = f(x, weight, targets, z_loss=0.1) * 3.0
    found = [
        tg.grad(loss, [x, weight], keep_graph=True),
        tg.grad(loss, [x, weight], keep_graph=True, create_graph=create_graph),
    ]
    size = sum((tg.square(d).sum() for d in found[1]), tg.zeros((), dtype="float64"))
    second = tg.grad(size, [x, weight], keep_graph=True) if create_graph else ()
    found.append(tg.grad(loss, [x, weight]))
    with pytest.raises(tg.GraphError, match="freed by an earlier backward"):
        tg.grad(loss, x)
    return [loss, *found[0], *found[1], *found[2], *second]


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_kept_graph_can_be_run_back_again(create_graph: bool) -> None:
    found = twice(tg.linear_cross_entropy, create_graph)
    assert_equal(found, twice(composed, create_graph))
    assert_equal(found[1:3], found[5:7])
    for got, want in zip(found[1:3], found[3:5], strict=True):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-12)


def test_what_was_recorded_keeps_the_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    a, w, targets = drawn((3, 4), 5, 6)

    def full(*arguments: Any) -> Any:
        raise MemoryError

    results = []
    for is_run_back in (False, True):
        x, weight = leaves(a, w)
        loss = tg.linear_cross_entropy(x, weight, targets)
        dx, dweight = tg.grad(loss, [x, weight], create_graph=True)
        if is_run_back:  # through the loss, whose node is freed, but not through the product
            with monkeypatch.context() as patch:
                patch.setattr("tensorgrad.kernels.gemm.cpu.matmul", full)
                with pytest.raises(MemoryError):
                    loss.backward()
        results.append(tg.grad(tg.sin(dx).sum() + tg.sin(dweight).sum(), [x, weight]))
    assert_equal(*results)


def test_higher_orders_and_transforms() -> None:
    a, w, targets = drawn((3,), 2, 4)
    for transform in (
        tg.hessian,
        tg.jacobian,
        lambda f, x: tg.hvp(f, x, tg.tensor(a)),
        lambda f, x: tg.recompute(f)(x),
    ):
        found, expected = (
            transform(lambda x, f=f: f(x, w, targets, reduction="sum"), tg.tensor(a))  # type: ignore[no-untyped-call]
            for f in (tg.linear_cross_entropy, composed)
        )
        assert_equal([found], [expected])
    tg.check_grads(lambda x, v: tg.linear_cross_entropy(x, v, targets), tg.tensor(a), tg.tensor(w), order=2)


def test_recomputed_it_is_freed_all_the_same() -> None:
    a, w, targets = drawn((3, 4), 5, 6)
    results = []
    for f in (composed, tg.linear_cross_entropy):
        x, weight = leaves(a, w)
        tg.recompute(f)(x, weight, targets).backward()
        results.append([x.grad, weight.grad])
    assert_equal(*results)


def test_no_array_that_anybody_else_has_changes() -> None:
    a, w, targets = drawn((3, 4), 5, 6)
    x, weight = leaves(a, w)
    hidden = tg.tanh(x)
    logits = tg.linear(hidden, weight)
    other = tg.cross_entropy(logits, targets)
    loss = tg.linear_cross_entropy(hidden, weight, targets)
    given = [x, weight, hidden, logits, other, loss]
    before = [t.numpy() for t in given]
    (loss + other).backward()
    for t, array in zip(given, before, strict=True):
        np.testing.assert_array_equal(t.numpy(), array)
    np.testing.assert_array_equal(targets, drawn((3, 4), 5, 6)[2])


def test_a_write_into_what_it_was_computed_from_is_noticed() -> None:
    a, w, targets = drawn((3, 4), 5, 6)
    x, weight = leaves(a, w)
    loss = tg.linear_cross_entropy(x, weight, targets)
    weight.data[0] = 0
    with pytest.raises(tg.GraphError, match="linear_cross_entropy was computed from"):
        loss.backward()


def test_a_tool_that_watches_finds_the_logits_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    class Spy:
        def __getattr__(self, name: str) -> Any:
            return getattr(reference, name)

        def cross_entropy_gradient(self, *arguments: Any, **options: Any) -> Any:
            seen.append(options.get("out_NV") is not None)
            return reference.cross_entropy_gradient(*arguments, **options)

    monkeypatch.setattr(kernels, "cpu_kernels", lambda: (Spy(), ""))
    a, w, targets = drawn((3, 4), 5, 6)
    x, weight = leaves(a, w)
    tg.linear_cross_entropy(x, weight, targets).backward()
    composed(x, weight, targets).backward()
    with tg.find_non_finite():
        tg.linear_cross_entropy(x, weight, targets).backward()
    tg.linear_cross_entropy(x, weight, targets).backward()
    assert seen == [True, False, False, True]


def test_a_backward_that_was_cut_short_cannot_be_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __getattr__(self, name: str) -> Any:
            return getattr(reference, name)

        def cross_entropy_gradient(self, *arguments: Any, **options: Any) -> Any:
            reference.cross_entropy_gradient(*arguments, **options)
            raise MemoryError

    a, w, targets = drawn((3, 4), 5, 6)
    x, weight = leaves(a, w)
    loss = tg.linear_cross_entropy(x, weight, targets)
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "cpu_kernels", lambda: (Full(), ""))
        with pytest.raises(MemoryError):
            loss.backward()
    with pytest.raises(tg.GraphError, match="cut short by an error, wrote over them: compute the loss again"):
        loss.backward()


# --- memory ------------------------------------------------------------------------------------------


def peak_bytes(f: Loss, product_dtype: str | None) -> int:
    """What a loss and its backward add at most to what lives before."""
    a, w, targets = drawn((128, 4), 32, 2000, "float32")
    x, weight = leaves(a, w)
    weight.grad = tg.tensor(np.zeros_like(w))
    f(x, weight, targets, product_dtype=product_dtype).backward()  # for what is made once
    tracemalloc.start()
    try:
        loss = f(x, weight, targets, product_dtype=product_dtype)
        loss.backward()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_logits_and_their_gradient_are_never_there_at_once() -> None:
    logits_bytes = 512 * 2000 * 4
    assert logits_bytes < peak_bytes(tg.linear_cross_entropy, None) < 1.25 * logits_bytes
    assert peak_bytes(composed, None) > 2 * logits_bytes


@needs_bfloat16
def test_nor_are_the_logits_and_their_rounded_gradient() -> None:
    logits_bytes, weight_bytes = 512 * 2000 * 4, 2000 * 32 * 4
    # Added to weight.grad by way of an array of a part of its size.
    assert peak_bytes(tg.linear_cross_entropy, "bfloat16") < 1.25 * logits_bytes + weight_bytes


# --- refusals ----------------------------------------------------------------------------------------


def test_refusals() -> None:
    x, w, ids = np.zeros((2, 3)), np.zeros((4, 3)), np.zeros(2, int)
    f = tg.linear_cross_entropy
    for pair in ((x, w.T), (x, w[0]), (x[0, 0], w)):
        with pytest.raises(
            tg.ShapeError, match=r"linear_cross_entropy: expected x \(..., K\) and weight \(V, K\), got "
        ):
            f(*map(np.asarray, pair), ids)
    with pytest.raises(tg.ArgumentError, match=r"linear_cross_entropy: expected product_dtype .* got 'float16'"):
        f(x, w, ids, product_dtype="float16")
    with pytest.raises(tg.DTypeError, match=r"linear_cross_entropy: expected operands of one dtype"):
        f(x, w.astype(np.float32), ids)
    with pytest.raises(tg.ShapeError, match=r"linear_cross_entropy: expected targets of the predictions' shape"):
        f(x, w, np.zeros(3, int))
    with pytest.raises(
        tg.ShapeError, match=r"linear_cross_entropy: expected targets in 0 .. 3, or -100 to ignore, got 4"
    ):
        f(x, w, np.array([0, 4]))
    with pytest.raises(tg.DTypeError, match=r"linear_cross_entropy: expected integer targets, got float64"):
        f(x, w, np.zeros((2, 4)))
    with pytest.raises(tg.DTypeError, match=r"linear_cross_entropy: expected a float dtype, got int64"):
        f(x.astype(int), w.astype(int), ids)
    with pytest.raises(tg.ArgumentError, match=r"linear_cross_entropy: expected label_smoothing in 0 .. 1, got 2.0"):
        f(x, w, ids, label_smoothing=2.0)
    with pytest.raises(ValueError, match=r'linear_cross_entropy: .*"mean", "sum", "none", got \'avg\''):
        f(x, w, ids, reduction="avg")
