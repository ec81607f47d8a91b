"""A matrix product as cuBLAS sees it: column-major matrices by sizes, leading dimensions and strides.

Arrays here are row-major, and D = X Y with X (M, K), Y (K, N), D (M, N) is D^T = Y^T X^T to a library
that reads by columns: its first operand is Y, its second X, and m = N, n = M. A matrix whose rows
are dense is read as it lies ("N"), one whose columns are dense is read transposed ("T"); the distance of
neighbours along the other axis is its leading dimension, whatever lies between.

    D = X Y (+ bias) (+ D)        bias (N,), added to each row
    row_sums = sums of X's rows   (M,), which the product reads anyway: a bias's gradient beside a weight's
    D = gelu(H), H = X Y (+ bias) GELU by tanh; H is written to aux (M, N) too, if there is one
    D = gelu'(H) (X Y)            H read from aux

Source: cublasLt documentation, cublasLtMatmul and cublasLtEpilogue_t (BIAS, BGRADB, GELU*, DGELU).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from tensorgrad.array import Array, address_of, module_of
from tensorgrad.dtype import DType

__all__ = ["Matrix", "NotInProduct", "Plan", "Product", "has_dense_rows", "product_of"]


class NotInProduct(Exception):
    """Whoever computes products does not compute a GELU in this one: it needs a pass of its own, after it."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """How one operand is read: as `rows` x `columns` by columns, `leading` elements apart."""

    rows: int
    columns: int
    leading: int
    batch_stride: int  # elements from one product's matrix to the next; 0: the same one
    is_transposed: bool  # after it has been read

    def extent(self, batch: int) -> int:
        """How many elements lie from the first one to the last of `batch` such matrices."""
        return (batch - 1) * self.batch_stride + (self.columns - 1) * self.leading + self.rows


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything of a product but its addresses: what a library's choice of algorithm may depend on."""

    m: int
    n: int
    k: int
    batch: int
    a: Matrix
    b: Matrix
    d: Matrix
    dtype: str  # of both operands
    out_dtype: str
    has_bias: bool
    has_row_sums: bool
    accumulate: bool
    gelu: str  # "", or what becomes of the product: "value" or "gradient"
    aux: Matrix | None
    alignment: int  # bytes, a power of 2 up to 16, that divide every address


@dataclass(frozen=True, slots=True)
class Product:
    """A plan with the arrays that it is for: their first elements are where their matrices begin."""

    plan: Plan
    a: Array
    b: Array
    out: Array
    bias: Array | None
    row_sums: Array | None
    aux: Array | None


def product_of(
    x: Array,
    y: Array,
    out: Array,
    *,
    bias: Array | None = None,
    row_sums: Array | None = None,
    accumulate: bool = False,
    gelu: str = "",
    aux: Array | None = None,
) -> list[Product]:
    """The products of which out = x y consists: one, unless leading axes have no common stride.

    Args:    x (..., M, K), y (..., K, N) of one dtype, out (..., M, N) with dense rows; leading axes of x and y
             broadcast to those of out. bias (N,), row_sums (M,), gelu and aux (M, N) only without leading axes.
    Returns: products that read x, y or dense copies of them, where no leading dimension describes them.
    """
    lead = out.shape[:-2]
    x, y = (_readable(z) for z in (x, y))
    if lead:
        x, y = (module_of(z).broadcast_to(z, (*lead, *z.shape[-2:])) for z in (x, y))
    outer, batch, strides = _batched(lead, x, y, out)
    m, n, k = out.shape[-1], out.shape[-2], x.shape[-1]
    a, b, d = (_matrix(z, step) for z, step in zip((y, x, out), (strides[1], strides[0], strides[2]), strict=True))
    products = []
    for index in outer:
        parts: tuple[Array, Array, Array] = (y[index], x[index], out[index]) if index else (y, x, out)
        plan = Plan(
            *(m, n, k, batch, a, b, d, _name(x.dtype), _name(out.dtype)),
            has_bias=bias is not None,
            has_row_sums=row_sums is not None,
            accumulate=accumulate,
            gelu=gelu,
            aux=None if aux is None else _matrix(aux, 0),
            alignment=_alignment(*parts, *(z for z in (bias, row_sums, aux) if z is not None)),
        )
        products.append(Product(plan, *parts, bias, row_sums, aux))
    return products


def _readable(z: Array) -> Array:
    """`z` with dense rows or dense columns, whose lines do not overlap: itself, or a copy."""
    is_dense = has_dense_rows(z) or has_dense_rows(z.swapaxes(-1, -2))
    return z if is_dense else module_of(z).ascontiguousarray(z)


def has_dense_rows(z: Array) -> bool:
    """Whether rows, (..., columns), are dense and do not overlap, so that a leading dimension describes them."""
    row, column = (step // z.itemsize for step in z.strides[-2:])
    rows, columns = z.shape[-2:]
    return bool((column == 1 or columns <= 1) and (row >= columns or rows <= 1))


def _matrix(z: Array, batch_stride: int) -> Matrix:
    row, column = (step // z.itemsize for step in z.strides[-2:])
    rows, columns = z.shape[-2:]
    if has_dense_rows(z):  # read by columns it is z^T
        return Matrix(columns, rows, row if rows > 1 else columns, batch_stride, is_transposed=False)
    return Matrix(rows, columns, column if columns > 1 else rows, batch_stride, is_transposed=True)


def _batched(lead: tuple[int, ...], *arrays: Array) -> tuple[list[tuple[int, ...]], int, list[int]]:
    """Leading axes as a loop over the outer of them, and one batch of the inner ones, with a stride for each array."""
    count, batch = len(lead), 1
    steps = [0] * len(arrays)
    while count:
        size = lead[count - 1]
        next_steps = [z.strides[count - 1] // z.itemsize for z in arrays]
        if batch > 1 and size > 1 and any(new != old * batch for new, old in zip(next_steps, steps, strict=True)):
            break
        if size > 1 and batch == 1:
            steps = next_steps
        batch *= size
        count -= 1
    outer: list[tuple[int, ...]] = [()]
    for size in lead[:count]:
        outer = [(*index, i) for index in outer for i in range(size)]
    return outer if math.prod(lead) else [], batch, steps


@functools.cache
def _name(dtype: DType) -> str:
    return dtype.name  # which NumPy composes anew each time


def _alignment(*arrays: Array) -> int:
    return math.gcd(16, *map(address_of, arrays))
