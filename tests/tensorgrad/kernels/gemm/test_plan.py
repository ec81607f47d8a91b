"""A plan, carried out on flat memory as cuBLAS would, gives NumPy's product: from any layout, with every extra."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorgrad.kernels import gemm, providers, reference
from tensorgrad.kernels.gemm import cuda
from tensorgrad.kernels.gemm.plan import Product, product_of
from tests.cupy_stand_in.kernels import choosing_anew
from tests.gemm_interpreter import interpret


@st.composite
def layouts(draw: st.DrawFn, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Whole numbers in an array of `shape` in some memory order: transposed, cut out of a larger one, reversed."""
    kind = draw(st.sampled_from(["plain", "transposed", "slice", "transposed slice", "every other", "reversed"]))
    a = rng.integers(-9, 10, shape).astype(np.float32)
    if "transposed" in kind:
        a = np.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2)
    if "slice" in kind:
        axis = -2 if "transposed" in kind else -1
        wide = np.full(np.where(np.arange(a.ndim) == a.ndim + axis, np.array(a.shape) + 5, a.shape), np.nan, np.float32)
        if "transposed" in kind:
            wide = np.ascontiguousarray(wide.swapaxes(-1, -2)).swapaxes(-1, -2)
        part = [slice(None)] * a.ndim
        part[axis] = slice(2, -3)
        wide[tuple(part)] = a
        a = wide[tuple(part)]
    if kind == "every other":
        wide = np.full((*shape[:-1], 2 * shape[-1]), np.nan, np.float32)
        wide[..., ::2] = a
        a = wide[..., ::2]
    return a[..., ::-1, :] if kind == "reversed" else a


@given(st.data(), st.tuples(*[st.integers(1, 6)] * 3), st.lists(st.integers(0, 3), max_size=3), st.integers(0, 99))
def test_products(data: st.DataObject, sizes: tuple[int, int, int], lead: list[int], seed: int) -> None:
    m, k, n = sizes
    rng = np.random.default_rng(seed)
    x_lead, y_lead = (tuple(1 if data.draw(st.booleans()) else size for size in lead) for _ in range(2))
    x_lead, y_lead = x_lead[data.draw(st.integers(0, len(lead))) :], y_lead[data.draw(st.integers(0, len(lead))) :]
    x, y = data.draw(layouts((*x_lead, m, k), rng)), data.draw(layouts((*y_lead, k, n), rng))
    expected = x @ y
    accumulate = data.draw(st.booleans())
    before = rng.integers(-9, 10, expected.shape).astype(np.float32)
    out = before.copy() if accumulate else np.full(expected.shape, np.nan, np.float32)
    bias = rng.integers(-9, 10, n).astype(np.float32) if not expected.shape[:-2] and data.draw(st.booleans()) else None
    with cuda.running_with(interpret):
        got = cuda.matmul(x, y, out=out, bias=bias, accumulate=accumulate)
    assert got is out
    expected = expected + (0 if bias is None else bias) + (before if accumulate else 0)
    np.testing.assert_array_equal(out, expected)


@given(st.data(), st.tuples(*[st.integers(1, 6)] * 3), st.integers(0, 99))
def test_sums_of_rows_beside_a_product(data: st.DataObject, sizes: tuple[int, int, int], seed: int) -> None:
    m, k, n = sizes
    rng = np.random.default_rng(seed)
    x, y = data.draw(layouts((m, k), rng)), data.draw(layouts((k, n), rng))
    sums = np.full(m, np.nan, np.float32)
    with cuda.running_with(interpret):
        np.testing.assert_array_equal(cuda.matmul(x, y, row_sums=sums), x @ y)
    np.testing.assert_array_equal(sums, x.sum(axis=1))


@given(st.data(), st.integers(1, 6), st.integers(1, 6), st.sampled_from([8, 24]), st.integers(0, 99))
def test_gelu_beside_a_product(data: st.DataObject, m: int, k: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = (data.draw(layouts(shape, rng)).astype(np.float16) / 8 for shape in ((m, k), (k, n)))
    bias = (rng.integers(-9, 10, n) / 8).astype(np.float16) if data.draw(st.booleans()) else None
    with cuda.running_with(interpret):
        both = cuda.matmul_gelu(x, y, bias, keeps_input=True)
        alone = cuda.matmul_gelu(x, y, bias, keeps_input=False)
        assert both is not None
        assert alone is not None
        h, out = both
        dh = cuda.matmul_gelu_gradient(x, y, h)
    product = x.astype(np.float32) @ y.astype(np.float32)
    exact = product + (0 if bias is None else bias.astype(np.float32))
    np.testing.assert_array_equal(h, exact.astype(np.float16))
    np.testing.assert_allclose(out, reference.gelu(exact, "tanh"), rtol=2e-3, atol=1e-3)
    np.testing.assert_array_equal(alone[1], out)
    np.testing.assert_allclose(dh, reference.gelu_gradient(product, h.astype(np.float32), "tanh"), rtol=2e-3, atol=1e-3)


def test_what_lies_as_a_library_reads_it_is_not_copied() -> None:
    x, w = np.ones((6, 4), np.float32), np.ones((8, 4), np.float32)
    (forward,) = product_of(x, w.T, np.empty((6, 8), np.float32))
    assert np.shares_memory(forward.a, w)
    assert np.shares_memory(forward.b, x)
    plan = forward.plan
    assert (plan.m, plan.n, plan.k) == (8, 6, 4)
    assert (plan.a.is_transposed, plan.b.is_transposed) == (True, False)
    assert (plan.a.leading, plan.b.leading, plan.d.leading) == (4, 4, 8)
    heads = np.ones((2, 5, 3, 4), np.float32).transpose(0, 2, 1, 3)  # (B, H, T, D) as the projection gives them
    products = product_of(heads, heads.swapaxes(-1, -2), np.empty((2, 3, 5, 5), np.float32))
    assert [p.plan.batch for p in products] == [3, 3]
    assert all(np.shares_memory(p.a, heads) and np.shares_memory(p.b, heads) for p in products)
    (batched,) = product_of(np.ones((2, 3, 5, 4)), np.ones((4, 6)), np.empty((2, 3, 5, 6)))
    assert (batched.plan.batch, batched.plan.a.batch_stride, batched.plan.b.batch_stride) == (6, 0, 20)


def at_alignment(count: int, multiple: int) -> np.ndarray:
    """Zeros whose address is an odd multiple of so many bytes."""
    memory = np.zeros(count + 256, np.float32)
    start = next(i for i in range(256) if (memory.ctypes.data + 4 * i) % (2 * multiple) == multiple)
    return memory[start : start + count]


def test_each_operand_s_alignment_is_its_own_up_to_256_bytes() -> None:
    x, y, out = at_alignment(24, 512).reshape(6, 4), at_alignment(32, 128).reshape(4, 8), at_alignment(48, 64)
    (alone,) = product_of(x, y, out.reshape(6, 8))
    assert alone.plan.alignments == (128, 256, 64, 256)
    (beside,) = product_of(x, y, out.reshape(6, 8), bias=at_alignment(8, 4))
    assert beside.plan.alignments == (128, 256, 64, 4)


def test_sizes_of_zero_and_shapes_that_do_not_fit() -> None:
    with cuda.running_with(interpret):
        assert cuda.matmul(np.ones((0, 3)), np.ones((3, 2))).shape == (0, 2)
        np.testing.assert_array_equal(cuda.matmul(np.ones((2, 0)), np.ones((0, 3))), np.zeros((2, 3)))
        sums = np.full(2, np.nan)
        cuda.matmul(np.ones((2, 3)), np.ones((3, 0)), row_sums=sums)
        np.testing.assert_array_equal(sums, [3, 3])
        np.testing.assert_array_equal(cuda.matmul(np.ones((2, 2), int), np.ones((2, 2), int)), np.full((2, 2), 2))
        with pytest.raises(ValueError, match="inner sizes 3 and 2"):
            cuda.matmul(np.ones((2, 3)), np.ones((2, 2)))


@pytest.mark.parametrize("accumulate", [False, True])
def test_products_of_float16_may_be_added_to_float32(accumulate: bool) -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=shape).astype(np.float16) for shape in ((5, 300), (300, 7)))
    out = np.ones((5, 7), np.float32)
    with cuda.running_with(interpret):
        cuda.matmul(x, y, out=out, accumulate=accumulate)
    exact = x.astype(float) @ y.astype(float) + accumulate
    np.testing.assert_allclose(out, exact, rtol=1e-5, atol=1e-5)


def test_the_last_resort_does_the_same() -> None:
    rng = np.random.default_rng(0)
    x, y, bias = rng.normal(size=(5, 4)), rng.normal(size=(4, 3)), rng.normal(size=3)
    out, sums = np.ones((5, 3)), np.empty(5)
    with cuda.running_with(cuda._cupy_product):
        cuda.matmul(x, y, bias=bias, row_sums=sums, out=out, accumulate=True)
    np.testing.assert_allclose(out, x @ y + bias + 1)
    np.testing.assert_allclose(sums, x.sum(axis=1))


def test_the_last_resort_has_no_gelu_in_its_products() -> None:
    g, y, h = (np.ones((8, 8), np.float16) for _ in range(3))
    with cuda.running_with(interpret):
        assert cuda.matmul_gelu_gradient(g, y, h) is not None
    with cuda.running_with(cuda._cupy_product):
        assert cuda.matmul_gelu_gradient(g, y, h) is None


def test_a_result_whose_rows_are_not_dense_is_cupy_s_and_said() -> None:
    x, y, out = np.ones((5, 4)), np.ones((4, 3)), np.zeros((5, 6))
    with choosing_anew(), cuda.running_with(interpret):
        cuda.matmul(x, y, out=out[:, ::2])
        assert [fallback.used for fallback in providers.fallbacks()] == ["cupy"]
        with providers.requiring_fast():
            assert cuda.matmul(x[:0], y).shape == (0, 3)  # nothing to write to
    np.testing.assert_array_equal(out, [[4, 0] * 3] * 5)


def test_on_a_device_without_cublaslt_cupy_computes(cupy: Any) -> None:
    assert cuda._provider() is cuda._cupy_product
    (choice,) = (c for c in providers.choices() if c.need == "gemm")
    assert choice.chosen == "cupy"
    assert [name for name, _ in choice.rejected] == ["cublasLt"]


def test_who_computes_wrongly_is_not_used(cupy: Any) -> None:
    assert cuda._checked(cuda._cupy_product) is cuda._cupy_product

    def wrong(product: Product) -> None:
        cuda._cupy_product(product)
        product.out[0, 0] += 1

    with pytest.raises(ArithmeticError, match="came out wrong"):
        cuda._checked(wrong)


def test_products_of_16_bit_floats_keep_their_float32(cupy: Any) -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=shape).astype(np.float16) for shape in ((5, 300), (300, 7)))
    got = gemm.matmul_in(cupy.asarray(x), cupy.asarray(y), np.dtype(np.float32))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got.get(), x.astype(float) @ y.astype(float), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gemm.matmul_in(x, y, np.dtype(np.float32)), got.get(), rtol=1e-5, atol=1e-5)
