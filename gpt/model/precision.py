"""The dtypes of parameters, of activations, and of the operands of matrix products."""

from __future__ import annotations

from dataclasses import dataclass

from gpt.errors import UserError
from tensorgrad.dtype import as_dtype, is_float
from tensorgrad.kernels import gemm

__all__ = ["Precision"]


@dataclass(frozen=True, slots=True)
class Precision:
    """Three dtypes, applied in two places: the embedding casts its output to `compute`, and each layer
    casts its own weights to the dtype of its input. Parameters keep their dtype for the optimizer.

    `product` is for processors that multiply bfloat16 fast but have no bfloat16 arrays: linear layers
    round the operands of their products to it, and the results are float32.
    """

    parameter: str = "float32"  # trained and saved in this dtype
    compute: str | None = None  # activations, and weights inside products; None: as `parameter`
    product: str | None = None  # operands of products; None: unchanged

    def __post_init__(self) -> None:
        for name in (self.parameter, self.compute):
            if name is not None and not is_float(as_dtype(name)):
                raise UserError(f"precision: expected float dtypes, got {name}: float32 is usual")
        if self.product not in (None, "bfloat16"):
            raise UserError(f"precision: expected product to be bfloat16 or None, got {self.product}: None is usual")

    @classmethod
    def of(cls, dtype: str | Precision, device: str = "cpu") -> Precision:
        """The precision for a dtype's name (everything in it), for "bf16" or "fp16", or a Precision itself.

        "bf16" and "fp16" keep parameters, losses and statistics in float32; activations and products
        are bfloat16 or float16. On the CPU "bf16" is float32 with bfloat16 operands of products.

        Raises: UserError: "bf16" on a CPU that does not multiply bfloat16 fast.
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
        """Whether the loss must be scaled, as small float16 gradients become zero (gpt/optim/loss_scale.py)."""
        return self.compute == "float16"


def _check_fast_products() -> None:
    if not gemm.has_fast_bfloat16():
        reason = gemm.bfloat16_problem() or "a processor with neither AVX512-BF16 nor AMX"
        raise UserError(
            f"precision: expected oneDNN and a processor that multiplies bfloat16 for bf16, got {reason}: "
            "use float32, or install this package's extra onednn"
        )
