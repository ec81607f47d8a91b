"""The affine map inside attention, MLP and head."""

from __future__ import annotations

from dataclasses import dataclass

import tensorgrad
from gpt.model.initializer import INIT_STD, Initializer
from tensorgrad import Tensor
from tensorgrad.array import Array
from tensorgrad.dtype import DType, accumulation_dtype

__all__ = ["Linear", "cast", "operand_for"]


@dataclass(frozen=True, slots=True)
class Linear:
    """x weight^T + bias over the last axis."""

    weight: Tensor  # (out, in)
    bias: Tensor | None  # (out,)
    product_dtype: str | None = None  # see `tensorgrad.linear`

    @classmethod
    def init(cls, in_width: int, out_width: int, make: Initializer, *, has_bias: bool, std: float = INIT_STD) -> Linear:
        return cls(
            weight=make.normal((out_width, in_width), std),
            bias=make.constant((out_width,), 0.0) if has_bias else None,
            product_dtype=make.product_dtype,
        )

    def __call__(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else operand_for(x, self.bias)
        return tensorgrad.linear(x, operand_for(x, self.weight), bias, product_dtype=self.product_dtype)

    def cross_entropy(self, x: Tensor, targets: Array, *, reduction: str) -> Tensor:
        """`cross_entropy(self(x), targets)` in half the memory, for a map without bias."""
        assert self.bias is None
        return tensorgrad.linear_cross_entropy(
            x, operand_for(x, self.weight), targets, reduction=reduction, product_dtype=self.product_dtype
        )


def operand_for(x: Tensor, parameter: Tensor) -> Tensor:
    """The parameter in a dtype that `tensorgrad.linear` takes together with x.

    That is x's own dtype, or float32, which `tensorgrad.linear` converts itself without rounding the gradient.
    """
    return parameter if parameter.dtype == accumulation_dtype(x.dtype) else cast(parameter, x.dtype)


def cast(x: Tensor, dtype: DType) -> Tensor:
    """x in `dtype`; x itself if it has that dtype."""
    return tensorgrad.astype(x, dtype, copy=False)
