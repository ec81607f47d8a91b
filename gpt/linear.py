"""The affine map that attention, MLP and head are made of."""

from __future__ import annotations

from dataclasses import dataclass

import tensorgrad
from gpt.initializer import INIT_STD, Initializer
from tensorgrad import Tensor
from tensorgrad.dtype import DType, accumulation_dtype

__all__ = ["Linear", "cast"]


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
        weight, bias = self.weight, self.bias
        if weight.dtype != accumulation_dtype(x.dtype):
            # What `tensorgrad.linear` does not convert itself, to give gradients that were never rounded.
            weight, bias = cast(weight, x.dtype), None if bias is None else cast(bias, x.dtype)
        return tensorgrad.linear(x, weight, bias, product_dtype=self.product_dtype)


def cast(x: Tensor, dtype: DType) -> Tensor:
    """x in `dtype`; itself where that is its own."""
    return x if x.dtype == dtype else x.astype(dtype)
