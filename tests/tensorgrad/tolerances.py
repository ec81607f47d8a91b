"""How far a result may be from the exact value."""

from __future__ import annotations

__all__ = ["TOLERANCES"]

# Largest relative error of one rounded result, by dtype: a few units in the last place.
TOLERANCES = {"float64": 1e-14, "float32": 2e-6, "float16": 2e-3, "bfloat16": 1.6e-2}
