"""Attention, and the rotation of its queries and keys.

Blocks of queries against the keys that the mask lets them see (Dao, "FlashAttention-2", 2023,
section 3.1): no T x S matrix outlives its block, and half of a causal one is never computed.
The backward computes each block's probabilities again from the log-sum-exp of its scores, and draws
again what dropout dropped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from tensorgrad.array import Array, device_of, module_of
from tensorgrad.dtype import accumulation_dtype
from tensorgrad.kernels import gemm
from tensorgrad.kernels.attending import Attending
from tensorgrad.kernels.reference.blocks import for_blocks, wide
from tensorgrad.kernels.reference.philox import keys_on, uniform

__all__ = ["attention", "attention_gradient", "rope"]

QUERY_BLOCK = 128


def attention(q_BHTD: Array, k_BKSD: Array, v_BKSD: Array, attending: Attending) -> tuple[Array, Array]:
    xp = module_of(q_BHTD)
    batch, heads, queries, _ = q_BHTD.shape
    q, k, v = _grouped(q_BHTD, k_BKSD, v_BKSD)
    # In memory (B, T, H, D), the order in which the next layer reads it.
    out_BTHD = xp.empty((batch, queries, heads, v.shape[-1]), q.dtype)
    out = out_BTHD.transpose(0, 2, 1, 3).reshape(*q.shape[:-1], v.shape[-1])
    logsumexp = xp.empty(q.shape[:-1], accumulation_dtype(q.dtype))

    def work(samples: slice) -> None:
        for rows, keys in _query_blocks(queries, k.shape[-2], attending.is_causal):
            scores = _scores(q[samples], k[samples], attending, samples, rows, keys)
            largest = _largest(scores)
            # A query that may see nothing has only -inf: its weights are 0, and so is its output.
            scores -= xp.where(largest == -math.inf, 0, largest)
            xp.exp(scores, out=scores)
            total = scores.sum(axis=-1, keepdims=True)
            total[total == 0] = 1
            logsumexp[samples][..., rows] = (largest + xp.log(total))[..., 0]
            if attending.dropout is not None:
                scores = xp.where(_kept(*attending.dropout, samples, rows, keys, scores, q, k), scores, 0)
                total *= 1 - attending.dropout[1]
            part = _product(scores.astype(v.dtype, copy=False), v[samples][..., keys, :])
            out[samples][..., rows, :] = part / total

    for_blocks(q, work)
    return out_BTHD.transpose(0, 2, 1, 3), logsumexp.reshape(batch, heads, queries)


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
    q, k, v = _grouped(q_BHTD, k_BKSD, v_BKSD)
    g = g_BHTD.reshape(*q.shape[:-1], v.shape[-1])
    delta = xp.einsum("bhtd,bhtd->bht", wide(g_BHTD), wide(out_BHTD)).reshape(*q.shape[:-1], 1)
    logsumexp = logsumexp_BHT.reshape(*q.shape[:-1], 1)
    logsumexp = xp.where(logsumexp == -math.inf, math.inf, logsumexp)  # sees nothing: exp(-inf) = 0 below
    dq = xp.empty(q.shape, q.dtype)
    dk = xp.zeros(k_BKSD.shape, logsumexp.dtype)
    dv = xp.zeros(v_BKSD.shape, logsumexp.dtype)

    def work(samples: slice) -> None:
        q_s, k_s, v_s, g_s = q[samples], k[samples], v[samples], g[samples]
        for rows, keys in _query_blocks(q.shape[-2], k.shape[-2], attending.is_causal):
            weights = _scores(q_s, k_s, attending, samples, rows, keys)
            weights -= logsumexp[samples][..., rows, :]
            xp.exp(weights, out=weights)
            g_rows = g_s[..., rows, :]
            dscores = _product(g_rows, v_s[..., keys, :].swapaxes(-1, -2)).astype(weights.dtype, copy=False)
            used = weights
            if attending.dropout is not None:
                kept = _kept(*attending.dropout, samples, rows, keys, weights, q, k)
                used, dscores = (xp.where(kept, x, 0) / (1 - attending.dropout[1]) for x in (weights, dscores))
            dv_part = _product(used.swapaxes(-1, -2).astype(g.dtype, copy=False), g_rows)
            dv[samples][..., keys, :] += dv_part.sum(axis=2)
            dscores -= delta[samples][..., rows, :]
            dscores *= weights
            dscores *= attending.scale
            dscores = dscores.astype(q.dtype, copy=False)
            dq[samples][..., rows, :] = _product(dscores, k_s[..., keys, :])
            dk[samples][..., keys, :] += _product(dscores.swapaxes(-1, -2), q_s[..., rows, :]).sum(axis=2)

    for_blocks(q, work)
    return dq.reshape(q_BHTD.shape), dk.astype(k.dtype, copy=False), dv.astype(v.dtype, copy=False)


def _grouped(q_BHTD: Array, k_BKSD: Array, v_BKSD: Array) -> tuple[Array, Array, Array]:
    """q as (B, K, H / K, T, D), so that each key head meets its group of query heads by broadcasting."""
    batch, heads, queries, width = q_BHTD.shape
    kv_heads = k_BKSD.shape[1]
    q = q_BHTD.reshape(batch, kv_heads, heads // kv_heads, queries, width)
    return q, k_BKSD[:, :, None], v_BKSD[:, :, None]


def _query_blocks(queries: int, keys: int, is_causal: bool) -> Iterator[tuple[slice, slice]]:
    """Blocks of queries, each with the keys that any of its queries may see."""
    for start in range(0, queries, QUERY_BLOCK):
        end = min(start + QUERY_BLOCK, queries)
        yield slice(start, end), slice(0, min(end, keys) if is_causal else keys)


def _scores(q: Array, k: Array, attending: Attending, samples: slice, rows: slice, keys: slice) -> Array:
    """Scaled and masked scores of one block, (B, K, H / K, rows, keys), in the accumulation dtype."""
    xp = module_of(q)
    scores = wide(_product(q[..., rows, :], k[..., keys, :].swapaxes(-1, -2)))
    scores *= attending.scale
    if attending.mask is not None:
        # An axis of size 1 broadcasts: it is kept whole.
        part = attending.mask if attending.mask.shape[0] == 1 else attending.mask[samples]
        part = part if part.shape[-2] == 1 else part[..., rows, :]
        part = part if part.shape[-1] == 1 else part[..., keys]
        # (B or 1, H or 1, ...) to the grouped (B, K, H / K, ...)
        if part.shape[-3] != 1:
            part = part.reshape(part.shape[0], scores.shape[1], scores.shape[2], *part.shape[-2:])
        else:
            part = part[:, :, None]
        scores = xp.where(part, scores, -math.inf) if part.dtype == bool else scores + part
    if attending.is_causal and keys.stop > rows.start + 1:
        # Only the last columns of the block can lie in the future of one of its queries. Adding -inf is forty times as
        # fast in NumPy as writing through a mask.
        shape = (rows.stop - rows.start, keys.stop - rows.start)
        scores[..., rows.start :] += xp.triu(xp.full(shape, -math.inf, scores.dtype), 1)
    return scores


def _product(a: Array, b: Array) -> Array:
    """Products of matrices; on the CPU by NumPy, since threads share the samples already."""
    return gemm.matmul(a, b) if device_of(a) != "cpu" else module_of(a).matmul(a, b)


def _largest(scores: Array) -> Array:
    """Each query's largest score; -inf where there is no key."""
    if scores.shape[-1]:
        return scores.max(axis=-1, keepdims=True)  # type: ignore[no-any-return]
    return module_of(scores).full((*scores.shape[:-1], 1), -math.inf, scores.dtype)  # type: ignore[no-any-return]


def _kept(
    keys_R2: Array, rate: float, samples: slice, rows: slice, keys: slice, scores: Array, q: Array, k: Array
) -> Array:
    """Which weights of a block stay: those that dropout of all weights, (B, H, T, S), would keep."""
    xp, keys_R2 = module_of(scores), keys_on(keys_R2, device_of(scores))
    heads, queries, length = q.shape[1] * q.shape[2], q.shape[3], k.shape[-2]
    count = min(rows.stop, queries) - rows.start
    parts = []
    for sample in range(*samples.indices(q.shape[0])):
        key_12, first = (keys_R2, sample * heads) if len(keys_R2) == 1 else (keys_R2[sample : sample + 1], 0)
        for head in range(first, first + heads):
            start = (head * queries + rows.start) * length
            u = uniform(key_12, count * length, start, np.dtype(np.float32)).reshape(count, length)
            parts.append(u[:, keys] >= rate)
    return xp.stack(parts).reshape(scores.shape) if parts else xp.empty(scores.shape, bool)  # type: ignore[no-any-return]


def rope(x: Array, cos_TE: Array, sin_TE: Array, out: Array | None = None) -> Array:
    half = x.shape[-1] // 2
    lead = x[None, None] if x.ndim == 2 else x.reshape(math.prod(x.shape[:-3]), *x.shape[-3:])
    # In the memory order of x: queries and keys are transposed views, read and written row by row.
    target = module_of(x).empty_like(lead) if out is None else out.reshape(lead.shape)

    def work(samples: slice) -> None:
        first, second = lead[samples, ..., :half], lead[samples, ..., half:]
        turned = first * cos_TE
        turned -= second * sin_TE
        last = second * cos_TE
        last += first * sin_TE
        target[samples, ..., :half] = turned  # only now, as it may be x
        target[samples, ..., half:] = last

    for_blocks(lead, work)
    return target.reshape(x.shape)
