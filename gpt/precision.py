"""Which dtype holds the parameters, and which the computation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gpt.errors import UserError
from tensorgrad.dtype import accumulation_dtype, as_dtype, is_float

__all__ = ["Precision"]


@dataclass(frozen=True, slots=True)
class Precision:
    """Applied in two places only: the embedding's output is cast to `compute`, and every layer casts its
    own weights to the dtype of what it is given. So a parameter keeps its precision under the optimizer.
    """

    parameter: str = "float32"  # what is trained and saved
    compute: str | None = None  # of activations, and of weights in products; None: as the parameters are

    def __post_init__(self) -> None:
        for name in (self.parameter, self.compute):
            if name is not None and not is_float(as_dtype(name)):
                raise UserError(f"precision: expected float dtypes, got {name}: float32 is usual")

    @classmethod
    def of(cls, dtype: str | Precision) -> Precision:
        """Everything in one dtype, unless a Precision says otherwise."""
        return dtype if isinstance(dtype, Precision) else cls(dtype)

    @property
    def reduction(self) -> np.dtype[Any]:
        """Of losses, of norms' statistics and of sums over gradients: float32 or better."""
        return accumulation_dtype(as_dtype(self.compute or self.parameter))
