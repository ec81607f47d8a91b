"""What the kernels ask about operands: a dtype's name in the sources, dense memory, how many elements at a time."""

from __future__ import annotations

import numpy as np

from tensorgrad.array import Array, address_of, module_of

__all__ = ["WARP", "blocks_for", "dense", "scalar", "threads_for", "vector", "wide_dtype"]

WARP = 32
# The names of dtypes in the sources.
_SCALARS = {"float64": "double", "float32": "float", "float16": "Float16", "bfloat16": "Bfloat16"}
_ACCESS_BYTES = 16  # the widest access to memory


def scalar(a: Array) -> str:
    """The type of a's elements in the sources."""
    return _SCALARS[a.dtype.name]


def wide_dtype(a: Array) -> type[np.float32] | type[np.float64]:
    """The dtype of sums and statistics of a's elements."""
    return np.float64 if a.dtype == np.float64 else np.float32


def dense(a: Array) -> Array:
    """`a` in row-major order: itself, or a copy."""
    return module_of(a).ascontiguousarray(a).reshape(a.shape)  # type: ignore[no-any-return]


def vector(width: int, *arrays: Array | None) -> int:
    """How many elements a thread reads at once: 16 bytes' worth, if rows of `width` and all arrays allow it, else 1."""
    itemsizes = {a.itemsize for a in arrays if a is not None}
    count = _ACCESS_BYTES // max(itemsizes)
    is_aligned = all(address_of(a) % _ACCESS_BYTES == 0 for a in arrays if a is not None)
    return count if len(itemsizes) == 1 and width % count == 0 and is_aligned else 1


def blocks_for(count: int, threads: int) -> tuple[int]:
    """The grid for `count` threads in blocks of `threads`."""
    return (-(-count // threads),)


def threads_for(width: int, elements: int) -> int:
    """A block for one row: as many warps as the row keeps busy with `elements` at a time, up to 32."""
    return min(1024, max(WARP, -(-width // (elements * WARP)) * WARP))
