"""The affine map that attention, MLP and head are made of."""

from __future__ import annotations

from dataclasses import dataclass

import tensorgrad
from gpt.model.initializer import INIT_STD, Initializer
from tensorgrad import Tensor
from tensorgrad.array import Array
from tensorgrad.dtype import DType, accumulation_dtype

__all__ = ["Linear", "beside", "cast"]


@dataclass(frozen=True, slots=True)
class Linear:
    """x weight^T + bias over the last axis."""

    weight: Tensor  # (out, in)
    bias: Tensor | None  # (out,)
    product_dtype: str | None = None  # as `tensorgrad.linear` has it

    @classmethod
    def init(cls, in_width: int, out_width: int, make: Initializer, *, has_bias: bool, std: float = INIT_STD) -> Linear:
        return cls(
            weight=make.normal((out_width, in_width), std),
            bias=make.constant((out_width,), 0.0) if has_bias else None,
            product_dtype=make.product_dtype,
        )

    def __call__(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else beside(x, self.bias)
        return tensorgrad.linear(x, beside(x, self.weight), bias, product_dtype=self.product_dtype)

    def cross_entropy(self, x: Tensor, targets: Array, *, reduction: str) -> Tensor:
        """`tensorgrad.cross_entropy` of the result, which must have no bias, with the targets, in half the memory."""
        assert self.bias is None
        return tensorgrad.linear_cross_entropy(
            x, beside(x, self.weight), targets, reduction=reduction, product_dtype=self.product_dtype
        )


def beside(x: Tensor, parameter: Tensor) -> Tensor:
    """The parameter as `tensorgrad.linear` takes it, which converts float32 itself: no gradient is rounded then."""
    return parameter if parameter.dtype == accumulation_dtype(x.dtype) else cast(parameter, x.dtype)


def cast(x: Tensor, dtype: DType) -> Tensor:
    """x in `dtype`; itself where that is its own."""
    return tensorgrad.astype(x, dtype, copy=False)
