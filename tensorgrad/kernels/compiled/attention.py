"""Attention: blocks of queries against the keys that they may see, head by head.

The algorithm is that in `reference.attention` (Dao, "FlashAttention-2", 2023, section 3.1), with products cut into
tiles: of a causal mask's upper half only the tiles on its edge are computed. A block's scores stay in the cache; a
thread holds the scores of one block against all keys, and one head's keys and values.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import boolean, float32, intp, types, uint64

from tensorgrad.array import Array
from tensorgrad.kernels import reference
from tensorgrad.kernels.attending import Attending
from tensorgrad.kernels.compiled.elementary import exp
from tensorgrad.kernels.compiled.jit import in_parts, summing, summing_any_strides
from tensorgrad.kernels.compiled.philox import NUMBERS, draw_factors
from tensorgrad.kernels.compiled.softmax import largest_of
from tensorgrad.kernels.compiled.tile import COLUMNS, ROWS, add_product, set_product
from tensorgrad.kernels.reference.philox import least_kept

__all__ = ["attention", "attention_gradient"]

QUERY_BLOCK = 64  # a multiple of ROWS
# Dropout's keys, the least number that it keeps, and the factor of the weights that stay; 0: no dropout.
_DROPOUT = (types.Array(uint64, 2, "C", readonly=True), uint64, float32)
_NUMBERS = (boolean, boolean, float32, *_DROPOUT, intp, intp)  # has_mask, is_causal, scale, dropout, start, stop
_SIZE = 4  # bytes of a float32
_COST = 2  # a score's cost in elements, as in_parts counts them, for the smallest head width
_F = np.float32
_NO_KEYS = np.zeros((1, 2), np.uint64)
_LEAST = _F(-87.0)  # weights below exp(-87) are 0: subnormal numbers would slow down the products, and add nothing


def attention(q_BHTD: Array, k_BKSD: Array, v_BKSD: Array, attending: Attending) -> tuple[Array, Array]:
    # For one query the reference reads keys and values in place: packing them into tiles would take most of the time.
    if not _is_compiled(q_BHTD, k_BKSD, v_BKSD) or q_BHTD.shape[2] == 1:
        return reference.attention(q_BHTD, k_BKSD, v_BKSD, attending)
    batch, heads, queries, _ = q_BHTD.shape
    kv_heads, keys = k_BKSD.shape[1:3]
    # In memory (B, T, H, D), the order in which the next layer reads it.
    out_BHTD = np.empty((batch, queries, heads, v_BKSD.shape[-1]), np.float32).transpose(0, 2, 1, 3)
    logsumexp_BHT = np.empty((batch, heads, queries), np.float32)
    added, numbers = _added_mask(attending.mask, (batch, heads, queries, keys)), _numbers(attending)

    def work(start: int, stop: int) -> None:
        _attention(q_BHTD, k_BKSD, v_BKSD, added, out_BHTD, logsumexp_BHT, *numbers, start, stop)

    in_parts(batch * kv_heads, _COST * logsumexp_BHT.size * keys, work)
    return out_BHTD, logsumexp_BHT


def attention_gradient(
    g_BHTD: Array,
    q_BHTD: Array,
    k_BKSD: Array,
    v_BKSD: Array,
    out_BHTD: Array,
    logsumexp_BHT: Array,
    attending: Attending,
) -> tuple[Array, Array, Array]:
    operands = (g_BHTD, q_BHTD, k_BKSD, v_BKSD, out_BHTD, logsumexp_BHT)
    if not _is_compiled(*operands):
        return reference.attention_gradient(*operands, attending)
    batch, heads, queries, _ = q_BHTD.shape
    kv_heads, keys = k_BKSD.shape[1:3]
    gradients = _gradients(q_BHTD, k_BKSD, v_BKSD)
    added, numbers = _added_mask(attending.mask, (batch, heads, queries, keys)), _numbers(attending)

    def work(start: int, stop: int) -> None:
        _attention_gradient(*operands, added, *gradients, *numbers, start, stop)

    in_parts(batch * kv_heads, _COST * logsumexp_BHT.size * keys, work)
    return gradients[0], gradients[1], gradients[2]


def _gradients(*operands: Array) -> list[Array]:
    """Empty dq, dk and dv, (B, T, heads, D) in memory; if shapes fit, views of one array, for `self_attention`."""
    if len({x.shape[2:] for x in operands}) > 1:
        return [np.empty(x.transpose(0, 2, 1, 3).shape, np.float32).transpose(0, 2, 1, 3) for x in operands]
    batch, _, length, width = operands[0].shape
    heads = [x.shape[1] for x in operands]
    whole_BHTD = np.empty((batch, length, sum(heads), width), np.float32).transpose(0, 2, 1, 3)
    return np.split(whole_BHTD, np.cumsum(heads[:-1]), axis=1)


def _is_compiled(*operands: Array) -> bool:
    return all(a.size and a.dtype == np.float32 for a in operands)


def _numbers(attending: Attending) -> tuple[Any, ...]:
    """What the loops take beside arrays, but for the part to compute."""
    flags = (attending.mask is not None, attending.is_causal, _F(attending.scale))
    if attending.dropout is None:
        return *flags, _NO_KEYS, np.uint64(0), _F(0)
    keys_R2, rate = attending.dropout
    return *flags, keys_R2, np.uint64(least_kept(rate)), _F(1 / (1 - rate))


def _added_mask(mask: Array | None, shape: tuple[int, ...]) -> Array:
    """The mask as float32 numbers to add to the scores, broadcast to this shape."""
    if mask is None:
        mask = np.zeros((1, 1, 1, 1), np.float32)
    elif mask.dtype == bool:
        mask = np.where(mask, _F(0), _F(-math.inf))
    return np.broadcast_to(mask, shape)


# --- shared by both directions -----------------------------------------------------------------


@summing
def _padded(length, multiple):
    return (length + multiple - 1) // multiple * multiple


@summing
def _pack(x_TD, packed, factor):
    """Write x times a factor to the upper left corner of `packed`, and zeros around it."""
    for t in range(packed.shape[0]):
        row = packed[t]
        if t < x_TD.shape[0]:
            source = x_TD[t]
            for d in range(source.shape[0]):
                row[d] = source[d] * factor
            row[source.shape[0] :] = 0
        else:
            row[:] = 0


@summing
def _pack_transposed(x_TD, packed):
    packed[:] = 0
    for t in range(x_TD.shape[0]):
        source = x_TD[t]
        for d in range(source.shape[0]):
            packed[d, t] = source[d]


@summing
def _block_scores(q, k_DS, scores, first, num_keys, is_causal, depth):
    """scores = q k^T, tile by tile, without tiles in which no query may see any key."""
    columns = _tile_end(first + q.shape[0] - ROWS, num_keys, is_causal)
    for j in range(0, columns, COLUMNS):
        start = max(0, (j - first) // ROWS * ROWS) if is_causal else 0
        for i in range(start, q.shape[0], ROWS):
            set_product(
                q.ctypes.data + i * q.shape[1] * _SIZE,
                q.shape[1],
                1,
                k_DS.ctypes.data + j * _SIZE,
                k_DS.shape[1],
                scores.ctypes.data + (i * scores.shape[1] + j) * _SIZE,
                scores.shape[1],
                depth,
            )


@summing
def _tile_end(query, num_keys, is_causal):
    """The end of the columns to compute for the tile of queries from `query` on."""
    end = min(query + ROWS, num_keys) if is_causal else num_keys
    return (end + COLUMNS - 1) // COLUMNS * COLUMNS


@summing
def _times_rows(weights, rows, out, first, num_keys, is_causal):
    """out = weights rows, over the keys that each tile of queries may see."""
    for j in range(0, out.shape[1], COLUMNS):
        for i in range(0, out.shape[0], ROWS):
            set_product(
                weights.ctypes.data + i * weights.shape[1] * _SIZE,
                weights.shape[1],
                1,
                rows.ctypes.data + j * _SIZE,
                rows.shape[1],
                out.ctypes.data + (i * out.shape[1] + j) * _SIZE,
                out.shape[1],
                min(first + i + ROWS, num_keys) if is_causal else num_keys,
            )


@summing
def _transposed_times(weights, rows, count, out, first, num_keys, is_causal):
    """out += weights^T rows, for each tile of keys over those of the `count` queries that may see it."""
    end = min(first + count, num_keys) if is_causal else num_keys
    for j in range(0, out.shape[1], COLUMNS):
        for i in range(0, end, ROWS):
            start = max(0, i - first) if is_causal else 0
            add_product(
                weights.ctypes.data + (start * weights.shape[1] + i) * _SIZE,
                1,
                weights.shape[1],
                rows.ctypes.data + (start * rows.shape[1] + j) * _SIZE,
                rows.shape[1],
                out.ctypes.data + (i * out.shape[1] + j) * _SIZE,
                out.shape[1],
                count - start,
            )


@summing
def _draw(factors, keys_R2, least, factor, sample, head, heads, query, queries, num_keys, seen):
    """What dropout of all weights, (samples, heads, queries, keys), multiplies a query's first `seen` weights by.

    The result is a view of `factors`, which is longer than the keys by the numbers of two counters.
    """
    is_one = keys_R2.shape[0] == 1
    row = 0 if is_one else sample
    first = (((sample if is_one else 0) * heads + head) * queries + query) * num_keys
    stop = (first + seen + NUMBERS - 1) // NUMBERS
    draw_factors(factors, first // NUMBERS, stop, keys_R2[row, 0], keys_R2[row, 1], least, factor)
    return factors[first % NUMBERS :]


@summing
def _drop(row, kept):
    for s in range(row.shape[0]):
        row[s] = row[s] * kept[s] if kept[s] > 0 else _F(0)


# --- forward -----------------------------------------------------------------------------------


@summing_any_strides((4, 4, 4, 4), (4, 3), *_NUMBERS)
def _attention(
    q_BHTD, k_BKSD, v_BKSD, mask, out_BHTD, logsumexp_BHT,
    has_mask, is_causal, scale, keys_R2, least, factor, start, stop,
):  # fmt: skip
    kv_heads, num_keys, depth = k_BKSD.shape[1:]
    queries, width = q_BHTD.shape[2], v_BKSD.shape[3]
    group = q_BHTD.shape[1] // kv_heads
    # Longer than the tiles need, so that neighbouring rows do not share one set of the cache.
    k_DS = np.empty((depth, _padded(num_keys, COLUMNS) + COLUMNS), np.float32)
    v_SE = np.empty((num_keys, _padded(width, COLUMNS)), np.float32)
    q = np.empty((QUERY_BLOCK, depth), np.float32)
    scores = np.empty((QUERY_BLOCK, k_DS.shape[1]), np.float32)
    out = np.empty((QUERY_BLOCK, v_SE.shape[1]), np.float32)
    factors = np.empty(QUERY_BLOCK, np.float32)
    kept = np.empty(num_keys + 2 * NUMBERS, np.float32)
    for pair in range(start, stop):
        b, kv_head = pair // kv_heads, pair % kv_heads
        _pack_transposed(k_BKSD[b, kv_head], k_DS)
        _pack(v_BKSD[b, kv_head], v_SE, _F(1))
        for head in range(kv_head * group, (kv_head + 1) * group):
            for first in range(0, queries, QUERY_BLOCK):
                count = min(QUERY_BLOCK, queries - first)
                padded = _padded(count, ROWS)
                _pack(q_BHTD[b, head, first : first + count], q[:padded], scale)
                _block_scores(q[:padded], k_DS, scores, first, num_keys, is_causal, depth)
                for r in range(count):
                    t = first + r
                    seen = min(t + 1, num_keys) if is_causal else num_keys
                    # Up to the end of the tile: a loop over whole vectors.
                    row = scores[r, : _tile_end(t // ROWS * ROWS, num_keys, is_causal)]
                    for s in range(seen, row.shape[0]):
                        row[s] = -np.inf
                    if has_mask:
                        row_mask = mask[b, head, t]
                        for s in range(seen):
                            row[s] += row_mask[s]
                    largest = largest_of(row)
                    # A query that may see nothing has only -inf: its weights are 0, and so is its output.
                    base = _F(0) if largest == -np.inf else largest
                    total = _F(0)
                    for s in range(row.shape[0]):
                        x = row[s] - base
                        weight = _F(0) if x < _LEAST else exp(x)
                        row[s] = weight
                        total += weight
                    logsumexp_BHT[b, head, t] = base + np.log(total)
                    factors[r] = _F(0) if total == 0 else _F(1) / total
                    if factor > 0:
                        place = (b, head, q_BHTD.shape[1], t, queries, num_keys)
                        _drop(row[:seen], _draw(kept, keys_R2, least, factor, *place, seen))
                _times_rows(scores, v_SE, out[:padded], first, num_keys, is_causal)
                for r in range(count):
                    target, row = out_BHTD[b, head, first + r], out[r]
                    for e in range(width):
                        target[e] = row[e] * factors[r]


# --- backward ----------------------------------------------------------------------------------


@summing_any_strides((4, 4, 4, 4, 4, 3, 4), (4, 4, 4), *_NUMBERS)
def _attention_gradient(
    g_BHTD, q_BHTD, k_BKSD, v_BKSD, out_BHTD, logsumexp_BHT, mask, dq_BHTD, dk_BKSD, dv_BKSD,
    has_mask, is_causal, scale, keys_R2, least, factor, start, stop,
):  # fmt: skip
    kv_heads, num_keys, depth = k_BKSD.shape[1:]
    queries, width = q_BHTD.shape[2], v_BKSD.shape[3]
    group = q_BHTD.shape[1] // kv_heads
    padded_keys, padded_depth, padded_width = _padded(num_keys, ROWS), _padded(depth, COLUMNS), _padded(width, COLUMNS)
    k_DS = np.empty((depth, _padded(num_keys, COLUMNS) + COLUMNS), np.float32)
    v_ES = np.empty((width, k_DS.shape[1]), np.float32)
    k_SD, dk = np.empty((num_keys, padded_depth), np.float32), np.empty((padded_keys, padded_depth), np.float32)
    dv = np.empty((padded_keys, padded_width), np.float32)
    q, dq = np.empty((QUERY_BLOCK, padded_depth), np.float32), np.empty((QUERY_BLOCK, padded_depth), np.float32)
    g = np.empty((QUERY_BLOCK, padded_width), np.float32)
    weights, dscores = (
        np.empty((QUERY_BLOCK, k_DS.shape[1]), np.float32),
        np.empty((QUERY_BLOCK, k_DS.shape[1]), np.float32),
    )
    kept = np.empty(num_keys + 2 * NUMBERS, np.float32)
    for pair in range(start, stop):
        b, kv_head = pair // kv_heads, pair % kv_heads
        _pack_transposed(k_BKSD[b, kv_head], k_DS)
        _pack_transposed(v_BKSD[b, kv_head], v_ES)
        _pack(k_BKSD[b, kv_head], k_SD, _F(1))
        dk[:] = 0
        dv[:] = 0
        for head in range(kv_head * group, (kv_head + 1) * group):
            for first in range(0, queries, QUERY_BLOCK):
                count = min(QUERY_BLOCK, queries - first)
                padded = _padded(count, ROWS)
                _pack(q_BHTD[b, head, first : first + count], q[:padded], scale)
                _pack(g_BHTD[b, head, first : first + count], g[:padded], _F(1))
                _block_scores(q[:padded], k_DS, weights, first, num_keys, is_causal, depth)
                _block_scores(g[:padded], v_ES, dscores, first, num_keys, is_causal, width)
                for r in range(count):
                    t = first + r
                    seen = min(t + 1, num_keys) if is_causal else num_keys
                    end = _tile_end(t // ROWS * ROWS, num_keys, is_causal)
                    row, drow = weights[r, :end], dscores[r, :end]
                    for s in range(seen, row.shape[0]):
                        row[s] = -np.inf
                    if has_mask:
                        row_mask = mask[b, head, t]
                        for s in range(seen):
                            row[s] += row_mask[s]
                    g_row, out_row, delta = g[r], out_BHTD[b, head, t], _F(0)
                    for e in range(width):
                        delta += g_row[e] * out_row[e]
                    logsumexp = logsumexp_BHT[b, head, t]
                    base = _F(np.inf) if logsumexp == -np.inf else logsumexp  # sees nothing: no weight
                    drawn = kept
                    if factor > 0:
                        place = (b, head, q_BHTD.shape[1], t, queries, num_keys)
                        drawn = _draw(kept, keys_R2, least, factor, *place, seen)
                        _drop(drow[:seen], drawn)
                    for s in range(end):
                        x = row[s] - base
                        weight = _F(0) if x < _LEAST else exp(x)
                        row[s] = weight
                        drow[s] = weight * (drow[s] - delta)
                    if factor > 0:
                        _drop(row[:seen], drawn)
                    for s in range(seen, end):
                        drow[s] = 0  # not 0 times it: a hidden value may be infinite or nan
                _times_rows(dscores, k_SD, dq[:padded], first, num_keys, is_causal)
                _transposed_times(dscores, q, count, dk, first, num_keys, is_causal)
                _transposed_times(weights, g, count, dv, first, num_keys, is_causal)
                _unpack(dq, dq_BHTD[b, head, first : first + count], scale)
        _unpack(dk, dk_BKSD[b, kv_head], _F(1))
        _unpack(dv, dv_BKSD[b, kv_head], _F(1))


@summing
def _unpack(packed, x_TD, factor):
    for t in range(x_TD.shape[0]):
        source, row = packed[t], x_TD[t]
        for d in range(row.shape[0]):
            row[d] = source[d] * factor
