"""Products by cublasLt, and by CuPy as the last resort, on a GPU against float64 on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.array import cuda_module, to_device, to_numpy
from tensorgrad.errors import DeviceError
from tensorgrad.kernels import reference
from tensorgrad.kernels.gemm import cuda
from tensorgrad.kernels.gemm.cublaslt import CublasLt

pytestmark = pytest.mark.gpu

# Largest error relative to the largest value: a few roundings of the dtype.
TOLERANCES = {"bfloat16": 1e-2, "float16": 2e-3, "float32": 4e-6, "float64": 1e-14}
SHAPES = [(1, 1, 1), (7, 5, 3), (64, 64, 64), (130, 333, 65), (1024, 768, 2304), (2304, 4096, 768)]  # M, K, N


@pytest.fixture
def cupy() -> Iterator[Any]:
    try:
        yield cuda_module()
    except DeviceError as problem:
        pytest.skip(str(problem))


@pytest.fixture(params=["cublasLt", "cupy"])
def runner(request: Any, cupy: Any) -> Iterator[str]:
    if request.param == "cublasLt":
        pytest.importorskip("nvmath")
    with cuda.running_with(CublasLt() if request.param == "cublasLt" else cuda._cupy_product):
        yield request.param


def drawn(dtype: str, *shape: int, seed: int = 0) -> tuple[Any, np.ndarray]:
    """Normal numbers of a dtype: on the device, and in float64 on the CPU."""
    random = np.random.default_rng([seed, *shape])
    x = to_device(random.standard_normal(shape, np.float32), "cuda").astype(dtype)
    return x, exact(x)


def exact(x: Any) -> np.ndarray:
    return to_numpy(x.astype("float64"))


def compare(got: Any, expected: np.ndarray, dtype: str) -> None:
    np.testing.assert_allclose(exact(got), expected, rtol=0, atol=TOLERANCES[dtype] * max(1e-3, abs(expected).max()))


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_products_of_every_memory_order(runner: str, dtype: str, shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    (x, x64), (y, y64) = drawn(dtype, m, k), drawn(dtype, k, n)
    (x_T, x_T64), (y_T, y_T64) = drawn(dtype, k, m), drawn(dtype, n, k)
    compare(cuda.matmul(x, y), x64 @ y64, dtype)
    compare(cuda.matmul(x, y_T.T), x64 @ y_T64.T, dtype)
    compare(cuda.matmul(x_T.T, y), x_T64.T @ y64, dtype)
    compare(cuda.matmul(x_T.T, y_T.T), x_T64.T @ y_T64.T, dtype)
    wide, wide64 = drawn(dtype, m, 2 * k + 3)
    compare(cuda.matmul(wide[:, 2 : 2 + k], y), wide64[:, 2 : 2 + k] @ y64, dtype)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_biases_sums_and_what_is_added_to(runner: str, dtype: str, shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    parameter = "float64" if dtype == "float64" else "float32"
    (x, x64), (w, w64), (bias, bias64), (g, g64) = (drawn(dtype, *s) for s in ((m, k), (n, k), (n,), (m, n)))
    compare(cuda.matmul(x, w.T, bias=bias), x64 @ w64.T + bias64, dtype)
    gradient, before = drawn(parameter, n, k, seed=1)
    sums = cuda_module().empty(n, parameter)
    for times in (1, 2):  # also of an algorithm that was tried and chosen the first time
        cuda.matmul(g.T, x, out=gradient, row_sums=sums, accumulate=True)
        compare(gradient, before + times * (g64.T @ x64), parameter)
        compare(sums, g64.sum(0), parameter)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("shape", [(64, 64, 64), (1000, 768, 3072), (4096, 256, 1024)])
def test_gelu_is_a_part_of_products(cupy: Any, dtype: str, shape: tuple[int, int, int]) -> None:
    pytest.importorskip("nvmath")
    m, k, n = shape
    (x, x64), (w, w64), (down, down64), (bias, bias64) = (drawn(dtype, *s) for s in ((m, k), (n, k), (k, n), (n,)))
    w, w64, down, down64 = w * 0.02, exact(w * 0.02), down * 0.02, exact(down * 0.02)
    with cuda.running_with(CublasLt()):
        for _ in range(2):  # also with an algorithm that was chosen the first time
            for given in (bias, None):
                both = cuda.matmul_gelu(x, w.T, given, keeps_input=True)
                alone = cuda.matmul_gelu(x, w.T, given, keeps_input=False)
                assert both is not None
                assert alone is not None
                h64 = x64 @ w64.T + (0 if given is None else bias64)
                compare(both[0], h64, dtype)
                compare(both[1], reference.gelu(h64, "tanh"), dtype)
                compare(alone[1], reference.gelu(h64, "tanh"), dtype)
                dh = cuda.matmul_gelu_gradient(x, down, both[0])
                assert dh is not None
                compare(dh, reference.gelu_gradient(x64 @ down64, exact(both[0]), "tanh"), dtype)


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_batches(runner: str, dtype: str) -> None:
    heads, heads64 = drawn(dtype, 2, 50, 3, 16)
    q, q64 = heads.transpose(0, 2, 1, 3), heads64.transpose(0, 2, 1, 3)
    compare(cuda.matmul(q, q.swapaxes(-1, -2)), q64 @ q64.swapaxes(-1, -2), dtype)
    (y, y64) = drawn(dtype, 16, 20)
    compare(cuda.matmul(q, y), q64 @ y64, dtype)


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_the_same_bits_again(runner: str, dtype: str) -> None:
    (g, _), (x, _) = drawn(dtype, 8192, 256), drawn(dtype, 8192, 256, seed=1)  # few outputs of long sums
    first = cuda.matmul(g.T, x)
    for _ in range(20):
        assert bool((cuda.matmul(g.T, x) == first).all())


def test_tf32_only_when_it_is_asked_for(runner: str) -> None:
    (x, x64), (y, y64) = drawn("float32", 512, 512), drawn("float32", 512, 512, seed=1)
    compare(cuda.matmul(x, y), x64 @ y64, "float32")
    with tg.allow_tf32():
        compare(cuda.matmul(x, y), x64 @ y64, "float16")


def test_a_captured_product_is_the_eager_one(cupy: Any) -> None:
    pytest.importorskip("nvmath")
    (x, _), (w, _), (bias, _) = drawn("bfloat16", 256, 128), drawn("bfloat16", 64, 128), drawn("bfloat16", 64)
    stream = cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.Device().synchronize()
    with stream, cuda.running_with(CublasLt()):
        out = cuda.matmul(x, w.T, bias=bias)
        eager = out.copy()
        out[...] = 0
        stream.begin_capture()
        cuda.matmul(x, w.T, bias=bias, out=out)
        graph = stream.end_capture()
        graph.launch(stream)
        stream.synchronize()
        assert bool((out == eager).all())
