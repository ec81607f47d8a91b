"""Element types: their names and kinds, what they promote to, what sums are accumulated in."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tensorgrad.errors import DTypeError, shown

__all__ = [
    *("DType", "DTypeLike", "accumulation_dtype", "as_dtype", "is_float", "sum_dtype"),
    *("bool_", "float16", "float32", "float64", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64", "FInfo", "IInfo"),
    *("can_cast", "finfo", "iinfo", "isdtype", "result_type"),
]

DType: TypeAlias = "np.dtype[Any]"
DTypeLike: TypeAlias = "str | type | np.dtype[Any]"

_NAMES = (
    *("float64", "float32", "float16", "bfloat16", "bool"),
    *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"),
)

float64, float32, float16 = np.dtype(np.float64), np.dtype(np.float32), np.dtype(np.float16)
int64, int32, int16, int8 = np.dtype(np.int64), np.dtype(np.int32), np.dtype(np.int16), np.dtype(np.int8)
uint64, uint32, uint16, uint8 = np.dtype(np.uint64), np.dtype(np.uint32), np.dtype(np.uint16), np.dtype(np.uint8)
bool_ = np.dtype(np.bool_)

# All keys that name a dtype which tensors can have, except for bfloat16, which NumPy does not know.
_KNOWN: dict[Any, DType] = {
    key: dtype for dtype in map(np.dtype, _NAMES[:3] + _NAMES[4:]) for key in (dtype, dtype.name, dtype.type)
}
_KNOWN |= {float: float64, int: int64, bool: bool_}


def as_dtype(dtype: DTypeLike) -> DType:
    """The NumPy dtype of a name, a type or a dtype. Raises DTypeError for one that tensors cannot have."""
    if isinstance(dtype, (str, type, np.dtype)):
        found = _KNOWN.get(dtype)
        if found is None and isinstance(dtype, np.dtype):
            found = _KNOWN.get(dtype.newbyteorder("="))
        if found is not None:
            return found
        if "bfloat16" in (dtype, getattr(dtype, "name", ""), getattr(dtype, "__name__", "")):
            try:
                import ml_dtypes  # registers the name
            except ImportError:
                raise DTypeError(
                    "dtype bfloat16: expected the package ml_dtypes, got none: "
                    "install it, or this package's extra cuda13 or cuda12"
                ) from None
            bfloat16: DType = np.dtype(ml_dtypes.bfloat16)
            return bfloat16
    raise DTypeError(f"dtype: expected one of {', '.join(_NAMES)}, got {shown(dtype)}: choose one of those")


def has_tensors(dtype: DType) -> bool:
    """Whether tensors can be of this dtype."""
    return dtype in _KNOWN or dtype.name == "bfloat16"


def is_float(dtype: DType) -> bool:
    """Whether values of this dtype can have a gradient."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


def accumulation_dtype(dtype: DType) -> DType:
    """The dtype that sums and statistics of `dtype` are computed in: float32 for the 16-bit floats, else `dtype`."""
    return np.dtype(np.float32) if dtype.itemsize == 2 and is_float(dtype) else dtype


def sum_dtype(dtype: DType) -> DType:
    """The dtype of a sum or product of `dtype`: floats keep theirs, unsigned integers give uint64, the others int64."""
    return dtype if is_float(dtype) else uint64 if dtype.kind == "u" else int64


# --- the array API's functions of dtypes -------------------------------------------------------

_KINDS = {
    "bool": ("bool",),
    "signed integer": ("int8", "int16", "int32", "int64"),
    "unsigned integer": ("uint8", "uint16", "uint32", "uint64"),
    "real floating": ("float16", "bfloat16", "float32", "float64"),
    "complex floating": (),
}
_KINDS["integral"] = _KINDS["signed integer"] + _KINDS["unsigned integer"]
_KINDS["numeric"] = _KINDS["integral"] + _KINDS["real floating"]


@dataclass(frozen=True)
class FInfo:
    """The numbers that a float dtype can represent."""

    bits: int
    eps: float  # the distance from 1 to the next larger number
    max: float
    min: float
    smallest_normal: float
    dtype: DType


@dataclass(frozen=True)
class IInfo:
    """The numbers that an integer dtype can represent."""

    bits: int
    max: int
    min: int
    dtype: DType


def finfo(x: Any, /) -> FInfo:
    """The limits of a float dtype, given itself or a tensor of it. Raises DTypeError for any other dtype."""
    dtype = _dtype_of(x)
    if not is_float(dtype):
        raise DTypeError(f"finfo: expected a float dtype, got {dtype}: use iinfo for integers")
    if dtype.name == "bfloat16":
        import ml_dtypes  # the dtype exists, so the package is installed

        limits = ml_dtypes.finfo(dtype)
    else:
        limits = np.finfo(dtype)
    eps, largest, least, smallest = map(float, (limits.eps, limits.max, limits.min, limits.smallest_normal))
    return FInfo(dtype.itemsize * 8, eps, largest, least, smallest, dtype)


def iinfo(x: Any, /) -> IInfo:
    """The limits of an integer dtype, given itself or a tensor of it. Raises DTypeError for any other dtype."""
    dtype = _dtype_of(x)
    if dtype.kind not in "iu":
        raise DTypeError(f"iinfo: expected an integer dtype, got {dtype}: use finfo for floats")
    limits = np.iinfo(dtype)
    return IInfo(limits.bits, int(limits.max), int(limits.min), dtype)


def isdtype(dtype: DTypeLike, kind: Any) -> bool:
    """Whether `dtype` is of a kind: another dtype, a name like "integral" or "real floating", or any of a tuple."""
    name = as_dtype(dtype).name
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return any(
        name in (_KINDS[one] if isinstance(one, str) and one in _KINDS else (as_dtype(one).name,)) for one in kinds
    )


def result_type(*arrays_and_dtypes: Any) -> DType:
    """The dtype that tensors, dtypes and Python numbers promote to, by the array API's table.

    Ops on tensors do not promote: use this to find the dtype to convert them to. A Python number takes
    the dtype of the others. Raises DTypeError across kinds (bool, integer, float), and for uint64
    with a signed integer, which no dtype holds.
    """
    numbers = [x for x in arrays_and_dtypes if _is_number(x)]
    dtypes = [_dtype_of(x) for x in arrays_and_dtypes if not _is_number(x)]
    if not dtypes:
        raise DTypeError(
            f"result_type: expected at least one tensor or dtype, got {shown(arrays_and_dtypes)}: "
            "pass a dtype that the numbers can take"
        )
    result = functools.reduce(_promote, dtypes)
    for number in numbers:
        kinds = "b" if isinstance(number, bool) else "iuf" if isinstance(number, int) else "f"
        if ("f" if is_float(result) else result.kind) not in kinds:
            raise DTypeError(
                f"result_type: expected a number that {result} can hold, got {shown(number)}: "
                "convert it, or pass a float dtype"
            )
    return result


def can_cast(from_: Any, to: DTypeLike, /) -> bool:
    """Whether a dtype, given itself or a tensor of it, promotes to `to`: `result_type` of both is `to`."""
    target = as_dtype(to)
    try:
        return _promote(_dtype_of(from_), target) == target
    except DTypeError:
        return False


def _is_number(x: Any) -> bool:
    return type(x) in (bool, int, float)


def _promote(a: DType, b: DType) -> DType:
    try:
        result = np.promote_types(a, b)
    except TypeError:  # float16 and bfloat16, neither of which holds the other
        result = bool_
    for kind in ("bool", "integral", "real floating"):
        if all(dtype.name in _KINDS[kind] for dtype in (a, b, result)):
            return result
    raise DTypeError(f"result_type: expected dtypes that promote to one of their kind, got {a} and {b}: use astype")


def _dtype_of(x: Any) -> DType:
    """The dtype of a Tensor or an array; a dtype or a name stands for itself."""
    found = getattr(x, "dtype", None)
    return as_dtype(found if isinstance(found, np.dtype) else x)
