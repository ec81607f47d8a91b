"""Element types: their names, which of them have gradients, what sums are accumulated in."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from tensorgrad.errors import DTypeError

__all__ = ["DType", "DTypeLike", "accumulation_dtype", "as_dtype", "is_float", "tolerance"]

DType: TypeAlias = "np.dtype[Any]"
DTypeLike: TypeAlias = "str | type | np.dtype[Any]"

_NAMES = (
    *("float64", "float32", "float16", "bfloat16", "bool"),
    *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"),
)

# Largest relative error of one rounded result that tests accept, per dtype: a few units in the last place.
_TOLERANCES = {"float64": 1e-14, "float32": 2e-6, "float16": 2e-3, "bfloat16": 1.6e-2}


def as_dtype(dtype: DTypeLike) -> DType:
    """The NumPy dtype of a name, a type or a dtype. Raises DTypeError for one that tensors do not have."""
    if dtype == "bfloat16":
        try:
            import ml_dtypes  # type: ignore[import-not-found, unused-ignore]  # noqa: F401  registers the name
        except ImportError:
            raise DTypeError("dtype bfloat16: expected the package ml_dtypes: it comes with CuPy") from None
    try:
        result = np.dtype(dtype)
    except TypeError:
        result = None
    if result is None or result.name not in _NAMES:
        raise DTypeError(f"dtype: expected one of {', '.join(_NAMES)}, got {dtype!r}")
    return result


def is_float(dtype: DType) -> bool:
    """Whether values of this dtype can have a gradient."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


def accumulation_dtype(dtype: DType) -> DType:
    """What sums and statistics of `dtype` are computed in: float32 for the 16-bit floats, else `dtype`."""
    return np.dtype(np.float32) if dtype.itemsize == 2 and is_float(dtype) else dtype


def tolerance(dtype: DTypeLike) -> float:
    """Relative error that a test accepts of one op in `dtype` against the exact value."""
    name = as_dtype(dtype).name
    if name not in _TOLERANCES:
        raise DTypeError(f"tolerance: expected a float dtype, got {name}: integers are exact")
    return _TOLERANCES[name]
