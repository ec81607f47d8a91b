"""What a library does not do inside a product, in passes of its own: biases and sums of rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tensorgrad.dtype import accumulation_dtype
from tensorgrad.kernels.gemm.plan import Product

__all__ = ["apart"]


def apart(run: Callable[[Product], None], product: Product) -> None:
    """A product by `run`, which gets it without bias and sums of rows; then these. A bias is added after rounding."""
    plain = dataclasses.replace(product.plan, has_bias=False, has_row_sums=False)
    run(dataclasses.replace(product, plan=plain, bias=None, row_sums=None))
    if product.bias is not None:
        product.out[...] += product.bias
    if product.row_sums is not None:
        rows = product.b  # of shape (M, K), in the memory order that it came in
        wide = accumulation_dtype(rows.dtype)
        product.row_sums[...] = rows.sum(axis=-1, dtype=wide).astype(product.row_sums.dtype, copy=False)
