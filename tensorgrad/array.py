"""Arrays underneath tensors: NumPy's on the CPU, CuPy's on a GPU.

The only module that imports CuPy, and only once a CUDA device is asked for. Everything else asks
`module_of(a)` for the functions that fit an array, and so runs on whichever device holds it.
"""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tensorgrad.errors import DeviceError, shown

__all__ = ["Array", "cuda_module", "device_of", "is_array", "module_of", "own", "to_device", "to_numpy"]

# CuPy's array has NumPy's interface, so one static type stands for both.
Array: TypeAlias = NDArray[Any]


def is_array(x: object) -> bool:
    """Whether `x` is a NumPy array or a CuPy array (not a NumPy scalar, not a Tensor)."""
    return isinstance(x, np.ndarray) or _is_cupy(x)


def module_of(a: Array) -> Any:
    """`numpy` or `cupy`, whichever made `a`."""
    return np if isinstance(a, np.ndarray) else cuda_module()


def own(out: Any, like: Array) -> Array:
    """`out` as an array of `like`'s kind: NumPy returns scalars where an operand-shaped 0-d array is meant."""
    if isinstance(out, np.generic):
        return np.asarray(out)
    return out if type(out) is type(like) else module_of(like).asarray(out)


def device_of(a: Array) -> str:
    """`"cpu"` or `"cuda:0"`, `"cuda:1"`, ..."""
    return "cpu" if isinstance(a, np.ndarray) else f"cuda:{a.device.id}"


def to_device(a: Array, device: str) -> Array:
    """`a` on `device`: itself if it is there already, else a copy. Raises DeviceError."""
    kind, _, index = device.partition(":") if isinstance(device, str) else ("", "", "")
    if kind == "cpu" and not index:
        return to_numpy(a)
    if kind == "cuda" and (index.isdigit() or not index):
        cupy = cuda_module()
        with cupy.cuda.Device(int(index or 0)):
            return cupy.asarray(a)  # type: ignore[no-any-return]
    raise DeviceError(f'device: expected "cpu", "cuda" or "cuda:N", got {shown(device)}')


def to_numpy(a: Array) -> Array:
    """`a` in the CPU's memory: itself if it is there already, else a copy."""
    return a if isinstance(a, np.ndarray) else cuda_module().asnumpy(a)


def _is_cupy(x: object) -> bool:
    # A CuPy array can only exist once somebody has imported CuPy.
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(x, cupy.ndarray)


def cuda_module() -> Any:
    """CuPy, with a device that works. Raises DeviceError."""
    try:
        import cupy  # type: ignore[import-not-found, unused-ignore]

        cupy.cuda.runtime.getDeviceCount()
    except ImportError:
        raise DeviceError(
            "device cuda: expected CuPy to be installed, it is not: "
            "install this package's extra cuda12 or cuda13, or use device cpu"
        ) from None
    except Exception as problem:  # CuPy's own error types cannot be named without CuPy
        raise DeviceError(f"device cuda: expected a CUDA device, CuPy reports {problem}: use device cpu") from None
    return cupy
