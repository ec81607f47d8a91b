"""Attention by our own kernels: attention_flash.cu on tensor cores for 16-bit floats, attention_plain.cu for others.

Both sources have the same four kernels with the same arguments, and differ in the size of the tile that a block holds.
Sums are added in a fixed order, so every run gives the same bits. Both directions raise Unsupported for a width of
heads that the source does not cover.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgrad.array import Array, module_of
from tensorgrad.dtype import accumulation_dtype
from tensorgrad.kernels.attending import Attending
from tensorgrad.kernels.cuda.attention.heads import aligned, check_widths, gradients_like, heads_last
from tensorgrad.kernels.cuda.launch import Kernel, launch
from tensorgrad.kernels.cuda.operand import scalar
from tensorgrad.kernels.cuda.random import key_arguments
from tensorgrad.kernels.packing import element_strides
from tensorgrad.kernels.reference.philox import least_kept

__all__ = ["Tiles", "attention", "attention_gradient", "flash_tiles", "plain_tiles"]

MAX_HEAD_DIM = 128
_NO_STRIDES: tuple[Any, ...] = (np.int64(0),) * 4
_NO_DROPOUT: tuple[Any, ...] = (None, np.uint64(0), np.uint64(0), np.uint32(0))


@dataclass(frozen=True)
class Tiles:
    """How a source cuts its work: the rows that a block holds in each kernel, and the shared memory that this takes."""

    source: str
    threads: int
    forward_rows: int
    backward_rows: int
    delta_rows: int
    forward_bytes: int  # of shared memory, as the two below
    query_bytes: int
    key_bytes: int


def flash_tiles(head_dim: int, *, has_mask: bool, has_dropout: bool) -> Tiles:
    has_room = head_dim <= 64 and not has_mask and not has_dropout  # in registers
    warps, columns = 4, 64 if has_room else 32
    rows = 16 * warps
    forward_rows = 2 * rows if has_room else rows
    row_bytes = 2 * (head_dim + 8)  # with the 16 bytes that keep rows in different banks
    streamed = 4 * columns * row_bytes  # two operands, of this tile and of the next
    masks = 4 * rows * (columns + 8) if has_mask else 0  # floats, turned as well
    backward = 2 * rows * row_bytes + streamed + masks
    return Tiles(
        source="attention_flash.cu",
        threads=32 * warps,
        forward_rows=forward_rows,
        backward_rows=rows,
        delta_rows=warps,
        forward_bytes=forward_rows * row_bytes + streamed + masks,
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


def attention(q_BHTD: Array, k_BKSD: Array, v_BKSD: Array, attending: Attending) -> tuple[Array, Array]:
    xp = module_of(q_BHTD)
    check_widths(q_BHTD, v_BKSD, 16 if q_BHTD.dtype.itemsize == 2 else 1, MAX_HEAD_DIM)
    q, k, v = (_rows(x, xp) for x in (q_BHTD, k_BKSD, v_BKSD))
    kernels = _Kernels.for_call(q, attending)
    out = heads_last(q.shape, q.dtype, xp)
    logsumexp = xp.empty(q.shape[:3], _sum_dtype(q))
    sizes = _sizes(q, k, q.shape[1], attending)
    arguments = (*_tensors(q, k, v, out), logsumexp, *sizes, *_extras(q, k, attending, xp))
    tiles = kernels.tiles
    kernels.launch("attention_forward", _blocks(q, tiles.forward_rows), tiles.forward_bytes, arguments)
    return out, logsumexp


def attention_gradient(
    g_BHTD: Array,
    q_BHTD: Array,
    k_BKSD: Array,
    v_BKSD: Array,
    out_BHTD: Array,
    logsumexp_BHT: Array,
    attending: Attending,
) -> tuple[Array, Array, Array]:
    xp = module_of(q_BHTD)
    check_widths(q_BHTD, v_BKSD, 16 if q_BHTD.dtype.itemsize == 2 else 1, MAX_HEAD_DIM)
    g, q, k, v, out = (_rows(x, xp) for x in (g_BHTD, q_BHTD, k_BKSD, v_BKSD, out_BHTD))
    logsumexp = xp.ascontiguousarray(logsumexp_BHT)
    kernels, extras = _Kernels.for_call(q, attending), _extras(q, k, attending, xp)
    tiles = kernels.tiles
    dq, dk, dv = gradients_like(q, k, v, xp)
    delta = xp.empty(logsumexp.shape, logsumexp.dtype)
    heads, queries, rows = np.int32(q.shape[1]), np.int32(q.shape[2]), logsumexp.size
    arguments = (*_tensors(g, out), delta, heads, queries, np.int64(rows))
    kernels.launch("attention_delta", -(-rows // tiles.delta_rows), 0, arguments)

    sizes = _sizes(q, k, q.shape[1], attending)
    arguments = (*_tensors(g, q, k, v, dq), logsumexp, delta, *sizes, *extras)
    kernels.launch("attention_gradient_q", _blocks(q, tiles.backward_rows), tiles.query_bytes, arguments)

    sizes = _sizes(q, k, k.shape[1], attending)
    arguments = (*_tensors(g, q, k, v, dk, dv), logsumexp, delta, *sizes, *extras)
    kernels.launch("attention_gradient_kv", _blocks(k, tiles.backward_rows), tiles.key_bytes, arguments)
    return dq, dk, dv


@dataclass(frozen=True)
class _Kernels:
    """The kernels of a source, compiled for one kind of call."""

    tiles: Tiles
    defines: dict[str, str | int]

    @classmethod
    def for_call(cls, q: Array, attending: Attending) -> _Kernels:
        mask, dropout = attending.mask, attending.dropout
        defines = {
            "SCALAR": scalar(q),
            "HEAD_DIM": q.shape[3],
            "MASK": 0 if mask is None else 1 if mask.dtype == bool else 2,
            "DROPOUT": int(dropout is not None),
        }
        if q.dtype.itemsize != 2:
            return cls(plain_tiles(q.shape[3], q.dtype.itemsize), defines)
        return cls(flash_tiles(q.shape[3], has_mask=mask is not None, has_dropout=dropout is not None), defines)

    def launch(self, name: str, blocks: int, shared_bytes: int, arguments: tuple[Any, ...]) -> None:
        kernel = Kernel(self.tiles.source, name, self.defines)
        launch(kernel, (blocks,), (self.tiles.threads,), *arguments, shared_bytes=shared_bytes)


def _rows(x_BHTD: Array, xp: Any) -> Array:
    """x with rows as the kernels read them: 16 bytes at a time where elements are 16-bit."""
    if x_BHTD.dtype.itemsize == 2:
        return aligned(x_BHTD)
    is_dense = x_BHTD.strides[-1] == x_BHTD.dtype.itemsize
    return x_BHTD if is_dense else xp.ascontiguousarray(x_BHTD)


def _extras(q: Array, k: Array, attending: Attending, xp: Any) -> tuple[Any, ...]:
    """The arguments of MASK_AND_DROPOUT in the sources."""
    mask, strides, drawn, factor = attending.mask, _NO_STRIDES, _NO_DROPOUT, 1.0
    if mask is not None:
        shape = (*q.shape[:3], k.shape[2])
        strides = tuple(map(np.int64, element_strides(xp.broadcast_to(mask, shape))))
    if attending.dropout is not None:
        keys_R2, rate = attending.dropout
        drawn, factor = (*key_arguments(keys_R2), np.uint32(least_kept(rate))), 1 / (1 - rate)
    return (mask, *strides, *drawn, _sum_dtype(q).type(factor))


def _sum_dtype(q: Array) -> Any:
    return np.dtype(np.float32) if q.dtype.itemsize == 2 else accumulation_dtype(q.dtype)


def _blocks(x: Array, rows: int) -> int:
    return int(x.shape[0] * x.shape[1] * -(-x.shape[2] // rows))


def _tensors(*tensors: Array) -> tuple[Any, ...]:
    """The arguments of TENSOR(x) in the sources: x, and its strides of samples, heads and rows, in elements."""
    return tuple(part for x in tensors for part in (x, *map(np.int64, element_strides(x)[:3])))


def _sizes(q: Array, k: Array, heads: int, attending: Attending) -> tuple[Any, ...]:
    group = q.shape[1] // k.shape[1]
    numbers = (heads, group, q.shape[2], k.shape[2], attending.is_causal)
    return (*map(np.int32, numbers), _sum_dtype(q).type(attending.scale))
