"""Carry out a matrix product's plan with NumPy on flat memory, column-major as cuBLAS does: the plans' oracle."""

from __future__ import annotations

import numpy as np

from tensorgrad.kernels import reference
from tensorgrad.kernels.gemm.plan import Matrix, Product

__all__ = ["interpret"]


def interpret(product: Product) -> None:
    """D = op(A) op(B) (+ bias down the columns) (+ D), its GELU, B's sums over k: from addresses and the plan alone."""
    plan = product.plan
    a, b = flat(product.a, plan.a, plan.batch), flat(product.b, plan.b, plan.batch)
    d = flat(product.out, plan.d, plan.batch)
    wide = np.float64 if plan.dtype == "float64" else np.float32
    for i in range(plan.batch):
        left, right = read(a, plan.a, i).astype(wide), read(b, plan.b, i).astype(wide)
        assert left.shape == (plan.m, plan.k)
        assert right.shape == (plan.k, plan.n)
        total = left @ right
        into = as_columns(d, plan.d, i)
        assert into.shape == (plan.m, plan.n)
        if product.bias is not None:
            assert product.bias.shape == (plan.m,)
            total += product.bias.astype(wide)[:, None]
        if plan.accumulate:
            total += into
        if plan.aux is not None:
            assert plan.aux.leading % 8 == 0
            aux = as_columns(flat(product.aux, plan.aux, 1), plan.aux, 0)
            assert aux.shape == (plan.m, plan.n)
        if plan.gelu == "value":
            if plan.aux is not None:
                aux[...] = total
            total = reference.gelu(total, "tanh")
        elif plan.gelu:
            total = reference.gelu_gradient(total, aux.astype(wide), "tanh")
        into[...] = total
        if product.row_sums is not None:
            assert product.row_sums.shape == (plan.n,)
            product.row_sums[...] = right.sum(axis=0)


def flat(array: np.ndarray, matrix: Matrix, batch: int) -> np.ndarray:
    """The memory from an array's first element to the last one that a plan touches."""
    return np.lib.stride_tricks.as_strided(array, (matrix.extent(batch),), (array.itemsize,))


def as_columns(memory: np.ndarray, matrix: Matrix, index: int) -> np.ndarray:
    start = index * matrix.batch_stride
    assert matrix.leading >= matrix.rows
    shape, step = (matrix.rows, matrix.columns), memory.itemsize
    return np.lib.stride_tricks.as_strided(memory[start:], shape, (step, matrix.leading * step))


def read(memory: np.ndarray, matrix: Matrix, index: int) -> np.ndarray:
    columns = as_columns(memory, matrix, index)
    return columns.T if matrix.is_transposed else columns
