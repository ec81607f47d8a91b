"""A matrix product as cublasLt sees it: column-major matrices by sizes, leading dimensions and strides.

Arrays here are row-major. To a library that reads by columns, D = X Y with X (M, K), Y (K, N), D (M, N) is
D^T = Y^T X^T: its first operand is Y, its second X, and m = N, n = M. It reads a matrix with dense rows as it
lies ("N"), and one with dense columns transposed ("T"). The leading dimension is the distance of neighbours along the
other axis, whatever lies between them.

    D = X Y (+ bias) (+ D)        bias (N,), added to each row
    row_sums = sums of X's rows   (M,): a bias's gradient beside a weight's, from what the product reads anyway
    D = gelu(H), H = X Y (+ bias) GELU by tanh; H is also written to aux (M, N), if that is given
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


# cublasLt assumes no more for its operands. Source: cublasLtMatmulPreferenceAttributes_t.
_MAX_ALIGNMENT = 256


class NotInProduct(Exception):
    """The runner cannot compute this product's GELU: it needs a pass of its own after the product."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """How the library reads one operand: as `rows` x `columns`, with columns `leading` elements apart."""

    rows: int
    columns: int
    leading: int
    batch_stride: int  # elements from one product's matrix to the next; 0: the same one
    is_transposed: bool  # after reading

    def extent(self, batch: int) -> int:
        """The number of elements from the first to the last of `batch` such matrices."""
        return (batch - 1) * self.batch_stride + (self.columns - 1) * self.leading + self.rows


@dataclass(frozen=True, slots=True)
class Plan:
    """All of a product but its addresses: what a library's choice of algorithm may depend on."""

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
    gelu: str  # "", or what to make of the product: "value" or "gradient"
    aux: Matrix | None
    # Bytes, powers of 2 up to 256, that divide the addresses of a, b and d, and those of bias, row sums and aux.
    alignments: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """A plan and its arrays; each array's first element is where its matrix begins."""

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
    """The products that make up out = x y: one, unless leading axes have no common stride.

    Args:    x (..., M, K), y (..., K, N) of one dtype, out (..., M, N) with dense rows; leading axes of x and y
             broadcast to those of out. bias (N,), row_sums (M,), gelu and aux (M, N) only without leading axes.
    Returns: products that read x and y, or a dense copy where no leading dimension describes one of them.
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
            alignments=(*map(_alignment, parts), _alignment(*(z for z in (bias, row_sums, aux) if z is not None))),
        )
        products.append(Product(plan, *parts, bias, row_sums, aux))
    return products


def _readable(z: Array) -> Array:
    """`z`, or a copy of it if neither its rows nor its columns are dense, or if they overlap."""
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
    if has_dense_rows(z):  # the library, reading by columns, sees z^T
        return Matrix(columns, rows, row if rows > 1 else columns, batch_stride, is_transposed=False)
    return Matrix(rows, columns, column if columns > 1 else rows, batch_stride, is_transposed=True)


def _batched(lead: tuple[int, ...], *arrays: Array) -> tuple[list[tuple[int, ...]], int, list[int]]:
    """Split leading axes into a loop over outer ones and one batch of inner ones with a stride for each array."""
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
    return dtype.name  # cached, because NumPy composes it on every access


def _alignment(*arrays: Array) -> int:
    return math.gcd(_MAX_ALIGNMENT, *map(address_of, arrays))
