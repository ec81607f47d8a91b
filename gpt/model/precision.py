"""Which dtype holds the parameters, which the activations, and which the operands of products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gpt.errors import UserError
from tensorgrad.dtype import accumulation_dtype, as_dtype, is_float
from tensorgrad.kernels import gemm

__all__ = ["Precision"]


@dataclass(frozen=True, slots=True)
class Precision:
    """Applied in two places only: the embedding's output is cast to `compute`, and every layer casts its
    own weights to the dtype of what it is given. So a parameter keeps its precision under the optimizer.
    Where a processor has no arrays of bfloat16, but fast products of them, `product` rounds the operands
    of the linear layers' products, whose results are float32.
    """

    parameter: str = "float32"  # what is trained and saved
    compute: str | None = None  # of activations, and of weights in products; None: as the parameters are
    product: str | None = None  # of the operands of products; None: as they come

    def __post_init__(self) -> None:
        for name in (self.parameter, self.compute):
            if name is not None and not is_float(as_dtype(name)):
                raise UserError(f"precision: expected float dtypes, got {name}: float32 is usual")
        if self.product not in (None, "bfloat16"):
            raise UserError(f"precision: expected product to be bfloat16 or None, got {self.product}: None is usual")

    @classmethod
    def of(cls, dtype: str | Precision, device: str = "cpu") -> Precision:
        """Everything in one dtype, unless a Precision says otherwise, or the name of a mixed one.

        "bf16" and "fp16" keep parameters, losses and statistics in float32. Activations and products are
        bfloat16 or float16; but "bf16" on the CPU is float32 with products of bfloat16 operands.

        Raises: UserError: "bf16" on a CPU where it would gain nothing, or cannot be computed.
        """
        match dtype:
            case Precision():
                return dtype
            case "fp16":
                return cls("float32", compute="float16")
            case "bf16" if device != "cpu":
                return cls("float32", compute="bfloat16")
            case "bf16":
                _check_fast_products()
                return cls("float32", product="bfloat16")
            case _:
                return cls(dtype)

    @property
    def is_loss_scaled(self) -> bool:
        """Whether small gradients would become zero, so that the loss must be scaled (gpt/optim/loss_scale.py)."""
        return self.compute == "float16"

    @property
    def reduction(self) -> np.dtype[Any]:
        """Of losses, of norms' statistics and of sums over gradients: float32 or better."""
        return accumulation_dtype(as_dtype(self.compute or self.parameter))


def _check_fast_products() -> None:
    if not gemm.has_fast_bfloat16():
        reason = gemm.bfloat16_problem() or "a processor with neither AVX512-BF16 nor AMX"
        raise UserError(
            f"precision: expected oneDNN and a processor that multiplies bfloat16 for bf16, got {reason}: "
            "use float32, or install this package's extra onednn"
        )
