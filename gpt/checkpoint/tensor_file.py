"""Named arrays in a `.safetensors` file: a JSON header and raw numbers, without any code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gpt.errors import UserError
from tensorgrad.array import Array, to_numpy

__all__ = ["read_tensors", "write_tensors"]

_DTYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BOOL": "?"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1"},
    **{"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1"},
}


def write_tensors(path: Path, tensors: Mapping[str, Array]) -> None:
    """Write arrays under their names, with the metadata that `transformers` expects.

    Raises:  OSError: the disk is full, ...
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    contiguous = {name: np.asarray(to_numpy(array), order="C") for name, array in tensors.items()}
    try:
        save_file(contiguous, path, metadata={"format": "pt"})
    except SafetensorError as error:  # the library's own error, for every error of the system
        size_bytes = sum(array.nbytes for array in contiguous.values())
        raise OSError(f"{path}: expected room for {size_bytes:,} bytes, got: {error}: make some") from None


def read_tensors(path: Path) -> dict[str, Array]:
    """All arrays by name; bfloat16, which NumPy lacks, becomes float32.

    Raises:  UserError: a missing, truncated or malformed file, an unsupported dtype.
    """
    from safetensors import SafetensorError, deserialize

    try:
        entries = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise UserError(
            f"{path}: expected a complete safetensors file, got: {error}: copy or download it again"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: expected a safetensors file, got: {error.strerror}: check the path") from None
    return {name: _array(path, name, entry["dtype"], entry["shape"], entry["data"]) for name, entry in entries}


def _array(path: Path, name: str, dtype: str, shape: list[int], data: bytearray) -> Array:
    if dtype == "BF16":
        # A bfloat16 is the upper half of a float32.
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
    if dtype not in _DTYPES:
        raise UserError(
            f"{path}: expected {name} in one of {', '.join(_DTYPES)} or BF16, got {dtype}: convert it first"
        )
    return np.frombuffer(data, _DTYPES[dtype]).reshape(shape)
