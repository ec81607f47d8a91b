"""gemmEx is asked for what the plan says, by a cuBLAS that carries it out from addresses."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.kernels.gemm import cuda, gemmex
from tests.cupy_stand_in.cublaslt import FLOATS, memory
from tests.tensorgrad.kernels.gemm.test_cublaslt import on_device


class Cublas(types.ModuleType):
    """The one function of `cupy_backends.cuda.libs.cublas` that is used."""

    compute = 0

    def gemmStridedBatchedEx(
        self, handle: int, transa: int, transb: int, m: int, n: int, k: int, alpha: int, A: int, Atype: int, lda: int,
        strideA: int, B: int, Btype: int, ldb: int, strideB: int, beta: int, C: int, Ctype: int, ldc: int, strideC: int,
        batchCount: int, computeType: int, algo: int,
    ) -> None:  # fmt: skip
        assert (handle, algo) == (99, -1)
        self.compute = computeType
        scale = np.float64 if computeType == 70 else np.float32
        assert memory(alpha, scale, 1)[0] == 1
        for i in range(batchCount):
            left = columns(A, Atype, lda, i * strideA, *((k, m) if transa else (m, k)))
            right = columns(B, Btype, ldb, i * strideB, *((n, k) if transb else (k, n)))
            into = columns(C, Ctype, ldc, i * strideC, m, n)
            left, right = left.T if transa else left, right.T if transb else right
            old = into if memory(beta, scale, 1)[0] else 0  # with a factor of 0 it is not read
            into[...] = left.astype(scale) @ right.astype(scale) + old


def columns(address: int, data_type: int, leading: int, start: int, rows: int, count: int) -> np.ndarray:
    dtype = np.dtype(FLOATS[data_type])
    flat = memory(address + start * dtype.itemsize, dtype.type, (count - 1) * leading + rows)
    return np.lib.stride_tricks.as_strided(flat, (rows, count), (dtype.itemsize, leading * dtype.itemsize))


@pytest.fixture
def cublas(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cublas]:
    found = Cublas("cupy_backends.cuda.libs.cublas")
    libs = types.ModuleType("cupy_backends.cuda.libs")
    libs.cublas = found  # type: ignore[attr-defined]
    for name in ("cupy_backends", "cupy_backends.cuda"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "cupy_backends.cuda.libs", libs)
    device = types.SimpleNamespace(get_cublas_handle=lambda: 99)
    monkeypatch.setattr(gemmex, "cuda_module", lambda: types.SimpleNamespace(cuda=types.SimpleNamespace(device=device)))
    with cuda.running_with(gemmex.GemmEx()):
        yield found


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_products_with_their_extras(cublas: Cublas, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, w, bias = (on_device(rng.integers(-4, 5, shape).astype(dtype)) for shape in ((6, 5), (8, 5), (8,)))
    sums: Any = on_device(np.zeros(6, dtype))
    np.testing.assert_array_equal(cuda.matmul(x, w.T, bias=bias), x @ w.T + bias)
    np.testing.assert_array_equal(cuda.matmul(x, w.T, row_sums=sums), x @ w.T)
    np.testing.assert_array_equal(sums, x.sum(axis=1))
    total = on_device(np.ones((5, 5), np.float64 if dtype == "float64" else np.float32))
    np.testing.assert_array_equal(cuda.matmul(x.T, x, out=total, accumulate=True), 1 + x.T @ x)
    batched = on_device(rng.integers(-4, 5, (2, 3, 5, 6)).astype(dtype))
    np.testing.assert_array_equal(cuda.matmul(batched, x), batched @ x)


def test_a_gelu_is_no_part_of_a_product(cublas: Cublas) -> None:
    x: Any = on_device(np.ones((8, 8), np.float16))
    assert cuda.matmul_gelu(x, x, None, keeps_input=True) is None
    assert cuda.matmul_gelu_gradient(x, x, x) is None


def test_tf32_only_when_it_is_asked_for(cublas: Cublas) -> None:
    x = on_device(np.ones((4, 4), np.float32))
    cuda.matmul(x, x)
    assert cublas.compute == 68
    with tg.allow_tf32():
        cuda.matmul(x, x)
    assert cublas.compute == 77
