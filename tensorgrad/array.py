"""Arrays underneath tensors: NumPy's on the CPU, CuPy's on a GPU.

The only module that imports CuPy, at the first use of a CUDA device. All other code takes the functions
that fit an array from `module_of(a)`, and so runs on whichever device holds it.
"""

from __future__ import annotations

import contextvars
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tensorgrad.allocator import guarded
from tensorgrad.errors import DeviceError, shown

__all__ = ["Array", "ForeignArray", "address_of", "creation_module", "cuda_module", "device_of", "is_any"]
__all__ += ["is_array", "is_concrete", "making_with", "module_of", "module_on", "own", "raising_linalg", "to_device"]
__all__ += ["to_numpy"]

# CuPy's array has NumPy's interface, so one static type stands for both.
Array: TypeAlias = NDArray[Any]


class ForeignArray:
    """An array with a shape but without values (`tools.abstract`), which brings its own functions and kernels."""

    __slots__ = ()

    module: ClassVar[Any]  # takes the place of NumPy
    kernels: ClassVar[Any]
    device: ClassVar[str]


def is_array(x: object) -> bool:
    """Whether `x` is a NumPy array or a CuPy array (not a NumPy scalar, not a Tensor)."""
    return isinstance(x, (np.ndarray, ForeignArray)) or _is_cupy(x)


def is_concrete(a: object) -> bool:
    """Whether an array has values to look at: not in a program that runs on shapes alone."""
    return not isinstance(a, ForeignArray)


def is_any(condition: Any) -> bool:
    """Whether a condition holds anywhere; False for an array without values, so that checks of values pass."""
    return is_concrete(condition) and bool(condition.any())


def module_of(a: Array) -> Any:
    """`numpy` or `cupy`, whichever made `a`."""
    if isinstance(a, np.ndarray):
        return np
    return a.module if isinstance(a, ForeignArray) else sys.modules["cupy"]


_maker: contextvars.ContextVar[Any] = contextvars.ContextVar("_maker", default=np)


def creation_module() -> Any:
    """The module that makes new arrays on the CPU: NumPy, or what `making_with` puts in its place."""
    return _maker.get()


@contextmanager
def making_with(module: Any) -> Iterator[None]:
    """Within it new arrays are made with `module`."""
    token = _maker.set(module)
    try:
        yield
    finally:
        _maker.reset(token)


def own(out: Any, like: Array) -> Array:
    """`out` as an array of `like`'s kind: NumPy returns a scalar in place of an array without axes."""
    if isinstance(out, np.generic):
        return np.asarray(out)
    is_alike = type(out) is type(like) or isinstance(out, ForeignArray)
    return out if is_alike else module_of(like).asarray(out)  # type: ignore[no-any-return]


def device_of(a: Array) -> str:
    """`"cpu"` or `"cuda:0"`, `"cuda:1"`, ..."""
    if isinstance(a, (np.ndarray, np.generic)):
        return "cpu"
    return a.device if isinstance(a, ForeignArray) else f"cuda:{a.device.id}"


def raising_linalg(a: Array) -> AbstractContextManager[None]:
    """Within it, matrices that cannot be decomposed raise LinAlgError. On a GPU, CuPy then waits for the device."""
    if device_of(a) == "cpu":
        return nullcontext()
    import cupyx  # CuPy's arrays exist, so it is installed

    return cupyx.errstate(linalg="raise")  # type: ignore[no-any-return]


def module_on(device: str) -> Any:
    """CuPy for a GPU, None for the CPU. Raises DeviceError."""
    return None if _device_index(device) is None else cuda_module()


def address_of(a: Array) -> int:
    """The address of an array's first element, in its device's memory."""
    data: Any = a.data
    return int(data.ptr) if hasattr(data, "ptr") else a.ctypes.data


def to_device(a: Array, device: str) -> Array:
    """`a` on `device`: itself if it is already there, else a copy. Raises DeviceError."""
    index = _device_index(device)
    if index is None:
        return a if isinstance(a, ForeignArray) else to_numpy(a)
    cupy = cuda_module()
    count = cupy.cuda.runtime.getDeviceCount()
    if index >= count:
        raise DeviceError(f"device: expected one of cuda:0 .. cuda:{count - 1}, got {device}: choose one of those")
    with cupy.cuda.Device(index):
        return cupy.asarray(a)  # type: ignore[no-any-return]


def _device_index(device: str) -> int | None:
    """The number of a GPU, None for the CPU. Raises DeviceError."""
    kind, _, index = device.partition(":") if isinstance(device, str) else ("", "", "")
    if kind == "cpu" and not index:
        return None
    if kind == "cuda" and (index.isdigit() or not index):
        return int(index or 0)
    raise DeviceError(f'device: expected "cpu", "cuda" or "cuda:N", got {shown(device)}: choose one of those')


def to_numpy(a: Array) -> Array:
    """`a` in the CPU's memory: itself if it is already there, else a copy."""
    if isinstance(a, np.ndarray):
        return a
    return np.asarray(a) if isinstance(a, ForeignArray) else cuda_module().asnumpy(a)


def _is_cupy(x: object) -> bool:
    # CuPy's arrays exist only once CuPy has been imported.
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(x, cupy.ndarray)


def cuda_module() -> Any:
    """CuPy, with a device that works. Raises DeviceError."""
    try:
        import cupy

        cupy.cuda.runtime.getDeviceCount()
        _prepare(cupy)
    except ImportError:
        raise DeviceError(
            "device cuda: expected CuPy and a CUDA device, got no CuPy: install this package's extra cuda13, "
            "or cuda12 for drivers before 580, or use device cpu"
        ) from None
    except Exception as problem:  # CuPy's own error types cannot be named without CuPy
        raise DeviceError(
            f"device cuda: expected a CUDA device, got {problem} from CuPy: install NVIDIA's driver, or use device cpu"
        ) from None
    return cupy


_prepared: Any = None  # the CuPy whose allocator has been wrapped


def _prepare(cupy: Any) -> None:
    global _prepared
    if cupy is not _prepared:
        cupy.cuda.set_allocator(guarded(cupy, cupy.cuda.get_allocator()))
        _prepared = cupy
