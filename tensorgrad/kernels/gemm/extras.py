"""What a library does not do inside a product, by kernels of our own: biases and sums of rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tensorgrad.kernels import kernels_for
from tensorgrad.kernels.gemm.plan import Product

__all__ = ["apart"]


def apart(run: Callable[[Product], None], product: Product) -> None:
    """A product by `run`, which gets it without bias and sums of rows; and these, each in one pass over memory.

    The bias is what the product is added to, so that their sum is rounded once.
    """
    plan, kernels = product.plan, kernels_for(product.out)
    if product.bias is not None:
        bias = product.bias.astype(product.out.dtype, copy=False)
        if plan.accumulate:
            product.out[...] += bias
        else:
            kernels.fill_rows(product.out, bias)
    is_added = plan.accumulate or product.bias is not None
    plain = dataclasses.replace(plan, has_bias=False, has_row_sums=False, accumulate=is_added)
    run(dataclasses.replace(product, plan=plain, bias=None, row_sums=None))
    if product.row_sums is not None:
        rows_MK = product.b  # in the memory order that it came in
        product.row_sums[...] = kernels.column_sums(rows_MK.T, product.row_sums.dtype)
