"""Every kernel, run on the CPU, against the definition in float64: ragged sizes, outputs poisoned, random order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

from tensorgrad import Key
from tensorgrad.array import cuda_module
from tensorgrad.errors import DeviceError
from tensorgrad.kernels import cuda as kernels
from tensorgrad.kernels import providers, reference
from tensorgrad.kernels.cuda import norm, operand, optimizer, rows
from tensorgrad.kernels.cuda import random as cuda_random
from tensorgrad.kernels.cuda.launch import running_with
from tensorgrad.random import RowKeys, as_pairs
from tests.cuda_shim import MAX_GRID, Shim, is_available, sanitized
from tests.cupy_stand_in.kernels import choosing_anew
from tests.tensorgrad.kernels.cuda.placed import OnDevice, OnHost

# Allowed error relative to a result's largest element: rounding of the result and of its terms to the dtype.
TOLERANCES = {"float64": 1e-13, "float32": 3e-6, "float16": 4e-3, "bfloat16": 3e-2}
DTYPES = list(TOLERANCES)
# Rows and widths: none, one, less than a warp, read one by one and several at a time, more rows than a block's warps.
SHAPES = [(0, 8), (1, 1), (7, 33), (13, 64), (37, 200), (81, 24)]


@pytest.fixture(params=["shim", pytest.param("gpu", marks=pytest.mark.gpu)])
def cuda(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The kernels, with NumPy arrays in and out; bfloat16 as its bits. Arrays that they allocate start as NaN."""
    if request.param == "gpu":
        try:
            module = cuda_module()
        except DeviceError as problem:
            pytest.skip(str(problem))
        _poison(monkeypatch, module)
        with choosing_anew():
            yield OnDevice()
        return
    if not is_available():
        pytest.skip("needs g++")
    monkeypatch.setitem(operand._SCALARS, "uint16", "Bfloat16")
    _poison(monkeypatch, np)
    with choosing_anew(), running_with(Shim(seed=7)):
        yield OnHost()


def _poison(monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    empty = module.empty

    def poisoned(*args: Any, **kwargs: Any) -> Any:
        out = empty(*args, **kwargs)
        out.reshape(-1).view(np.uint8)[...] = 0xFF
        return out

    monkeypatch.setattr(module, "empty", poisoned)


def stored(a: np.ndarray, dtype: str) -> np.ndarray:
    """Numbers rounded to a dtype, as an array stores them."""
    if dtype != "bfloat16":
        return a.astype(dtype)
    bits = a.astype(np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def numbers(a: np.ndarray) -> np.ndarray:
    """The values of an array, in float64."""
    return (a.astype(np.uint32) << 16).view(np.float32).astype(np.float64) if a.dtype == np.uint16 else a.astype(float)


def normal(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    return stored(np.random.default_rng([seed, *shape]).normal(size=shape), dtype)


def assert_close(got: np.ndarray, expected: np.ndarray, dtype: str) -> None:
    assert got.shape == expected.shape
    scale = max(1.0, np.abs(expected).max(initial=0.0))
    np.testing.assert_allclose(numbers(got), expected, rtol=0, atol=TOLERANCES[dtype] * scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_norms(cuda: Any, shape: tuple[int, int], dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if shape == (37, 200):
        monkeypatch.setattr(norm, "_GRADIENT_BLOCKS", 3)  # warps then take several rows
    x, g, w, b = (normal(s, dtype, i) for i, s in enumerate((shape, shape, shape[1:], shape[1:])))
    xs, gs, ws, bs = map(numbers, (x, g, w, b))
    for bias, exact_bias in ((b, bs), (None, None)):
        out, mean, rstd = cuda.layer_norm(x, w, bias, 1e-5)
        expected, exact_mean, exact_rstd = reference.layer_norm(xs, ws, exact_bias, 1e-5)
        assert_close(out, expected, dtype)
        assert mean.dtype == rstd.dtype == operand.wide_dtype(x)
        np.testing.assert_allclose(mean, exact_mean, atol=1e-6)
        np.testing.assert_allclose(rstd, exact_rstd, rtol=1e-4)
    got = cuda.layer_norm_gradient(g, x, w, mean, rstd)
    for part, exact in zip(got, reference.layer_norm_gradient(gs, xs, ws, exact_mean, exact_rstd), strict=True):
        assert_close(part, exact, dtype)
    out, rstd = cuda.rms_norm(x, w, 1e-5)
    expected, exact_rstd = reference.rms_norm(xs, ws, 1e-5)
    assert_close(out, expected, dtype)
    got = cuda.rms_norm_gradient(g, x, w, rstd)
    for part, exact in zip(got, reference.rms_norm_gradient(gs, xs, ws, exact_rstd), strict=True):
        assert_close(part, exact, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_norms_without_a_weight_are_those_of_ones(cuda: Any, shape: tuple[int, int], dtype: str) -> None:
    """Bit for bit."""
    x, g, b = (normal(s, dtype, i) for i, s in enumerate((shape, shape, shape[1:])))
    ones = stored(np.ones(shape[1:]), dtype)
    for bias in (b, None):
        out, mean, rstd = cuda.layer_norm(x, None, bias, 1e-5)
        np.testing.assert_array_equal(out, cuda.layer_norm(x, ones, bias, 1e-5)[0])
    dx, dweight, dbias = cuda.layer_norm_gradient(g, x, None, mean, rstd)
    expected = cuda.layer_norm_gradient(g, x, ones, mean, rstd)
    np.testing.assert_array_equal(dx, expected[0])
    np.testing.assert_array_equal(dbias, expected[2])
    assert dweight is None
    out, rstd = cuda.rms_norm(x, None, 1e-5)
    np.testing.assert_array_equal(out, cuda.rms_norm(x, ones, 1e-5)[0])
    dx, dweight = cuda.rms_norm_gradient(g, x, None, rstd)
    np.testing.assert_array_equal(dx, cuda.rms_norm_gradient(g, x, ones, rstd)[0])
    assert dweight is None


def test_equal_numbers_have_no_variance(cuda: Any) -> None:
    x = np.full((2, 77), 0.1, np.float32)
    out, mean, rstd = cuda.layer_norm(x, np.ones(77, np.float32), None, 1e-5)
    assert (out == 0).all()
    assert (mean == np.float32(0.1)).all()
    np.testing.assert_allclose(rstd, 1e-5**-0.5, rtol=1e-6)


def test_rows_too_wide_for_shared_memory_are_the_reference_s(cuda: Any) -> None:
    x, w = normal((2, 30_000), "float32"), normal((30_000,), "float32")
    mean, rstd = reference.layer_norm(x, w, None, 1e-5)[1:]
    got = cuda.layer_norm_gradient(x, x, w, mean, rstd)
    for part, exact in zip(got, reference.layer_norm_gradient(x, x, w, mean, rstd), strict=True):
        np.testing.assert_array_equal(part, exact)
    got = cuda.rms_norm_gradient(x, x, w, rstd)
    for part, exact in zip(got, reference.rms_norm_gradient(x, x, w, rstd), strict=True):
        np.testing.assert_array_equal(part, exact)
    with (
        providers.requiring_fast(),
        pytest.raises(DeviceError, match=r"got reference, as .* has rows of 30000 float32"),
    ):
        cuda.rms_norm_gradient(x, x, w, rstd)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 7), (5, 64), (0, 4)])
def test_activations(cuda: Any, shape: tuple[int, int], dtype: str) -> None:
    x, g = normal(shape, dtype), normal(shape, dtype, 1)
    xs, gs = 3 * numbers(x), numbers(g)
    x = stored(xs, dtype)
    xs = numbers(x)
    for approximate in ("none", "tanh"):
        assert_close(cuda.gelu(x, approximate), reference.gelu(xs, approximate), dtype)
        assert_close(cuda.gelu_gradient(g, x, approximate), reference.gelu_gradient(gs, xs, approximate), dtype)
    assert_close(cuda.silu(x), reference.silu(xs), dtype)
    assert_close(cuda.silu_gradient(g, x), reference.silu_gradient(gs, xs), dtype)
    both = stored(np.concatenate([xs, 1 + xs[:, ::-1]], axis=1), dtype)
    assert_close(cuda.swiglu(both), reference.swiglu(numbers(both)), dtype)
    assert_close(cuda.swiglu_gradient(g, both), reference.swiglu_gradient(gs, numbers(both)), dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu_squared", "swiglu"])
@pytest.mark.parametrize("shape", [(3, 14), (5, 64), (0, 4)])
def test_an_mlp_s_activation(cuda: Any, shape: tuple[int, int], activation: str, dtype: str) -> None:
    x, g = stored(3 * numbers(normal(shape, dtype)), dtype), normal(shape, dtype, 1)
    if activation == "swiglu":
        g = np.ascontiguousarray(g[:, : shape[1] // 2])
    xs, gs = numbers(x), numbers(g)
    exact, *gradients = reference.mlp_activation_gradient(gs, xs, activation, False, True)
    assert_close(cuda.mlp_activation(x, None, activation, False), exact, dtype)
    if dtype != "bfloat16":  # NumPy does not add its bits
        bias = normal(shape[1:], dtype, 2)
        moved = x.copy()
        y = cuda.mlp_activation(moved, bias, activation, False)
        np.testing.assert_array_equal(moved, x + bias)
        assert_close(y, reference.mlp_activation(numbers(moved), None, activation, False), dtype)
        dbias = cuda.mlp_activation_gradient(g.copy(), x, activation, False, True)[2]
        assert dbias.dtype == operand.wide_dtype(x)
        assert_close(dbias, gradients[1], dtype)
    again, dx, dbias = cuda.mlp_activation_gradient(g.copy(), x, activation, False, False)
    assert dbias is None
    assert_close(again, exact, dtype)
    assert_close(dx, gradients[0], dtype)


def test_activations_far_from_zero(cuda: Any) -> None:
    x = np.array([-np.inf, -200.0, -80.0, -30.0, 30.0, 200.0, np.inf, np.nan], np.float32)
    with np.errstate(invalid="ignore"):
        exact = reference.silu(x[1:-2].astype(float))
    np.testing.assert_allclose(cuda.silu(x)[1:-2], exact, rtol=1e-5, atol=1e-44)
    assert np.isnan(cuda.silu(x)[-1])
    assert np.isfinite(cuda.gelu_gradient(np.ones(5, np.float32), x[1:6], "tanh")).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0, 4), (3, 1), (5, 77), (2, 1208)])
def test_softmaxes(cuda: Any, shape: tuple[int, int], dtype: str) -> None:
    x, g = stored(4 * np.random.default_rng(0).normal(size=shape), dtype), normal(shape, dtype, 1)
    xs, gs = numbers(x), numbers(g)
    y, log_y = cuda.softmax(x), cuda.log_softmax(x)
    assert_close(y, reference.softmax(xs), dtype)
    assert_close(log_y, reference.log_softmax(xs), dtype)
    assert_close(cuda.softmax_gradient(g, y), reference.softmax_gradient(gs, numbers(y)), dtype)
    assert_close(cuda.log_softmax_gradient(g, log_y), reference.log_softmax_gradient(gs, numbers(log_y)), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0, 4), (3, 1), (5, 77), (2, 1208)])
@pytest.mark.parametrize("has_spread", [False, True])
def test_cross_entropy(cuda: Any, shape: tuple[int, int], dtype: str, has_spread: bool) -> None:
    rng = np.random.default_rng(1)
    x = stored(4 * rng.normal(size=shape), dtype)
    wide = operand.wide_dtype(x)
    spread = rng.random(shape[1]).astype(wide) if has_spread else None
    targets = rng.integers(0, shape[1], shape[0]).astype(np.int32)
    got, exact = cuda.cross_entropy(x, targets, spread), reference.cross_entropy(numbers(x), targets, spread)
    assert (got[1] is not None) == has_spread
    for part, expected in zip(got, exact, strict=True):
        if expected is not None:
            np.testing.assert_allclose(part, expected, rtol=2e-5, atol=2e-6)
    factors = rng.normal(size=(3, shape[0])).astype(wide)
    out = cuda.cross_entropy_gradient(*factors, x, targets, spread, *got[2:])
    assert_close(out, reference.cross_entropy_gradient(*factors, numbers(x), targets, spread, *exact[2:]), dtype)
    assert cuda.cross_entropy_gradient(*factors, x, targets, spread, *got[2:], out_NV=x) is x
    np.testing.assert_array_equal(x, out)


def test_cross_entropy_of_extreme_logits(cuda: Any) -> None:
    x = np.array([[1e4, -1e4, 1e4], [-np.inf, 0.0, -np.inf], [3e4, 3e4, 3e4]], np.float32)
    targets = np.array([0, 1, 2])
    np.testing.assert_allclose(cuda.cross_entropy(x, targets, None)[0], [np.log(2), 0.0, np.log(3)], rtol=1e-6)
    x = np.full((1, 70), 3e6, np.float32)
    spread = np.full(70, 1 / 70, np.float32)
    np.testing.assert_allclose(cuda.cross_entropy(x, targets[:1], spread)[1], [np.log(70)], rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_without_a_target_is_nothing_whatever_is_in_it(cuda: Any, dtype: str) -> None:
    x = stored(np.array([[1.0, 2.0, 3.0], [np.nan, np.inf, 0.0]]), dtype)
    targets, spread = np.array([2, -1]), np.ones(3, operand.wide_dtype(x))
    losses, spread_losses, largest, total = cuda.cross_entropy(x, targets, spread)
    assert [a[1] for a in (losses, spread_losses, largest, total)] == [0, 0, 0, 1]
    assert (losses[0] > 0) & (spread_losses[0] > 0)
    factors = np.array([[1.0, np.nan]] * 3, operand.wide_dtype(x))
    out = numbers(cuda.cross_entropy_gradient(*factors, x, targets, spread, largest, total))
    assert out[1].tolist() == [0, 0, 0]
    assert (out[0] != 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_rope(cuda: Any, dtype: str) -> None:
    angles = np.random.default_rng(0).normal(size=(5, 6))
    cos, sin = stored(np.cos(angles), dtype), stored(np.sin(angles), dtype)
    for shape in ((5, 12), (3, 5, 12), (2, 3, 5, 12)):
        x = normal(shape, dtype)
        assert_close(cuda.rope(x, cos, sin), reference.rope(numbers(x), numbers(cos), numbers(sin)), dtype)
    turned = normal((2, 5, 3, 12), dtype).transpose(0, 2, 1, 3)
    out = cuda.rope(turned, cos, sin)
    assert out.strides == turned.strides
    assert_close(out, reference.rope(numbers(turned), numbers(cos), numbers(sin)), dtype)
    whole = normal((2, 5, 4, 12), dtype)
    expected, part = whole.copy(), whole.transpose(0, 2, 1, 3)[:, :3]
    expected[:, :, :3] = cuda.rope(part, cos, sin).transpose(0, 2, 1, 3)
    if isinstance(cuda, OnDevice):  # whose arguments are copies
        part[...] = cuda.rope(part, cos, sin, part)
    else:
        assert np.shares_memory(cuda.rope(part, cos, sin, part), whole)
    np.testing.assert_array_equal(whole, expected)
    backwards = normal((2, 5, 12), dtype)[..., ::-1]
    assert_close(cuda.rope(backwards, cos, sin), reference.rope(numbers(backwards), numbers(cos), numbers(sin)), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_adamw_and_the_norm(cuda: Any, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizer, "_MAX_BLOCKS", 2)  # threads then take several elements
    for size in (0, 1, 1001, 9000):
        g = normal((size,), dtype)
        exact = np.sqrt((numbers(g) ** 2).sum())
        got = cuda.global_norm(g)
        assert got.shape == ()
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, exact, rtol=1e-12)
    p, m = normal((9000,), dtype, 1), normal((9000,), dtype, 2)
    v = stored(numbers(normal((9000,), dtype, 3)) ** 2, dtype)
    options: Any = {"beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1}
    rates = np.array([1e-2, 0.3, 0.2, 0.5])
    exacts = [numbers(a) for a in (p, g, m, v)]
    reference.adamw(*exacts, rates, **options)
    cuda.adamw(p, g, m, v, rates, **options)
    for got, expected in zip((p, m, v), (exacts[0], *exacts[2:]), strict=True):
        assert_close(got, expected, dtype)
    before = p.copy()
    cuda.adamw(p, g, m, v, np.array([1e-2, 0.3, 0.2, np.inf]), **options)
    np.testing.assert_array_equal(p, before)


@pytest.mark.parametrize(
    ("dtype", "narrow"),
    [("float32", "bfloat16"), ("float32", "float16"), ("float16", "float32"), ("float64", "float32")],
)
def test_adamw_writes_the_copy_that_cast_makes(cuda: Any, dtype: str, narrow: str) -> None:
    kept = "uint16" if narrow == "bfloat16" else narrow
    options: Any = {"beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1}
    for size, start in ((1001, 0), (2304, 0), (2304, 3)):  # vectors cannot write to where the last one begins
        p, g, m, v = (stored(abs(numbers(normal((size,), dtype, i))), dtype) for i in range(4))
        plain = [a.copy() for a in (p, m, v)]
        whole = np.full(size + 3, 7, kept)
        copy = whole[start : start + size]
        rates = np.array([1e-2, 0.3, 0.2, 0.5])
        cuda.adamw(plain[0], g, *plain[1:], rates, **options)
        cuda.adamw(p, g, m, v, rates, **options, copy=copy)
        for got, expected in zip((p, m, v), plain, strict=True):
            np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(copy, cuda.cast(plain[0], np.dtype(kept)))
        assert (np.delete(whole, np.s_[start : start + size]) == 7).all()
        before = copy.copy()
        cuda.adamw(p, g, m, v, np.array([1e-2, 0.3, 0.2, np.nan]), **options, copy=copy)
        np.testing.assert_array_equal(copy, before)
        out = np.full(size + 3, 7, kept)[start : start + size]
        cuda.cast(plain[0], np.dtype(kept), out)
        np.testing.assert_array_equal(out, before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [*SHAPES, (700, 5), (200, 264)])
def test_sums_over_rows(cuda: Any, shape: tuple[int, int], dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dense rows and columns, parts of wider ones, and neither; the order is the same again."""
    monkeypatch.setattr(rows, "_BLOCKS", 4)
    whole = normal((shape[0] + 1, 2 * shape[1] + 8), dtype)
    turned = np.ascontiguousarray(whole.T)
    for x in (
        np.ascontiguousarray(whole[1:, 8 : 8 + shape[1]]),
        whole[1:, 8 : 8 + shape[1]],
        whole[1:, 3 : 3 + shape[1]],
        turned[8 : 8 + shape[1], 1:].T,
        np.asfortranarray(whole[:-1, : shape[1]]),
        whole[:-1, ::2][:, : shape[1]],
    ):
        sums = cuda.column_sums(x, operand.wide_dtype(x))
        assert sums.dtype == operand.wide_dtype(x)
        np.testing.assert_allclose(sums, numbers(x).sum(axis=0), rtol=1e-5, atol=1e-5 * len(x))
        np.testing.assert_array_equal(cuda.column_sums(x, operand.wide_dtype(x)), sums)
    if dtype == "float16":
        assert cuda.column_sums(x, x.dtype).dtype == x.dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_row_written_to_all(cuda: Any, shape: tuple[int, int], dtype: str) -> None:
    row = normal(shape[1:], dtype)
    for whole, start in ((normal(shape, dtype), 0), (normal((shape[0], shape[1] + 16), dtype), 8),
                         (normal((shape[0], shape[1] + 9), dtype), 3)):  # fmt: skip
        expected = whole.copy()
        expected[:, start : start + shape[1]] = row
        if isinstance(cuda, OnDevice):  # whose arguments are dense copies
            start, whole, expected = 0, whole[:, : shape[1]], np.broadcast_to(row, shape)
        cuda.fill_rows(whole[:, start : start + shape[1]], row)
        np.testing.assert_array_equal(whole, expected)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize(("count", "length"), [(1, 3), (31, 1), (32, 2), (100, 3), (333, 40), (129, 1)])
def test_scatter_add_of_rows(cuda: Any, count: int, length: int, dtype: str) -> None:
    rng = np.random.default_rng(count)
    ids = rng.integers(0, length, count)
    values = normal((count, 5), dtype)
    table = normal((length, 5), dtype, 1)
    expected = table.astype(float)
    np.add.at(expected, ids, values.astype(float))
    for index, order in ((ids, None), (ids, np.argsort(ids, kind="stable")), (ids - length, None)):
        got = table.copy()
        cuda.scatter_add(got, index.astype(np.int32), values, order)
        assert_close(got, expected, dtype)


def test_grids_of_long_rows_are_ones_that_a_device_launches() -> None:
    grids: list[tuple[int, ...]] = []
    x = np.zeros((1, 65536 * 128), np.float32)
    with choosing_anew(), running_with(lambda kernel, grid, *rest: grids.append(grid)):
        kernels.scatter_add(x, np.zeros(1, np.int64), x)
        kernels.fill_rows(x, x[0])
        kernels.column_sums(x, x.dtype)
        kernels.dropout(x, as_pairs(Key(0), "cuda"), 0.5)
        kernels.dropout(x.reshape(65536, 128), np.zeros((65536, 2), np.uint64), 0.5)
    assert len(grids) == 7
    for grid in grids:
        assert all(size <= limit for size, limit in zip(grid, MAX_GRID, strict=False))


def test_scatter_add_of_something_else_is_the_reference_s(cuda: Any) -> None:
    for buffer, index, values in (
        (np.zeros((4, 3)), (np.array([0, 0]), np.array([1, 1])), np.ones(2)),
        (np.zeros((4, 3)), np.array([True, False, True, False]), np.ones((2, 3))),
        (np.zeros((4, 3), np.int64), np.array([1, 1]), np.ones((2, 3), np.int64)),
        (np.zeros((3, 4)).T, np.array([1, 1]), np.ones((2, 3))),
        (np.zeros((4, 3)), np.zeros(0, int), np.ones((0, 3))),
    ):
        expected = buffer.copy()
        np.add.at(expected, index, values)
        cuda.scatter_add(buffer, index, values)
        np.testing.assert_array_equal(buffer, expected)
    with providers.requiring_fast():
        cuda.scatter_add(np.zeros((4, 3)), np.array([1, 1]), np.ones((2, 3)))
        with pytest.raises(DeviceError, match=r"got reference, as scatter_add takes one index of rows"):
            cuda.scatter_add(np.zeros((4, 3)), (np.array([0]), np.array([1])), np.ones(1))


@pytest.mark.parametrize("start", [0, 1, 7, 2**40 + 3])
def test_uniform_is_the_key_s(cuda: Any, start: int) -> None:
    keys = [Key(5), Key(7).fold_in(3)]
    keys_R2 = as_pairs(RowKeys(tuple(keys)), "cpu")
    for dtype in ("float32", "float64"):
        out = cuda.uniform(keys_R2, 101, start, np.dtype(dtype))
        np.testing.assert_array_equal(out, [key.uniform((101,), start=start, dtype=dtype) for key in keys])
    np.testing.assert_array_equal(cuda.fold_in(keys_R2, start), [as_pairs(k.fold_in(start), "cpu")[0] for k in keys])


@pytest.mark.parametrize("target", DTYPES)
@pytest.mark.parametrize("source", DTYPES)
def test_casts_round_to_the_nearest(cuda: Any, source: str, target: str) -> None:
    names = {} if isinstance(cuda, OnDevice) else {"bfloat16": "uint16"}
    if names and source != target and "bfloat16" in (source, target) and "float64" in (source, target):
        pytest.skip("NumPy's own cast, which takes bits for integers")
    halfway = np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8, 1 + 2.0**-11, 65000.0, 1e-7, -np.inf, np.inf, -0.0])
    for x in (stored(halfway, source), normal((3, 5, 16), source), normal((7, 3), source), normal((0, 8), source)):
        got = cuda.cast(x, np.dtype(names.get(target, target)))
        np.testing.assert_array_equal(got, stored(numbers(x), target))
    shifted, turned = normal((4, 8), source).reshape(-1)[3:-5], normal((4, 6), source).T
    for x in (shifted, turned) if "bfloat16" not in (source, target) else (shifted,):
        np.testing.assert_array_equal(cuda.cast(x, np.dtype(names.get(target, target))), stored(numbers(x), target))
    assert np.isnan(numbers(cuda.cast(stored(np.array([np.nan]), source), np.dtype(names.get(target, target))))).all()


@pytest.mark.parametrize(("dtype", "of_ids"), [("float64", "int64"), ("float32", "int32"), ("float16", "int16")])
def test_taken_rows_are_the_table_s(cuda: Any, dtype: str, of_ids: str) -> None:
    rng = np.random.default_rng(0)
    wide = normal((9, 40), dtype)
    odd = normal((9, 41), dtype)[:, :24]  # rows do not begin where vectors may be read
    for table in (
        normal((9, 24), dtype),
        normal((9, 5), dtype),
        odd,
        wide[:, 8:24],
        wide[:, 3:17],
        wide[::2],
        wide[:, ::2],
    ):
        ids = rng.integers(-len(table), len(table), (3, 4)).astype(of_ids)
        for some in (ids, ids[:, 2:0:-1], ids[0, 0], ids[:, :0]):
            np.testing.assert_array_equal(cuda.take_rows(table, np.asarray(some)), table[some])
        np.testing.assert_array_equal(cuda.take_rows(table, np.array([2], np.int8)), table[[2]])
    far = np.array([9, -10, 2**15 - 1], of_ids)
    np.testing.assert_array_equal(cuda.take_rows(wide, far), wide[far % 9])


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_is_the_key_s(cuda: Any, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel draws exactly the definition's numbers, for one key and for a key for each row."""
    monkeypatch.setattr(cuda_random, "_MAX_GRID_Y", 2)  # blocks then take several rows
    one, rows = Key(2**63 + 1, 9), RowKeys(tuple(Key(3).fold_in(i) for i in range(5)))
    for key, shape in ((one, (5, 3, 16)), (one, (7, 33)), (one, ()), (one, (0, 3)), (rows, (5, 24)), (rows, (5, 3, 7))):
        x = np.asarray(normal(shape, dtype))
        for rate in (0.0, 0.3, 1 / 3):
            wide = numbers(x).astype(operand.wide_dtype(x))
            exact = np.where(key.uniform(shape) >= rate, wide * wide.dtype.type(1 / (1 - rate)), 0)
            np.testing.assert_array_equal(cuda.dropout(x, as_pairs(key, "cpu"), rate), stored(exact, dtype))
    turned = normal((33, 7), dtype).T
    key_12 = as_pairs(one, "cpu")
    np.testing.assert_array_equal(cuda.dropout(turned, key_12, 0.5), cuda.dropout(turned.copy(order="C"), key_12, 0.5))
    assert cuda.dropout(normal((0, 2), dtype), as_pairs(RowKeys(()), "cpu"), 0.5).shape == (0, 2)


def test_results_do_not_depend_on_the_order_of_threads(cuda: Any) -> None:
    x, g, w = normal((37, 200), "float32"), normal((37, 200), "float32", 1), normal((200,), "float32", 2)
    ids = np.random.default_rng(0).integers(0, 5, 37)

    def results() -> list[np.ndarray]:
        out, mean, rstd = cuda.layer_norm(x, w, None, 1e-5)
        table = np.zeros((5, 200), np.float32)
        cuda.scatter_add(table, ids, g)
        return [out, *cuda.layer_norm_gradient(g, x, w, mean, rstd), cuda.softmax(x), cuda.global_norm(x), table]

    first = results()
    for seed in (100, 200):
        with nullcontext() if isinstance(cuda, OnDevice) else running_with(Shim(seed)):
            for a, b in zip(first, results(), strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.untraced
@pytest.mark.skipif(not is_available(), reason="needs g++")
def test_the_address_sanitizer_finds_nothing() -> None:
    """The same tests for one dtype: every access is to an array, or to the shared memory of the launch."""
    chosen = [
        "-q",
        "-p",
        "no:cacheprovider",
        __file__,
        "-k",
        "(float32 and not casts) or uniform or (casts and float32-float16)",
        "-m",
        "not gpu",
    ]
    done = sanitized(f"""
    import sys, pytest
    from tests.cuda_shim import Shim
    Shim.sanitizes = True
    sys.exit(pytest.main({chosen!r}))
    """)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
