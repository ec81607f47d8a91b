"""oneDNN's products are NumPy's, from any layout; skipped where it is not installed."""

from __future__ import annotations

import importlib.metadata
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorgrad.kernels import gemm
from tensorgrad.kernels.bfloat16 import rounded_to_bfloat16, to_float32
from tensorgrad.kernels.gemm import onednn
from tensorgrad.kernels.threads import threads

needs_onednn = pytest.mark.skipif(bool(onednn.problem()), reason=f"oneDNN: {onednn.problem()}")


def integers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Small whole numbers, exact in bfloat16 and in every sum of their products."""
    return rng.integers(-8, 9, shape).astype(np.float32)


def layouts(a: np.ndarray) -> Iterator[np.ndarray]:
    """`a` in the memory orders that products meet: plain, transposed, part of a wider array."""
    yield a
    yield np.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2)
    wide = np.full((*a.shape[:-1], a.shape[-1] + 3), np.nan, a.dtype)
    wide[..., 1:-2] = a
    yield wide[..., 1:-2]


@needs_onednn
@given(
    st.lists(st.integers(1, 3), max_size=2),
    st.tuples(*[st.integers(1, 40)] * 3),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_products(lead: list[int], sizes: tuple[int, int, int], has_bias: bool, accumulate: bool, seed: int) -> None:
    m, k, n = sizes
    rng = np.random.default_rng(seed)
    a, b, bias, before = (integers(rng, *shape) for shape in ((*lead, m, k), (*lead, k, n), (n,), (*lead, m, n)))
    expected = a @ b + (bias if has_bias else 0) + (before if accumulate else 0)
    for x in layouts(a):
        for y in layouts(b):
            for operands in ((x, y), (onednn.to_bfloat16(x), onednn.to_bfloat16(y))):
                out = before.copy() if accumulate else np.full_like(before, np.nan)
                onednn.matmul(*operands, out, bias=bias if has_bias else None, accumulate=accumulate)
                np.testing.assert_array_equal(out, expected)


@needs_onednn
@given(
    st.lists(st.floats(width=32) | st.sampled_from([1 + 2**-8, 1 + 3 * 2**-8, -(1 + 2**-8)]), min_size=1, max_size=40)
)
def test_bfloat16_is_rounded_to_the_nearest_even(values: list[float]) -> None:
    a = np.array(values, np.float32)
    bits = a.view(np.uint32).astype(np.uint64)
    nearest = ((bits + 0x7FFF + (bits >> np.uint64(16) & np.uint64(1))) >> np.uint64(16)).astype(np.uint16)
    found = onednn.to_bfloat16(a)
    is_number = ~np.isnan(a)
    for way in (found, rounded_to_bfloat16(a)):
        np.testing.assert_array_equal(way.view(np.uint16)[is_number], nearest[is_number])
        assert np.isnan(to_float32(way[~is_number])).all()


@needs_onednn
def test_products_of_bfloat16_are_accumulated_in_float32() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=shape).astype(np.float32) for shape in ((64, 512), (512, 48)))
    rounded = [onednn.to_bfloat16(x) for x in (a, b)]
    exact = np.matmul(*(to_float32(x).astype(np.float64) for x in rounded))
    out = np.empty((64, 48), np.float32)
    onednn.matmul(*rounded, out)
    np.testing.assert_allclose(out, exact, rtol=1e-5, atol=1e-4)


@needs_onednn
def test_threads_compute_at_the_same_time_and_each_for_itself() -> None:
    rng = np.random.default_rng(0)
    problems = [(integers(rng, 30 + i, 20), integers(rng, 20, 10)) for i in range(8)]
    failures = []

    def work() -> None:
        for _ in range(20):
            for a, b in problems:
                out = np.empty((a.shape[0], b.shape[1]), np.float32)
                onednn.matmul(a, b, out)
                if not np.array_equal(out, a @ b):
                    failures.append(a.shape)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_large_product_does_not_depend_on_the_number_of_threads(count: int) -> None:
    rng = np.random.default_rng(0)
    for shapes in (((700, 130), (130, 400)), ((130, 90), (90, 1500)), ((6, 150, 130), (6, 130, 150))):
        a, b = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
        a_t = np.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2)
        with threads(1):
            alone = gemm.matmul(a, b)
        with threads(count):
            np.testing.assert_array_equal(gemm.matmul(a, b), alone)
            np.testing.assert_allclose(gemm.matmul(a_t, b), alone, rtol=2e-5, atol=2e-4)
            np.testing.assert_allclose(gemm.matmul(a[..., ::-1], b), a[..., ::-1] @ b, rtol=2e-5, atol=2e-4)
        np.testing.assert_allclose(alone, a.astype(np.float64) @ b, rtol=2e-5, atol=2e-4)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    with pytest.raises(OSError, match="not installed"):
        onednn._path()


@pytest.mark.parametrize(("wrong_call", "text"), [(1, "a float32 product"), (2, "a bfloat16 product")])
@needs_onednn
def test_a_wrong_product_is_noticed_before_use(monkeypatch: pytest.MonkeyPatch, wrong_call: int, text: str) -> None:
    right, calls = onednn.matmul, []

    def matmul(a: np.ndarray, b: np.ndarray, out: np.ndarray, **options: Any) -> None:
        right(a, b, out, **options)
        calls.append(out)
        if len(calls) == wrong_call:
            out[1, 2] += 1

    monkeypatch.setattr(onednn, "matmul", matmul)
    assert text in onednn.problem.__wrapped__()


def test_a_library_that_cannot_be_loaded_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise OSError("libgomp.so.1: not found")

    monkeypatch.setattr(onednn, "matmul", failing)
    assert onednn.problem.__wrapped__() == "libgomp.so.1: not found"


@needs_onednn
def test_plans_are_few_and_a_refused_one_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onednn, "_MAX_PLANS", 3)
    a = np.ones((4, 4), np.float32)
    for n in range(1, 9):
        out = np.empty((4, n), np.float32)
        onednn.matmul(a, np.ones((4, n), np.float32), out)
        assert (out == 4).all()
    with pytest.raises(OSError, match="status"):
        onednn.matmul(a, np.ones((5, 4), np.float32), np.empty((4, 4), np.float32))
    assert onednn.version().startswith("3.")
    assert isinstance(onednn.has_fast_bfloat16(), bool)
