"""Attention by our own kernels: attention_flash.cu on tensor cores for 16-bit floats, attention_plain.cu for others.

Both have the same four kernels with the same arguments; what differs is how large a tile a block holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgrad.array import Array
from tensorgrad.dtype import accumulation_dtype
from tensorgrad.kernels.cuda.attention.layout import aligned, check_widths, gradients_like, heads_last
from tensorgrad.kernels.cuda.launch import Kernel, launch
from tensorgrad.kernels.packing import element_strides

__all__ = ["ELEMENTS", "Tiled", "Tiles", "flash_tiles", "plain_tiles"]

MAX_HEAD_DIM = 128
# What the sources call an array's elements.
ELEMENTS = {"bfloat16": "Bfloat16", "float16": "Float16", "float32": "float", "float64": "double"}


@dataclass(frozen=True)
class Tiles:
    """How a source cuts its work: rows that a block holds, in the forward and in the backward; and what that needs."""

    source: str
    threads: int
    forward_rows: int
    backward_rows: int
    delta_rows: int
    forward_bytes: int  # of shared memory
    query_bytes: int
    key_bytes: int


def flash_tiles(head_dim: int) -> Tiles:
    warps, columns = 4, 64 if head_dim <= 64 else 32
    rows = 16 * warps
    forward_rows = 2 * rows if head_dim <= 64 else rows
    row_bytes = 2 * (head_dim + 8)  # with the 16 bytes that keep rows in different banks
    streamed = 4 * columns * row_bytes  # two operands, of this tile and of the next
    backward = 2 * rows * row_bytes + streamed
    return Tiles(
        source="attention_flash.cu",
        threads=32 * warps,
        forward_rows=forward_rows,
        backward_rows=rows,
        delta_rows=warps,
        forward_bytes=forward_rows * row_bytes + streamed,
        query_bytes=backward,
        key_bytes=backward + 2 * columns * 8,  # two floats of each streamed query
    )


def plain_tiles(head_dim: int, itemsize: int) -> Tiles:
    tile = 16
    rows, scores = tile * (head_dim + 1) * itemsize, tile * (tile + 1) * itemsize
    return Tiles(
        source="attention_plain.cu",
        threads=tile * tile,
        forward_rows=tile,
        backward_rows=tile,
        delta_rows=tile * tile,
        forward_bytes=3 * rows + scores,
        query_bytes=4 * rows + scores,
        key_bytes=4 * rows + 2 * scores,
    )


class Tiled:
    """The kernels, for arrays that `xp` makes. Sums are added in a fixed order: the same bits on every run.

    Both directions raise Unsupported for heads of a width that the source is not written for.
    """

    def __init__(self, xp: Any) -> None:
        self._xp = xp

    def forward(
        self, q_BHTD: Array, k_BKSD: Array, v_BKSD: Array, *, is_causal: bool, scale: float
    ) -> tuple[Array, Array]:
        check_widths(q_BHTD, v_BKSD, 16 if q_BHTD.dtype.itemsize == 2 else 1, MAX_HEAD_DIM)
        q, k, v = (self._rows(x) for x in (q_BHTD, k_BKSD, v_BKSD))
        tiles = _tiles(q)
        out = heads_last(q.shape, q.dtype, self._xp)
        logsumexp = self._xp.empty(q.shape[:3], _sum_dtype(q))
        blocks = _blocks(q, tiles.forward_rows)
        arguments = (*_tensors(q, k, v, out), logsumexp, *_sizes(q, k, q.shape[1], is_causal, scale))
        _launch("attention_forward", q, tiles, blocks, tiles.forward_bytes, arguments)
        return out, logsumexp

    def backward(
        self,
        g_BHTD: Array,
        q_BHTD: Array,
        k_BKSD: Array,
        v_BKSD: Array,
        out_BHTD: Array,
        logsumexp_BHT: Array,
        *,
        is_causal: bool,
        scale: float,
    ) -> tuple[Array, Array, Array]:
        check_widths(q_BHTD, v_BKSD, 16 if q_BHTD.dtype.itemsize == 2 else 1, MAX_HEAD_DIM)
        g, q, k, v, out = (self._rows(x) for x in (g_BHTD, q_BHTD, k_BKSD, v_BKSD, out_BHTD))
        logsumexp = self._xp.ascontiguousarray(logsumexp_BHT)
        tiles = _tiles(q)
        dq, dk, dv = gradients_like(q, k, v, self._xp)
        delta = self._xp.empty(logsumexp.shape, logsumexp.dtype)
        heads, queries, rows = np.int32(q.shape[1]), np.int32(q.shape[2]), logsumexp.size
        arguments = (*_tensors(g, out), delta, heads, queries, np.int64(rows))
        _launch("attention_delta", q, tiles, -(-rows // tiles.delta_rows), 0, arguments)

        arguments = (*_tensors(g, q, k, v, dq), logsumexp, delta, *_sizes(q, k, q.shape[1], is_causal, scale))
        blocks = _blocks(q, tiles.backward_rows)
        _launch("attention_gradient_q", q, tiles, blocks, tiles.query_bytes, arguments)

        arguments = (*_tensors(g, q, k, v, dk, dv), logsumexp, delta, *_sizes(q, k, k.shape[1], is_causal, scale))
        blocks = _blocks(k, tiles.backward_rows)
        _launch("attention_gradient_kv", q, tiles, blocks, tiles.key_bytes, arguments)
        return dq, dk, dv

    def _rows(self, x_BHTD: Array) -> Array:
        """x with rows as the kernels read them: 16 bytes at a time where elements are 16-bit."""
        if x_BHTD.dtype.itemsize == 2:
            return aligned(x_BHTD)
        is_dense = x_BHTD.strides[-1] == x_BHTD.dtype.itemsize
        return x_BHTD if is_dense else self._xp.ascontiguousarray(x_BHTD)


def _tiles(q: Array) -> Tiles:
    return flash_tiles(q.shape[3]) if q.dtype.itemsize == 2 else plain_tiles(q.shape[3], q.dtype.itemsize)


def _sum_dtype(q: Array) -> Any:
    return np.dtype(np.float32) if q.dtype.itemsize == 2 else accumulation_dtype(q.dtype)


def _blocks(x: Array, rows: int) -> int:
    return int(x.shape[0] * x.shape[1] * -(-x.shape[2] // rows))


def _tensors(*tensors: Array) -> tuple[Any, ...]:
    """What TENSOR(x) in the sources takes: x, and its strides of samples, heads and rows, in elements."""
    return tuple(part for x in tensors for part in (x, *map(np.int64, element_strides(x)[:3])))


def _sizes(q: Array, k: Array, heads: int, is_causal: bool, scale: float) -> tuple[Any, ...]:
    group = q.shape[1] // k.shape[1]
    numbers = (heads, group, q.shape[2], k.shape[2], is_causal)
    return (*map(np.int32, numbers), _sum_dtype(q).type(scale))


def _launch(name: str, q: Array, tiles: Tiles, blocks: int, shared_bytes: int, arguments: tuple[Any, ...]) -> None:
    defines = {"SCALAR": ELEMENTS[q.dtype.name], "HEAD_DIM": q.shape[3]}
    launch(Kernel(tiles.source, name, defines), (blocks,), (tiles.threads,), *arguments, shared_bytes=shared_bytes)
