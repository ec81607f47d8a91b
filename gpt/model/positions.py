"""Position encodings: tables of angles, computed once in float64.

`Positions` select rows of such a table. They are a slice if all sequences of the batch are at the
same positions, as in training, or an array (B, T), as when texts of different length are continued.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

import tensorgrad
from tensorgrad import Tensor
from tensorgrad.array import Array, to_device

__all__ = ["Positions", "Rotation", "rope_tables", "rotate", "sinusoids"]

Positions = slice | NDArray[np.int64]
Rotation = tuple[Array, Array]  # cosines and sines, (T, D / 2) or (B, T, D / 2)


@functools.lru_cache(maxsize=16)
def rope_tables(length: int, head_dim: int, theta: float, dtype: str, device: str) -> Rotation:
    """Cosines and sines of the rotary angles, (length, D / 2) each: position * theta^(-2 i / D).

    Source: Su et al., "RoFormer", 2021, section 3.2.2.
    """
    angles = _angles(length, head_dim, theta)
    cos, sin = (to_device(table.astype(dtype), device) for table in (np.cos(angles), np.sin(angles)))
    return cos, sin


@functools.lru_cache(maxsize=16)
def sinusoids(length: int, width: int, dtype: str, device: str) -> Array:
    """Alternating sines and cosines of geometrically spaced wavelengths, (length, C).

    Source: Vaswani et al., "Attention is all you need", 2017, section 3.5.
    """
    angles = _angles(length, width, 10000.0)
    table = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, width)
    return to_device(table.astype(dtype), device)


def rotate(x_BHTD: Tensor, rotation: Rotation) -> Tensor:
    """Queries or keys, rotated by the angles of their positions."""
    cos, sin = rotation
    if cos.ndim == 2:
        return tensorgrad.rope(x_BHTD, cos, sin)
    # Each sequence has its own positions. The op's tables have one position axis, so merge batch and time.
    batch, heads, time, width = x_BHTD.shape
    x_HND = x_BHTD.permute_dims(1, 0, 2, 3).reshape(heads, batch * time, width)
    y_HND = tensorgrad.rope(x_HND, cos.reshape(-1, width // 2), sin.reshape(-1, width // 2))
    return y_HND.reshape(heads, batch, time, width).permute_dims(1, 0, 2, 3)


def _angles(length: int, width: int, theta: float) -> NDArray[np.float64]:
    frequencies = theta ** (-np.arange(0, width, 2) / width)
    angles: NDArray[np.float64] = np.arange(length)[:, None] * frequencies
    return angles
