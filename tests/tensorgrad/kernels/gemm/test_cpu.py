"""Every matrix product goes through one function."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.kernels import gemm, reference
from tensorgrad.kernels.bfloat16 import to_float32
from tensorgrad.kernels.gemm import cpu
from tensorgrad.kernels.threads import finish, threads


def test_the_product_and_its_refusal() -> None:
    a, b = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(gemm.matmul(a, b), np.einsum("ij,jk->ik", a, b))
    with pytest.raises(ValueError):
        gemm.matmul(a, a)


def test_matmul_and_linear_and_their_gradients_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    plain = gemm.matmul

    def counted(*arrays: np.ndarray) -> np.ndarray:
        calls.append([a.shape for a in arrays])
        return plain(*arrays)

    monkeypatch.setattr(gemm, "matmul", counted)
    x, w = tg.ones((2, 3, 4), requires_grad=True), tg.ones((5, 4), requires_grad=True)
    tg.linear(x, w).sum().backward()
    assert calls == [[(6, 4), (4, 5)], [(6, 5), (5, 4)], [(5, 6), (6, 4)]]
    calls.clear()
    (x @ tg.ones((4, 2), requires_grad=True)).sum().backward()
    assert calls == [[(6, 4), (4, 2)], [(6, 2), (2, 4)], [(4, 6), (6, 2)]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 4, 5), (700, 130, 400), (90, 200, 1500), (0, 3, 2), (3, 0, 2)])
@pytest.mark.parametrize("count", [None, 1, 3])
def test_a_product_is_added_or_written(dtype: str, shape: tuple[int, int, int], count: int | None) -> None:
    m, k, n = shape
    rng = np.random.default_rng(0)
    a, b, before = (rng.normal(size=s).astype(dtype) for s in ((m, k), (k, n), (m, n)))
    tolerance = 1e-12 if dtype == "float64" else 1e-4
    for x in (a, np.asfortranarray(a)):
        for out in (before.copy(), np.repeat(before, 2, axis=1)[:, ::2]):
            with contextlib.nullcontext() if count is None else threads(count):
                gemm.matmul_into(x, b, out, accumulate=True)
                finish()
            np.testing.assert_allclose(out, before + a.astype(np.float64) @ b, rtol=tolerance, atol=tolerance)
            out[...] = np.nan
            with contextlib.nullcontext() if count is None else threads(count):
                gemm.matmul_into(x, b, out, accumulate=False)
                finish()
            np.testing.assert_allclose(out, a.astype(np.float64) @ b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 700, 800), (700, 130, 400), (90, 200, 1500), (0, 3, 2), (3, 0, 2)])
@pytest.mark.parametrize("count", [None, 1, 3])
def test_a_bias_is_a_part_of_the_product(dtype: str, shape: tuple[int, int, int], count: int | None) -> None:
    m, k, n = shape
    rng = np.random.default_rng(0)
    a, b, bias = (rng.normal(size=s).astype(dtype) for s in ((m, k), (n, k), (n,)))
    with contextlib.nullcontext() if count is None else threads(count):
        found = gemm.affine(a, b.T, bias)
    assert found.dtype == dtype
    tolerance = 1e-12 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(found, a.astype(np.float64) @ b.T + bias, rtol=tolerance, atol=tolerance)


@pytest.mark.skipif(bool(gemm.bfloat16_problem()), reason=gemm.bfloat16_problem())
@pytest.mark.parametrize("shape", [(3, 4, 5), (200, 130, 400), (3, 0, 2)])
def test_a_bias_is_a_part_of_a_product_of_bfloat16(shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    rng = np.random.default_rng(0)
    a, b, bias = (rng.normal(size=s).astype(np.float32) for s in ((m, k), (k, n), (n,)))
    rounded = [to_float32(gemm.to_bfloat16(x)) for x in (a, b)]
    found = gemm.affine(gemm.to_bfloat16(a), gemm.to_bfloat16(b), bias)
    np.testing.assert_allclose(found, rounded[0] @ rounded[1] + bias, rtol=1e-4, atol=1e-4)


def test_what_would_be_kept_for_later_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    later = []
    monkeypatch.setattr(cpu, "run_later", lambda tasks, out: later.append(out.shape))
    for depth, is_left in ((1 << 12, True), (1 << 15, False)):
        a, b = np.ones((16, depth), np.float32), np.ones((depth, 100), np.float32)
        out = np.ones((16, 100), np.float32)
        with threads(2):
            gemm.matmul_into(a, b, out, accumulate=True)
        assert later == ([out.shape] if is_left else [])
        later.clear()
        np.testing.assert_array_equal(out, 1 if is_left else 1 + depth)


@pytest.fixture(params=[True, False], ids=["compiled", "not compiled"])
def _kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever kernels there are, or the reference alone."""
    if not request.param:
        monkeypatch.setattr("tensorgrad.kernels.cpu_kernels", lambda: (reference, "the reference"))
    cpu._compiled.cache_clear()
    yield
    cpu._compiled.cache_clear()


@pytest.mark.usefixtures("_kernels")
@pytest.mark.parametrize("rows", [1, 2, 4, 5, 8])
def test_few_rows_are_shared_by_threads_too(rows: int) -> None:
    rng = np.random.default_rng(0)
    a, w = (rng.normal(size=shape).astype(np.float32) for shape in ((rows, 768), (1100, 768)))
    found = []
    for count in (1, 2, 3):
        with threads(count):
            found.append(gemm.matmul(a, w.T))
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])
    np.testing.assert_allclose(found[0], a.astype(np.float64) @ w.T, rtol=1e-4, atol=1e-4)


def test_fast_products_of_bfloat16_are_known_of() -> None:
    assert gemm.has_fast_bfloat16() in ((False,) if gemm.bfloat16_problem() else (False, True))
