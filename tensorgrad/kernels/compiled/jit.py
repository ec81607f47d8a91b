"""How the compiled kernels are compiled, and how their work is shared.

A kernel is a loop over rows or elements. numba compiles it at its first call with arrays of some dtypes, and keeps it
on disk. It runs without Python's lock, so that the threads of `kernels.threads` compute parts of it side by side.
Shapes alone decide where it is cut.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np

from tensorgrad.array import Array
from tensorgrad.kernels.threads import run_all

__all__ = [
    "are_contiguous_floats",
    "compiled",
    "in_parts",
    "inlined",
    "summing",
    "summing_any_strides",
    "summing_inlined",
]

# A smaller part takes no longer than handing it to a thread.
_MIN_PART_ELEMENTS = 1 << 16
_MAX_PARTS = 16

Result = TypeVar("Result")

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)

# A product and a sum may become one instruction.
_FUSED = {"contract"}
# A sum may become several partial sums, as vector units add. The compiler chooses their order, once.
_SUMS = {"contract", "reassoc", "nsz"}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel: a loop over arrays.

    Its machine code is kept beside its file, or in the user's cache if that folder is read-only, or not at all. It is
    compiled anew when its own file changes: after a change to a function from another file, such as elementary.py,
    remove the folders __pycache__.
    """
    return _compiled(function, _FUSED)


def summing(function: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel with sums in it. An `inlined` function in it still computes exactly as it is written."""
    return _compiled(function, _SUMS)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of numbers for use inside kernels, inlined whatever its size: a loop with a call is not vectorised."""
    return numba.njit(nogil=True, fastmath=_FUSED, error_model="numpy", forceinline=True)(function)  # type: ignore[no-any-return]


def summing_inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """`inlined`, with sums in it. A `summing` function would exist twice, compiled alone and within its caller.

    Whether this process compiled them or read them from disk would decide which of the two runs.
    """
    return numba.njit(nogil=True, fastmath=_SUMS, error_model="numpy", forceinline=True)(function)  # type: ignore[no-any-return]


def summing_any_strides(
    read: tuple[int, ...], written: tuple[int, ...], *others: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`summing`, for float32 arrays with these numbers of axes and any strides, and then the types in `others`.

    Without this declaration numba would compile each combination of layouts.
    """
    types = [numba.types.Array(numba.float32, ndim, "A", readonly=True) for ndim in read]
    types += [numba.types.Array(numba.float32, ndim, "A") for ndim in written]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.cache  # compiled when it is first called
        def machine_code() -> Callable[..., Any]:
            return _compiled(function, _SUMS, [numba.void(*types, *others)])

        return lambda *arguments: machine_code()(*arguments)

    return decorate


def _compiled(
    function: Callable[..., Any], fastmath: set[str], signatures: list[Any] | None = None
) -> Callable[..., Any]:
    options: dict[str, Any] = {"nogil": True, "fastmath": fastmath, "error_model": "numpy"}
    try:
        return numba.njit(signatures, cache=True, **options)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # no folder can be written to
        return numba.njit(signatures, **options)(function)  # type: ignore[no-any-return]


def in_parts(length: int, elements: int, work: Callable[[int, int], Result]) -> list[Result]:
    """work(start, stop) for parts of `length` rows of `elements` elements in all; the results in order."""
    count = min(_MAX_PARTS, elements // _MIN_PART_ELEMENTS, length)
    if count < 2:
        return [work(0, length)]
    step = -(-length // (1 << count.bit_length() - 1))  # a power of two: an even share for two threads, or four
    return run_all([functools.partial(work, start, min(start + step, length)) for start in range(0, length, step)])


def are_contiguous_floats(*arrays: Array | None, like: Array | None = None) -> bool:
    """Whether the arrays are C-contiguous and float32, or float64 if that is the dtype of `like`."""
    dtype = _FLOAT64 if like is not None and like.dtype == _FLOAT64 else _FLOAT32
    return all(a is None or (a.dtype == dtype and a.flags.c_contiguous) for a in arrays)
