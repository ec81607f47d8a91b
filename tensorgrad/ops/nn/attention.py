"""Scaled dot-product attention, and the rotary position embedding of its queries and keys."""

from __future__ import annotations

import math
from typing import Any

from tensorgrad.arguments import as_flag, as_number, as_size
from tensorgrad.array import Array, device_of, module_of
from tensorgrad.cotangent import Request
from tensorgrad.errors import ArgumentError, DTypeError, ShapeError, shown
from tensorgrad.kernels import kernels_for
from tensorgrad.kernels.attending import Attending
from tensorgrad.kernels.packing import packed, unpacked
from tensorgrad.ops.broadcast import broadcast_to, reshape
from tensorgrad.ops.common import TensorLike, check_devices, float_operand, operand, operands
from tensorgrad.ops.elementwise import add, multiply, subtract, where
from tensorgrad.ops.linalg import matmul
from tensorgrad.ops.nn.definition import definition_vjp
from tensorgrad.ops.nn.dropout import check_dropout, dropout
from tensorgrad.ops.nn.norm import rms_norm_definition
from tensorgrad.ops.nn.softmax import softmax_definition
from tensorgrad.ops.shape import concat, matrix_transpose, permute_dims, split
from tensorgrad.random import Key, RowKeys, as_pairs, from_pairs
from tensorgrad.tape import data, record, record_joint
from tensorgrad.tensor import Tensor

__all__ = ["rope", "scaled_dot_product_attention", "self_attention"]


def scaled_dot_product_attention(
    q: TensorLike,
    k: TensorLike,
    v: TensorLike,
    *,
    mask: Any = None,
    is_causal: bool = False,
    scale: float | None = None,
    dropout_rate: float = 0.0,
    key: Key | RowKeys | None = None,
) -> Tensor:
    """dropout(softmax(q k^T scale + mask)) v, head by head.

    Args:    q (B, H, T, D), k (B, K, S, D), v (B, K, S, E), one dtype; H a multiple of K, each key
             head serving H / K consecutive query heads (grouped-query attention);
             mask: broadcasts to (B, H, T, S), bool (True: may attend) or float, added to the scores;
             is_causal: query t sees keys 0 .. t (upper left if T != S); with a mask, only those that
             it lets it see too; scale: 1 / sqrt(D) if None;
             dropout_rate, key: as in `dropout`, applied to the weights (B, H, T, S).
    Returns: (B, H, T, E). A query that may see no key gets zeros.
    Raises:  ShapeError, DTypeError, DeviceError, ArgumentError (dropout_rate).
    Grad:    with p the probabilities: dv = p^T g, ds = p (g v^T - sum(g out)), dq = ds k scale, dk = ds^T q scale.
             A mask that needs a gradient gets ds; basic ops then compute everything, and save every weight.
    Saves:   q, k, v, out, and one log-sum-exp per query. Dropout is drawn again.
    Source:  Vaswani et al., "Attention is all you need", 2017, equation 1; Ainslie et al., "GQA", 2023.
    """
    op = "scaled_dot_product_attention"
    a, b, c = (float_operand(op, x) for x in (q, k, v))
    operands(op, q, k)
    operands(op, q, v)
    _check_attention(a, b, c)
    m = None if mask is None else _attention_mask(mask, a, b)
    scale = 1 / math.sqrt(a.shape[-1]) if scale is None else as_number(op, "scale", scale)
    is_causal = as_flag(op, "is_causal", is_causal)
    dropped = _attention_dropout(op, dropout_rate, key, a)
    attending = Attending(is_causal=is_causal, scale=scale, mask=m, dropout=dropped)
    if type(mask) is Tensor and mask.requires_grad:
        return attention_definition(q, k, v, mask, attending)
    out, row_logsumexp = kernels_for(a).attention(a, b, c, attending)

    def vjp(g: Any, requests: list[Request | None]) -> Any:
        if type(g) is Tensor:
            return definition_vjp(lambda q, k, v: attention_definition(q, k, v, m, attending), [q, k, v], g, requests)
        return kernels_for(g).attention_gradient(g, a, b, c, out, row_logsumexp, attending)

    return record_joint(out, [q, k, v], vjp, selects=True)


def self_attention(
    qkv: TensorLike,
    *,
    num_heads: int,
    is_causal: bool = False,
    scale: float | None = None,
    qk_norm_eps: float | None = None,
    rotation: tuple[Array, Array] | None = None,
    dropout_rate: float = 0.0,
    key: Key | RowKeys | None = None,
) -> Tensor:
    """`scaled_dot_product_attention` for queries, keys and values that one product wrote side by side.

    Kernels read them in place and write their gradients into one array: only normalised or rotated ones are copied.

    Args:    qkv (B, T, H + 2 K, D): for each token `num_heads` = H query heads, K key heads, K value heads;
             qk_norm_eps: if given, each query and each key is first divided by its root mean square, as in `rms_norm`;
             rotation: cos and sin (T, D / 2) by which `rope` then rotates queries and keys, or None;
             is_causal, scale, dropout_rate, key: as in `scaled_dot_product_attention`.
    Returns: (B, T, H, D).
    Raises:  ShapeError, DTypeError, ArgumentError.
    Grad:    as in `scaled_dot_product_attention`, through the rotation and the norm.
    Saves:   qkv, the queries and keys given to attention, out, and one log-sum-exp per query; with qk_norm_eps one
             number for each query and key.
    """
    op = "self_attention"
    a = float_operand(op, qkv)
    num_heads = as_size(op, "num_heads", num_heads)
    _check_packed(a, num_heads)
    scale = 1 / math.sqrt(a.shape[-1]) if scale is None else as_number(op, "scale", scale)
    is_causal = as_flag(op, "is_causal", is_causal)
    kernels, num_turned = kernels_for(a), (num_heads + a.shape[2]) // 2
    heads_BJTD = a.transpose(0, 2, 1, 3)
    q, k, v = unpacked(heads_BJTD, num_heads)
    qk_BJTD = heads_BJTD[:, :num_turned]
    if qk_norm_eps is not None:
        qk_norm_eps = as_number(op, "qk_norm_eps", qk_norm_eps)
        normal_RD, rstd_R1 = kernels.rms_norm(_rows(a[:, :, :num_turned]), None, qk_norm_eps)
        qk_BJTD = normal_RD.reshape(*a.shape[:2], num_turned, a.shape[3]).transpose(0, 2, 1, 3)
    if rotation is not None:
        cos, sin = rotation = _tables(op, heads_BJTD, *_pair(op, rotation))
        qk_BJTD = kernels.rope(qk_BJTD, cos, sin, None if qk_norm_eps is None else qk_BJTD)
    q, k = qk_BJTD[:, :num_heads], qk_BJTD[:, num_heads:]
    dropped = _attention_dropout(op, dropout_rate, key, q)
    attending = Attending(is_causal=is_causal, scale=scale, dropout=dropped)
    out, row_logsumexp = kernels.attention(q, k, v, attending)

    def vjp(g: Any) -> Any:
        if type(g) is Tensor:
            arguments = (num_heads, qk_norm_eps, rotation, attending)
            return definition_vjp(lambda qkv: self_attention_definition(qkv, *arguments), [qkv], g)[0]
        g_BHTD = g.transpose(0, 2, 1, 3)
        kernels = kernels_for(g)
        parts = kernels.attention_gradient(g_BHTD, q, k, v, out, row_logsumexp, attending)
        dqkv = packed(parts)
        if rotation is not None:
            part = dqkv.transpose(0, 2, 1, 3)[:, :num_turned]
            kernels.rope(part, cos, -sin, part)
        if qk_norm_eps is not None:
            rows_RD, dqk = _rows(a[:, :, :num_turned]), dqkv[:, :, :num_turned]
            dqk[...] = kernels.rms_norm_gradient(_rows(dqk), rows_RD, None, rstd_R1)[0].reshape(dqk.shape)
        return dqkv

    return record(out.transpose(0, 2, 1, 3), (qkv, vjp))


def _rows(x: Array) -> Array:
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def self_attention_definition(
    qkv: Tensor, num_heads: int, qk_norm_eps: float | None, rotation: Any, attending: Attending
) -> Tensor:
    q, k, v = unpacked(permute_dims(qkv, (0, 2, 1, 3)), num_heads)
    if qk_norm_eps is not None:
        q, k = (rms_norm_definition(x, eps=qk_norm_eps) for x in (q, k))
    if rotation is not None:
        q, k = (rope_definition(x, *rotation) for x in (q, k))
    return permute_dims(attention_definition(q, k, v, None, attending), (0, 2, 1, 3))


def attention_definition(q: Any, k: Any, v: Any, mask: Any, attending: Attending) -> Tensor:
    """In basic ops. `mask` may be a Tensor, and stands for attending's."""
    batch, heads, queries, width = q.shape
    kv_heads, keys = k.shape[1], k.shape[2]
    q = reshape(q, (batch, kv_heads, heads // kv_heads, queries, width))
    k = reshape(k, (batch, kv_heads, 1, keys, width))
    v = reshape(v, (batch, kv_heads, 1, keys, v.shape[-1]))
    scores = multiply(matmul(q, matrix_transpose(k)), attending.scale)
    xp = module_of(data(q))
    may_attend = xp.tril(xp.ones((queries, keys), bool)) if attending.is_causal else xp.ones((queries, keys), bool)
    if mask is not None:
        mask = reshape(broadcast_to(mask, (batch, heads, queries, keys)), scores.shape)
        if mask.dtype == bool:
            may_attend = may_attend & data(mask)
        else:
            scores = add(scores, mask)
    scores = where(may_attend, scores, -math.inf)
    # A query that may see no key has no finite score: softmax would give nan, and its output must be 0.
    sees_any = (data(scores) != -math.inf).any(axis=-1, keepdims=True)
    weights = where(sees_any, softmax_definition(where(sees_any, scores, 0.0), -1), 0.0) if keys else scores
    if attending.dropout is not None:
        keys_R2, rate = attending.dropout
        weights = dropout(weights, from_pairs(keys_R2), rate=rate)
    return reshape(matmul(weights, v), (batch, heads, queries, v.shape[-1]))


def _attention_mask(mask: Any, q: Array, k: Array) -> Array:
    m = operand("scaled_dot_product_attention", mask)
    check_devices("scaled_dot_product_attention", q, m)
    if m.dtype not in (bool, q.dtype):
        raise DTypeError(
            f"scaled_dot_product_attention: expected a mask of bool or {q.dtype}, got {m.dtype}: "
            "convert it with .astype"
        )
    target = (*q.shape[:2], q.shape[-2], k.shape[-2])
    padded = m.reshape((1,) * (4 - m.ndim) + m.shape)
    if m.ndim > 4 or any(n not in (1, full) for n, full in zip(padded.shape, target, strict=True)):
        raise ShapeError(
            f"scaled_dot_product_attention: expected a mask that broadcasts to {target}, got {m.shape}: "
            "insert axes of size 1"
        )
    return padded


def _attention_dropout(op: str, rate: float, key: Any, q: Array) -> tuple[Array, float] | None:
    is_used = as_number(op, "dropout_rate", rate) != 0
    check_dropout(op, rate, key if is_used or key is not None else Key(0), q)
    if isinstance(key, RowKeys) and len(key.keys) != q.shape[0]:
        raise ShapeError(
            f"{op}: expected a key for each of {q.shape[0]} samples, got {len(key.keys)}: "
            "fold one into the key for each sample"
        )
    return (as_pairs(key, device_of(q)), rate) if is_used else None


def _check_attention(q: Array, k: Array, v: Array) -> None:
    fits = q.ndim == k.ndim == v.ndim == 4
    fits = fits and q.shape[0] == k.shape[0] and q.shape[-1] == k.shape[-1] and k.shape[:3] == v.shape[:3]
    if not (fits and q.shape[-1] and k.shape[1] and q.shape[1] % k.shape[1] == 0):
        raise ShapeError(
            "scaled_dot_product_attention: expected q (B, H, T, D), k (B, K, S, D), v (B, K, S, E) with H a multiple "
            f"of K and D > 0, got {q.shape}, {k.shape}, {v.shape}: "
            "reshape them, one axis for the heads"
        )


def _check_packed(qkv: Array, num_heads: int) -> None:
    num_others = qkv.shape[2] - num_heads if qkv.ndim == 4 else 0
    fits = num_others >= 2 and num_others % 2 == 0 and num_heads >= 1 and num_heads % (num_others // 2) == 0
    if not (fits and qkv.shape[3]):
        raise ShapeError(
            f"self_attention: expected qkv (B, T, H + 2 K, D) with H = {num_heads} a multiple of K and D > 0, "
            f"got {qkv.shape}: reshape it, one axis for all heads"
        )


def rope(x: TensorLike, cos: Array, sin: Array) -> Tensor:
    """Rotary position embedding: rotate each pair (x[i], x[i + D / 2]) of the last axis by its position's angle.

        y = [x1 cos - x2 sin, x2 cos + x1 sin],   x1 and x2 the halves of x

    Args:    x (..., T, D); cos, sin (T, D / 2) arrays, constants, in the dtype of x.
    Returns: (..., T, D).
    Raises:  ShapeError, DTypeError.
    Grad:    the rotation by the opposite angle. Saves nothing of x.
    Source:  Su et al., "RoFormer", 2021, equation 34, with Llama's pairing of halves.
    """
    a = float_operand("rope", x)
    cos, sin = _tables("rope", a, cos, sin)
    return record(kernels_for(a).rope(a, cos, sin), (x, lambda g: rope(g, cos, -sin)))


def _pair(op: str, rotation: Any) -> tuple[Any, Any]:
    if not isinstance(rotation, (tuple, list)) or len(rotation) != 2:
        raise ArgumentError(f"{op}: expected rotation to be (cos, sin), got {shown(rotation)}: give two arrays")
    return rotation[0], rotation[1]


def _tables(op: str, a: Array, cos: Any, sin: Any) -> tuple[Array, Array]:
    """The rotation's cosines and sines, checked to fit a (..., T, D)."""
    cos, sin = operand(op, cos), operand(op, sin)
    expected = (a.shape[-2], a.shape[-1] // 2) if a.ndim >= 2 and a.shape[-1] % 2 == 0 else None
    if expected is None or cos.shape != expected or sin.shape != expected:
        raise ShapeError(
            f"{op}: expected x (..., T, D), D even, and cos, sin (T, D / 2), got {a.shape}, {cos.shape}, {sin.shape}: "
            "slice cos and sin to x's positions"
        )
    if cos.dtype != a.dtype or sin.dtype != a.dtype:
        raise DTypeError(
            f"{op}: expected cos and sin in {a.dtype}, as x, got {cos.dtype} and {sin.dtype}: convert them with .astype"
        )
    check_devices(op, a, cos, sin)
    return cos, sin


def rope_definition(x: Tensor, cos: Array, sin: Array) -> Tensor:
    first, second = split(x, 2, axis=-1)
    return concat(
        [
            subtract(multiply(first, cos), multiply(second, sin)),
            add(multiply(second, cos), multiply(first, sin)),
        ],
        axis=-1,
    )
