"""The array API's description of this library: `tensorgrad.__array_namespace_info__()` returns this module."""

from __future__ import annotations

from typing import Any

from tensorgrad.array import cuda_module
from tensorgrad.dtype import DType, as_dtype, isdtype
from tensorgrad.errors import DeviceError

__all__ = ["capabilities", "default_device", "default_dtypes", "devices", "dtypes"]

# The dtypes that tensors can have and the standard names.
_NAMES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")


def capabilities() -> dict[str, Any]:
    """Whether masks may be indices and shapes may depend on values, and the most axes, which is NumPy's limit."""
    return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}


def default_device() -> str:
    """The device of tensors made from Python numbers."""
    return "cpu"


def devices() -> list[str]:
    """The devices that this machine has."""
    try:
        count = cuda_module().cuda.runtime.getDeviceCount()
    except DeviceError:
        count = 0
    return ["cpu", *(f"cuda:{i}" for i in range(count))]


def default_dtypes(*, device: str | None = None) -> dict[str, DType]:
    """The dtypes of tensors made without naming one, by kind; the same on every device."""
    _check_device("default_dtypes", device)
    names = {"real floating": "float32", "integral": "int64", "indexing": "int64"}
    return {kind: as_dtype(name) for kind, name in names.items()}


def dtypes(*, device: str | None = None, kind: str | tuple[str, ...] | None = None) -> dict[str, DType]:
    """The standard's dtypes that tensors can have, of the kinds given as in `isdtype`; the same on every device."""
    _check_device("dtypes", device)
    return {name: as_dtype(name) for name in _NAMES if kind is None or isdtype(name, kind)}


def _check_device(op: str, device: str | None) -> None:
    if device is not None and device not in (known := devices()):
        raise DeviceError(f"{op}: expected one of {', '.join(known)}, got {device!r}: choose one of those")
