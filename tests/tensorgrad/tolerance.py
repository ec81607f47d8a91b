"""How far from the exact value one op may be, by dtype."""

from __future__ import annotations

from tensorgrad.dtype import DTypeLike, as_dtype

__all__ = ["tolerance"]

# Relative errors of a few units in the last place.
_TOLERANCES = {"float64": 1e-14, "float32": 2e-6, "float16": 2e-3, "bfloat16": 1.6e-2}


def tolerance(dtype: DTypeLike) -> float:
    """The largest relative error of one rounded result that a test accepts."""
    return _TOLERANCES[as_dtype(dtype).name]
