"""The fused kernels in plain array expressions: their definition, on NumPy and on CuPy.

Long chains of elementwise steps run over blocks of a few thousand rows, written in place, so that
what one step leaves in the processor's cache the next one finds there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from tensorgrad.array import Array, module_of
from tensorgrad.dtype import accumulation_dtype

_BLOCK_ELEMENTS = 1 << 16
_QUERY_BLOCK = 128


def _blocks(x: Array) -> Iterator[slice]:
    """Slices of the first axis that hold about `_BLOCK_ELEMENTS` elements each."""
    rows = max(1, _BLOCK_ELEMENTS // max(1, math.prod(x.shape[1:])))
    return (slice(start, start + rows) for start in range(0, x.shape[0], rows))


def _wide(x: Array) -> Array:
    """x in the dtype that statistics are computed in."""
    return x.astype(accumulation_dtype(x.dtype), copy=False)


# --- activations -------------------------------------------------------------------------------

# erf(x) = x * P(x * x) for |x| <= 1, and 1 - exp(-x * x) * Q((x - 2) / (x + 2)) for 1 < x < 6, with
# Chebyshev fits (highest power first) that are exact to 2e-16 relative.
_ERF_NEAR = (
    5.9571761477489114e-11,
    -1.1372848856791674e-9,
    1.4659775274047436e-8,
    -1.6350312701054695e-7,
    1.6461000484121368e-6,
    -1.4925595266831182e-5,
    0.00012055331111642711,
    -0.00085483269808337899,
    0.0052239776248180145,
    -0.026866170645076793,
    0.11283791670954879,
    -0.37612638903183748,
    1.1283791670955126,
)
_ERFC_FAR = (
    -4.215301054238321e-7,
    -5.3226968556557863e-7,
    1.1780775215625583e-6,
    3.789215643758464e-6,
    1.3926211836188029e-6,
    -1.3968072301771461e-5,
    -2.7579864674305786e-5,
    2.7525480361206067e-5,
    0.00017436116545392264,
    4.3555602195154722e-5,
    -0.00098197702656788892,
    -0.0008471432509203844,
    0.0069974617392004438,
    0.0037328924043277639,
    -0.078978581015732125,
    0.24165819424246646,
    -0.4271858474139584,
    0.25539567631050574,
)


def _polynomial(coefficients: tuple[float, ...], t: Array) -> Array:
    total = coefficients[0] * t + coefficients[1]
    for c in coefficients[2:]:
        total *= t
        total += c
    return total


def erf(x: Array) -> Array:
    xp = module_of(x)
    wide = x.astype(xp.float64, copy=False)
    # Clipped where it is 1 to the last bit; nan stays.
    size = xp.minimum(xp.abs(wide), 6.0)
    near = xp.minimum(size, 1.0)
    far = xp.maximum(size, 1.0)
    tail = xp.exp(-far * far) * _polynomial(_ERFC_FAR, (far - 2.0) / (far + 2.0))
    out = xp.where(size <= 1.0, near * _polynomial(_ERF_NEAR, near * near), 1.0 - tail)
    return xp.copysign(out, wide).astype(x.dtype)  # type: ignore[no-any-return]


_SQRT_HALF = math.sqrt(0.5)
_TANH_SCALE = math.sqrt(2 / math.pi)
_TANH_CUBIC = 0.044715


def gelu(x: Array, approximate: str) -> Array:
    return _gelu_parts(x, None, approximate)


def gelu_gradient(g: Array, x: Array, approximate: str) -> Array:
    return _gelu_parts(x, g, approximate)


def _gelu_parts(x: Array, g: Array | None, approximate: str) -> Array:
    """x Phi(x); or, given g, g (Phi(x) + x Phi'(x))."""
    xp = module_of(x)
    out = xp.empty(x.shape, x.dtype)
    flat_x, flat_out = x.reshape(-1), out.reshape(-1)
    flat_g = None if g is None else g.reshape(-1)
    for rows in _blocks(flat_x):
        t = _wide(flat_x[rows])
        if approximate == "tanh":
            inner = t * t
            slope = None if g is None else _TANH_SCALE * (1 + 3 * _TANH_CUBIC * inner)
            inner *= _TANH_CUBIC
            inner += 1
            inner *= t
            inner *= _TANH_SCALE
            phi = xp.tanh(inner, out=inner)
            # Phi'(x) = (1 - tanh^2) / 2 * slope, taken before phi becomes (1 + tanh) / 2.
            density = None if slope is None else 0.5 * (1 - phi * phi) * slope
        else:
            phi = erf(t * _SQRT_HALF)
            density = None if g is None else xp.exp(-0.5 * t * t) * (1 / math.sqrt(2 * math.pi))
        phi += 1
        phi *= 0.5
        if flat_g is None:
            flat_out[rows] = phi * t
        else:
            density *= t
            density += phi
            flat_out[rows] = density * flat_g[rows]
    return out  # type: ignore[no-any-return]


def _sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) as (1 + tanh(x / 2)) / 2, which cannot overflow, in a fresh array."""
    y = x * 0.5
    module_of(x).tanh(y, out=y)
    y += 1
    y *= 0.5
    return y


def silu(x: Array) -> Array:
    out = module_of(x).empty(x.shape, x.dtype)
    flat_x, flat_out = x.reshape(-1), out.reshape(-1)
    for rows in _blocks(flat_x):
        t = _wide(flat_x[rows])
        flat_out[rows] = t * _sigmoid(t)
    return out  # type: ignore[no-any-return]


def silu_gradient(g: Array, x: Array) -> Array:
    out = module_of(x).empty(x.shape, x.dtype)
    flat_x, flat_out, flat_g = x.reshape(-1), out.reshape(-1), g.reshape(-1)
    for rows in _blocks(flat_x):
        t = _wide(flat_x[rows])
        s = _sigmoid(t)
        flat_out[rows] = flat_g[rows] * (s * (1 + t * (1 - s)))
    return out  # type: ignore[no-any-return]


def swiglu(x: Array) -> Array:
    width = x.shape[-1] // 2
    rows_x = x.reshape(-1, 2 * width)
    out = module_of(x).empty((rows_x.shape[0], width), x.dtype)
    for rows in _blocks(rows_x):
        gate = _wide(rows_x[rows, :width])
        s = _sigmoid(gate)
        s *= gate
        s *= rows_x[rows, width:]
        out[rows] = s
    return out.reshape(*x.shape[:-1], width)  # type: ignore[no-any-return]


def swiglu_gradient(g: Array, x: Array) -> Array:
    width = x.shape[-1] // 2
    rows_x, rows_g = x.reshape(-1, 2 * width), g.reshape(-1, width)
    out = module_of(x).empty(rows_x.shape, x.dtype)
    for rows in _blocks(rows_x):
        gate = _wide(rows_x[rows, :width])
        s = _sigmoid(gate)
        slope = 1 - s
        slope *= gate
        slope += 1
        slope *= s  # silu'(gate)
        slope *= rows_x[rows, width:]
        slope *= rows_g[rows]
        out[rows, :width] = slope
        s *= gate
        s *= rows_g[rows]
        out[rows, width:] = s
    return out.reshape(x.shape)  # type: ignore[no-any-return]


# --- softmax and its losses --------------------------------------------------------------------


def softmax(x_NC: Array) -> Array:
    xp = module_of(x_NC)
    out = xp.empty(x_NC.shape, x_NC.dtype)
    for rows in _blocks(x_NC):
        t = _shifted(x_NC[rows])
        xp.exp(t, out=t)
        t /= t.sum(axis=-1, keepdims=True)
        out[rows] = t
    return out  # type: ignore[no-any-return]


def softmax_gradient(g_NC: Array, y_NC: Array) -> Array:
    xp = module_of(g_NC)
    out = xp.empty(g_NC.shape, g_NC.dtype)
    for rows in _blocks(g_NC):
        g, y = _wide(g_NC[rows]), _wide(y_NC[rows])
        dot = xp.einsum("nc,nc->n", g, y)[:, None]
        out[rows] = y * (g - dot)
    return out  # type: ignore[no-any-return]


def log_softmax(x_NC: Array) -> Array:
    xp = module_of(x_NC)
    out = xp.empty(x_NC.shape, x_NC.dtype)
    for rows in _blocks(x_NC):
        t = _shifted(x_NC[rows])
        out[rows] = t - xp.log(xp.exp(t).sum(axis=-1, keepdims=True))
    return out  # type: ignore[no-any-return]


def log_softmax_gradient(g_NC: Array, y_NC: Array) -> Array:
    xp = module_of(g_NC)
    out = xp.empty(g_NC.shape, g_NC.dtype)
    for rows in _blocks(g_NC):
        g, y = _wide(g_NC[rows]), _wide(y_NC[rows])
        out[rows] = g - xp.exp(y) * g.sum(axis=-1, keepdims=True)
    return out  # type: ignore[no-any-return]


def _shifted(x: Array) -> Array:
    """x minus each row's largest element, so that exp cannot overflow, in a fresh wide array."""
    x = _wide(x)
    return x - x.max(axis=-1, keepdims=True)  # type: ignore[no-any-return]


def cross_entropy(logits_NV: Array, targets_N: Array, ignore_index: int) -> tuple[Array, Array]:
    xp = module_of(logits_NV)
    logsumexp = xp.empty(targets_N.shape, accumulation_dtype(logits_NV.dtype))
    for rows in _blocks(logits_NV):
        x = _wide(logits_NV[rows])
        largest = x.max(axis=-1)
        t = x - largest[:, None]
        xp.exp(t, out=t)
        logsumexp[rows] = xp.log(t.sum(axis=-1)) + largest
    is_counted = targets_N != ignore_index
    safe = xp.where(is_counted, targets_N, 0)
    picked = xp.take_along_axis(logits_NV, safe[:, None], axis=1)[:, 0]
    losses = xp.where(is_counted, logsumexp - picked, 0).astype(logsumexp.dtype)
    return losses, logsumexp


def cross_entropy_gradient(
    g_N: Array, logits_NV: Array, targets_N: Array, logsumexp_N: Array, ignore_index: int
) -> Array:
    xp = module_of(logits_NV)
    is_counted = targets_N != ignore_index
    weight_N = xp.where(is_counted, g_N, 0).astype(logsumexp_N.dtype)
    safe = xp.where(is_counted, targets_N, 0)
    out = xp.empty(logits_NV.shape, logits_NV.dtype)
    for rows in _blocks(logits_NV):
        t = _wide(logits_NV[rows]) - logsumexp_N[rows, None]
        xp.exp(t, out=t)
        t[xp.arange(t.shape[0]), safe[rows]] -= 1
        # An ignored row's weight is 0, but its logits may not be finite.
        out[rows] = xp.where(is_counted[rows, None], t * weight_N[rows, None], 0)
    return out  # type: ignore[no-any-return]


# --- normalisation -----------------------------------------------------------------------------


def layer_norm(x_NC: Array, weight_C: Array, bias_C: Array | None, eps: float) -> tuple[Array, Array, Array]:
    xp = module_of(x_NC)
    out = xp.empty(x_NC.shape, x_NC.dtype)
    mean_N1 = xp.empty((x_NC.shape[0], 1), accumulation_dtype(x_NC.dtype))
    rstd_N1 = xp.empty_like(mean_N1)
    for rows in _blocks(x_NC):
        x = _wide(x_NC[rows])
        mean_N1[rows] = x.mean(axis=-1, keepdims=True)
        t = x - mean_N1[rows]
        variance = xp.einsum("nc,nc->n", t, t)[:, None] / x.shape[-1]
        rstd_N1[rows] = 1 / xp.sqrt(variance + eps)
        t *= rstd_N1[rows]
        t *= weight_C
        if bias_C is not None:
            t += bias_C
        out[rows] = t
    return out, mean_N1, rstd_N1


def layer_norm_gradient(
    g_NC: Array, x_NC: Array, weight_C: Array, mean_N1: Array, rstd_N1: Array
) -> tuple[Array, Array, Array]:
    xp = module_of(x_NC)
    width = x_NC.shape[-1]
    dx = xp.empty(x_NC.shape, x_NC.dtype)
    dweight = xp.zeros(width, mean_N1.dtype)
    dbias = xp.zeros(width, mean_N1.dtype)
    for rows in _blocks(x_NC):
        g = _wide(g_NC[rows])
        normal = _wide(x_NC[rows]) - mean_N1[rows]
        normal *= rstd_N1[rows]
        dweight += xp.einsum("nc,nc->c", g, normal)
        dbias += g.sum(axis=0)
        t = g * weight_C
        # dx = rstd (t - mean(t) - normal mean(t normal))
        projection = xp.einsum("nc,nc->n", t, normal)[:, None] / width
        t -= t.mean(axis=-1, keepdims=True)
        normal *= projection
        t -= normal
        t *= rstd_N1[rows]
        dx[rows] = t
    return dx, dweight.astype(weight_C.dtype), dbias.astype(weight_C.dtype)


def rms_norm(x_NC: Array, weight_C: Array, eps: float) -> tuple[Array, Array]:
    xp = module_of(x_NC)
    out = xp.empty(x_NC.shape, x_NC.dtype)
    rstd_N1 = xp.empty((x_NC.shape[0], 1), accumulation_dtype(x_NC.dtype))
    for rows in _blocks(x_NC):
        x = _wide(x_NC[rows])
        rstd_N1[rows] = 1 / xp.sqrt(xp.einsum("nc,nc->n", x, x)[:, None] / x.shape[-1] + eps)
        t = x * rstd_N1[rows]
        t *= weight_C
        out[rows] = t
    return out, rstd_N1


def rms_norm_gradient(g_NC: Array, x_NC: Array, weight_C: Array, rstd_N1: Array) -> tuple[Array, Array]:
    xp = module_of(x_NC)
    width = x_NC.shape[-1]
    dx = xp.empty(x_NC.shape, x_NC.dtype)
    dweight = xp.zeros(width, rstd_N1.dtype)
    for rows in _blocks(x_NC):
        g = _wide(g_NC[rows])
        normal = _wide(x_NC[rows]) * rstd_N1[rows]
        dweight += xp.einsum("nc,nc->c", g, normal)
        t = g * weight_C
        # dx = rstd (t - normal mean(t normal))
        normal *= xp.einsum("nc,nc->n", t, normal)[:, None] / width
        t -= normal
        t *= rstd_N1[rows]
        dx[rows] = t
    return dx, dweight.astype(weight_C.dtype)


# --- attention ---------------------------------------------------------------------------------
#
# Blocks of queries against the keys that the mask lets them see (Dao, "FlashAttention-2", 2023,
# section 3.1): no T x S matrix outlives its block, and half of a causal one is never computed.
# The backward makes each block's probabilities again from the log-sum-exp of its scores.


def attention(
    q_BHTD: Array, k_BKSD: Array, v_BKSD: Array, mask: Array | None, is_causal: bool, scale: float
) -> tuple[Array, Array]:
    xp = module_of(q_BHTD)
    batch, heads, queries, _ = q_BHTD.shape
    q, k, v = _grouped(q_BHTD, k_BKSD, v_BKSD)
    # Laid out as (B, T, H, D), the order in which the next layer reads it.
    out_BTHD = xp.empty((batch, queries, heads, v.shape[-1]), q.dtype)
    out = out_BTHD.transpose(0, 2, 1, 3).reshape(*q.shape[:-1], v.shape[-1])
    logsumexp = xp.empty(q.shape[:-1], accumulation_dtype(q.dtype))
    for rows, keys in _query_blocks(queries, k.shape[-2], is_causal):
        scores = _scores(q, k, mask, rows, keys, is_causal, scale)
        largest = scores.max(axis=-1, keepdims=True, initial=-math.inf)
        # A query that may see nothing has only -inf: its weights are 0, and so is its output.
        scores -= xp.where(largest == -math.inf, 0, largest)
        xp.exp(scores, out=scores)
        total = scores.sum(axis=-1, keepdims=True)
        scores /= xp.where(total == 0, 1, total)
        out[..., rows, :] = xp.matmul(scores.astype(v.dtype, copy=False), v[..., keys, :])
        lse = largest + xp.log(xp.where(total == 0, 1, total))
        logsumexp[..., rows] = lse[..., 0]
    return out_BTHD.transpose(0, 2, 1, 3), logsumexp.reshape(batch, heads, queries)


def attention_gradient(
    g_BHTD: Array,
    q_BHTD: Array,
    k_BKSD: Array,
    v_BKSD: Array,
    out_BHTD: Array,
    logsumexp_BHT: Array,
    mask: Array | None,
    is_causal: bool,
    scale: float,
) -> tuple[Array, Array, Array]:
    xp = module_of(q_BHTD)
    q, k, v = _grouped(q_BHTD, k_BKSD, v_BKSD)
    g = g_BHTD.reshape(*q.shape[:-1], v.shape[-1])
    delta = xp.einsum("bhtd,bhtd->bht", _wide(g_BHTD), _wide(out_BHTD)).reshape(*q.shape[:-1], 1)
    logsumexp = logsumexp_BHT.reshape(*q.shape[:-1], 1)
    logsumexp = xp.where(logsumexp == -math.inf, math.inf, logsumexp)  # sees nothing: exp(-inf) = 0 below
    dq = xp.empty(q.shape, q.dtype)
    dk = xp.zeros(k_BKSD.shape, logsumexp.dtype)
    dv = xp.zeros(v_BKSD.shape, logsumexp.dtype)
    for rows, keys in _query_blocks(q.shape[-2], k.shape[-2], is_causal):
        weights = _scores(q, k, mask, rows, keys, is_causal, scale)
        weights -= logsumexp[..., rows, :]
        xp.exp(weights, out=weights)
        g_rows = g[..., rows, :]
        dv[..., keys, :] += xp.matmul(weights.swapaxes(-1, -2).astype(g.dtype, copy=False), g_rows).sum(axis=2)
        dscores = xp.matmul(g_rows, v[..., keys, :].swapaxes(-1, -2)).astype(weights.dtype, copy=False)
        dscores -= delta[..., rows, :]
        dscores *= weights
        dscores *= scale
        dscores = dscores.astype(q.dtype, copy=False)
        dq[..., rows, :] = xp.matmul(dscores, k[..., keys, :])
        dk[..., keys, :] += xp.matmul(dscores.swapaxes(-1, -2), q[..., rows, :]).sum(axis=2)
    return dq.reshape(q_BHTD.shape), dk.astype(k.dtype, copy=False), dv.astype(v.dtype, copy=False)


def _grouped(q_BHTD: Array, k_BKSD: Array, v_BKSD: Array) -> tuple[Array, Array, Array]:
    """q as (B, K, H / K, T, D), so that each key head meets its group of query heads by broadcasting."""
    batch, heads, queries, width = q_BHTD.shape
    kv_heads = k_BKSD.shape[1]
    q = q_BHTD.reshape(batch, kv_heads, heads // kv_heads, queries, width)
    return q, k_BKSD[:, :, None], v_BKSD[:, :, None]


def _query_blocks(queries: int, keys: int, is_causal: bool) -> Iterator[tuple[slice, slice]]:
    """Blocks of queries, each with the keys that any of its queries may see."""
    for start in range(0, queries, _QUERY_BLOCK):
        end = min(start + _QUERY_BLOCK, queries)
        yield slice(start, end), slice(0, min(end, keys) if is_causal else keys)


def _scores(q: Array, k: Array, mask: Array | None, rows: slice, keys: slice, is_causal: bool, scale: float) -> Array:
    """Scaled and masked scores of one block, (B, K, H / K, rows, keys), in the accumulation dtype."""
    xp = module_of(q)
    scores = _wide(xp.matmul(q[..., rows, :], k[..., keys, :].swapaxes(-1, -2)))
    scores *= scale
    if mask is not None:
        part = xp.broadcast_to(mask, (*mask.shape[:-2], rows.stop, k.shape[-2]))[..., rows, keys]
        # (B or 1, H or 1, ...) to the grouped (B, K, H / K, ...)
        if part.shape[-3] != 1:
            part = part.reshape(part.shape[0], scores.shape[1], scores.shape[2], *part.shape[-2:])
        else:
            part = part[:, :, None]
        scores = xp.where(part, scores, -math.inf) if part.dtype == bool else scores + part
    if is_causal and keys.stop > rows.start + 1:
        positions = xp.arange(rows.start, rows.stop)[:, None]
        # Only the last columns of the block can lie in the future of one of its queries.
        recent = scores[..., rows.start :]
        xp.copyto(recent, -math.inf, where=positions < xp.arange(rows.start, keys.stop))
    return scores


# --- the rest ----------------------------------------------------------------------------------


def rope(x: Array, cos_TE: Array, sin_TE: Array) -> Array:
    half = x.shape[-1] // 2
    out = module_of(x).empty(x.shape, x.dtype)
    first, second = x[..., :half], x[..., half:]
    out[..., :half] = first * cos_TE - second * sin_TE
    out[..., half:] = second * cos_TE + first * sin_TE
    return out  # type: ignore[no-any-return]


def scatter_add(buffer: Array, index: Any, values: Array) -> None:
    xp = module_of(buffer)
    if type(index) is tuple or index.dtype == bool:
        xp.add.at(buffer, index, values)
        return
    # Rows of a table: sorted by row, then each run of one row is summed in a fixed order.
    rows = index.reshape(-1)
    values = values.reshape(rows.shape[0], -1)
    if not rows.shape[0]:
        return
    rows = xp.where(rows < 0, rows + buffer.shape[0], rows)
    order = xp.argsort(rows, kind="stable")
    ordered = rows[order]
    starts = xp.flatnonzero(xp.concatenate([xp.ones(1, bool), ordered[1:] != ordered[:-1]]))
    sums = xp.add.reduceat(values[order], starts, axis=0)
    buffer[ordered[starts]] += sums.reshape(-1, *buffer.shape[1:])


def global_norm(flat: Array) -> float:
    xp = module_of(flat)
    total = 0.0
    for block in _blocks(flat):
        part = flat[block].astype(xp.float64, copy=False)
        total += float(xp.dot(part, part))
    return math.sqrt(total)


def adamw(
    parameters: Array,
    gradients: Array,
    first_moment: Array,
    second_moment: Array,
    *,
    learning_rate: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    gradient_scale: float,
    step: int,
) -> None:
    xp = module_of(parameters)
    correction1 = 1 - beta1**step
    correction2 = 1 - beta2**step
    for block in _blocks(parameters):
        p, m, v = parameters[block], first_moment[block], second_moment[block]
        g = gradients[block] * gradient_scale
        m *= beta1
        m += (1 - beta1) * g
        g *= g
        g *= 1 - beta2
        v *= beta2
        v += g
        # p -= lr (m / c1) / (sqrt(v / c2) + eps), after the decoupled decay p -= lr wd p
        xp.divide(v, correction2, out=g)
        xp.sqrt(g, out=g)
        g += eps
        xp.divide(m, g, out=g)
        g *= learning_rate / correction1
        if weight_decay:
            p *= 1 - learning_rate * weight_decay
        p -= g
