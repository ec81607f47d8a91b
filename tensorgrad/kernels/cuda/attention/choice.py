"""Which provider computes a call of attention, and the trial that a provider passes first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TypeAlias

import numpy as np

from tensorgrad.array import Array, device_of, module_of, to_device, to_numpy
from tensorgrad.dtype import DType
from tensorgrad.kernels import reference
from tensorgrad.kernels.attending import Attending
from tensorgrad.kernels.cuda.attention import tiled
from tensorgrad.kernels.cuda.attention.cudnn import CuDNN
from tensorgrad.kernels.cuda.attention.heads import Unsupported
from tensorgrad.kernels.providers import choose, fell_back

__all__ = ["attention", "attention_gradient", "provider_for"]

# With fewer queries there is little to compute, and in generating cuDNN would plan for another length at every token.
FEW_QUERIES = 16
# Shapes of a trial: heads, key heads, queries, keys, width.
_Shape: TypeAlias = tuple[int, int, int, int, int]
_ODD: _Shape = (4, 2, 33, 40, 32)
_EVEN: _Shape = (4, 4, 64, 64, 64)
# Largest relative error of a trial, as a ratio of root mean squares: several roundings.
_TOLERANCES = {"bfloat16": 2e-2, "float16": 3e-3, "float32": 2e-5, "float64": 1e-12}


def attention(q_BHTD: Array, k_BKSD: Array, v_BKSD: Array, attending: Attending) -> tuple[Array, Array]:
    return _computed("attention", (q_BHTD, k_BKSD, v_BKSD), q_BHTD, k_BKSD, attending)  # type: ignore[no-any-return]


def attention_gradient(
    g_BHTD: Array,
    q_BHTD: Array,
    k_BKSD: Array,
    v_BKSD: Array,
    out_BHTD: Array,
    logsumexp_BHT: Array,
    attending: Attending,
) -> tuple[Array, Array, Array]:
    arrays = (g_BHTD, q_BHTD, k_BKSD, v_BKSD, out_BHTD, logsumexp_BHT)
    return _computed("attention_gradient", arrays, q_BHTD, k_BKSD, attending)  # type: ignore[no-any-return]


def _computed(kernel: str, arrays: tuple[Array, ...], q: Array, k: Array, attending: Attending) -> Any:
    """The kernel's results, by the first provider that takes the call."""
    for provider in _providers(q, k, attending):
        try:
            return getattr(provider, kernel)(*arrays, attending)
        except Unsupported as problem:
            used = "flash, or else unfused" if isinstance(provider, CuDNN) else "unfused"
            fell_back(_need(q.dtype), used, str(problem))
    return getattr(reference, kernel)(*arrays, attending)


def _providers(q: Array, k: Array, attending: Attending) -> Iterator[Any]:
    """The providers to ask for a call, in order, before the reference, which takes every call."""
    if 0 in q.shape or 0 in k.shape:
        return
    if attending.mask is not None or attending.dropout is not None:  # cuDNN's dropout would draw other numbers
        yield _own_for(q, "with a mask or dropout", has_extras=True)
        return
    chosen = provider_for(q, (q.shape[1], k.shape[1], 64, 64, q.shape[3]))
    if not isinstance(chosen, CuDNN):
        yield chosen
        return
    if q.shape[2] >= FEW_QUERIES:
        yield chosen
    yield _own_for(q, "what cuDNN does not take", has_extras=False)


def provider_for(like: Array, shape: _Shape = _EVEN) -> Any:
    """The provider of attention for arrays of `like`'s dtype on its device, tried out at first use.

    `shape`: what cuDNN is tried with first, with the heads and the width of the calls to come, and few tokens.
    """
    own = (_own_name(like), lambda: _tried(tiled, like))
    unfused = ("unfused", lambda: _tried(reference, like))
    if like.dtype.itemsize != 2:
        return choose(_need(like.dtype), [own, unfused])
    return choose(_need(like.dtype), [("cudnn", lambda: _tried_cudnn(like, shape)), own, unfused])


def _need(dtype: DType) -> str:
    return f"attention in {dtype.name}"


def _own_for(like: Array, calls: str, *, has_extras: bool) -> Any:
    """Our own kernels for such calls, or the reference where they do not work."""
    own = (_own_name(like), lambda: _tried(tiled, like, has_extras=has_extras))
    return choose(f"{_need(like.dtype)}, {calls}", [own, ("unfused", lambda: reference)])


def _own_name(like: Array) -> str:
    return "flash" if like.dtype.itemsize == 2 else "plain"


def _tried_cudnn(like: Array, shape: _Shape) -> CuDNN:
    """cuDNN, once it has computed `shape`, or else `_EVEN`, correctly, and `_ODD` correctly or not at all.

    Another kernel computes each call that cuDNN declines, so cuDNN need not take every shape.
    Raises ArithmeticError, Unsupported if it takes neither of the first two, and whatever cuDNN raises.
    """
    provider = CuDNN(module_of(like))
    try:
        _tried(provider, like, shape)
    except Unsupported:
        _tried(provider, like, _EVEN)
    with suppress(Unsupported):
        _tried(provider, like, _ODD)
    return provider


def _tried(provider: Any, like: Array, shape: _Shape = _ODD, *, has_extras: bool = False) -> Any:
    """The provider, once it has computed a tiny problem in `like`'s dtype on its device correctly.

    `has_extras`: with a mask and dropout. Raises ArithmeticError, and whatever the provider raises.
    """
    random = np.random.default_rng(0)
    heads, kv_heads, num_queries, num_keys, width = shape
    shapes = (*[(1, heads, num_queries, width)] * 2, *[(1, kv_heads, num_keys, width)] * 2)
    numbers = [random.normal(size=size).astype(np.float32) for size in shapes]
    g, q, k, v = (to_device(x, device_of(like)).astype(like.dtype) for x in numbers)
    exact_g, exact_q, exact_k, exact_v = (to_numpy(x.astype(np.float64)) for x in (g, q, k, v))
    attending = exact_attending = Attending(is_causal=True, scale=0.2)
    if has_extras:
        dropout, mask = (np.zeros((1, 2), np.uint64), 0.25), random.random((1, heads, num_queries, num_keys)) < 0.9
        exact_attending = Attending(is_causal=True, scale=0.2, mask=mask, dropout=dropout)
        attending = Attending(is_causal=True, scale=0.2, mask=to_device(mask, device_of(like)), dropout=dropout)
    out, logsumexp = provider.attention(q, k, v, attending)
    results = (out, logsumexp, *provider.attention_gradient(g, q, k, v, out, logsumexp, attending))
    forward = reference.attention(exact_q, exact_k, exact_v, exact_attending)
    backward = reference.attention_gradient(exact_g, exact_q, exact_k, exact_v, *forward, exact_attending)
    limit = _TOLERANCES[like.dtype.name]
    for name, a, b in zip(("out", "logsumexp", "dq", "dk", "dv"), results, (*forward, *backward), strict=True):
        error = np.linalg.norm(to_numpy(a.astype(np.float64)) - b) / np.linalg.norm(b)
        if not error <= limit:
            raise ArithmeticError(f"{name} is wrong by {error:.1e} of its size, where {limit:.0e} is allowed")
    return provider
