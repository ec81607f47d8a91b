"""Biases and sums of rows by our own kernels, where the library does not compute them inside a product."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tensorgrad.kernels import kernels_for
from tensorgrad.kernels.gemm.plan import Product

__all__ = ["apart"]


def apart(run: Callable[[Product], None], product: Product) -> None:
    """Compute a product by `run` without its bias and sums of rows, and these in one pass over memory each.

    The product is added to the bias in the output, so that their sum is rounded once.
    """
    plan, kernels = product.plan, kernels_for(product.out)
    if product.bias is not None:
        bias = product.bias.astype(product.out.dtype, copy=False)
        if plan.accumulate:
            product.out[...] += bias
        else:
            kernels.fill_rows(product.out, bias)
    is_added = plan.accumulate or product.bias is not None
    alone = dataclasses.replace(plan, has_bias=False, has_row_sums=False, accumulate=is_added)
    run(dataclasses.replace(product, plan=alone, bias=None, row_sums=None))
    if product.row_sums is not None:
        rows_MK = product.b  # in its own memory order
        product.row_sums[...] = kernels.column_sums(rows_MK.T, product.row_sums.dtype)
