"""Who computes a call of attention, and what is computed to find out whether they can."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from tensorgrad.array import Array, device_of, module_of, to_device, to_numpy
from tensorgrad.dtype import DType
from tensorgrad.kernels import reference
from tensorgrad.kernels.cuda.attention.cudnn import CuDNN
from tensorgrad.kernels.cuda.attention.layout import Dropout, Unsupported
from tensorgrad.kernels.cuda.attention.tiled import Tiled
from tensorgrad.kernels.providers import choose, fell_back

__all__ = ["Provider", "attention", "attention_gradient", "provider_for"]

# Below it there is little to compute, and generating would have cuDNN plan for another length at every token.
FEW_QUERIES = 16
# Largest relative error, in the sense of root mean squares, of what is computed to find out: several roundings.
_TOLERANCES = {"bfloat16": 2e-2, "float16": 3e-3, "float32": 2e-5, "float64": 1e-12}


class Provider(Protocol):
    """Both raise Unsupported for a call that they do not take."""

    def forward(
        self,
        q: Array,
        k: Array,
        v: Array,
        *,
        is_causal: bool,
        scale: float,
        mask: Array | None = None,
        dropout: Dropout | None = None,
    ) -> tuple[Array, Array]: ...

    def backward(
        self,
        g: Array,
        q: Array,
        k: Array,
        v: Array,
        out: Array,
        logsumexp: Array,
        *,
        is_causal: bool,
        scale: float,
        mask: Array | None = None,
        dropout: Dropout | None = None,
    ) -> tuple[Array, Array, Array]: ...


def attention(
    q_BHTD: Array,
    k_BKSD: Array,
    v_BKSD: Array,
    mask: Array | None,
    is_causal: bool,
    scale: float,
    dropout: Dropout | None,
) -> tuple[Array, Array]:
    for provider in _providers(q_BHTD, k_BKSD, mask, dropout):
        try:
            return provider.forward(
                q_BHTD, k_BKSD, v_BKSD, is_causal=is_causal, scale=scale, mask=mask, dropout=dropout
            )
        except Unsupported as problem:
            _said(q_BHTD, provider, str(problem))
    return reference.attention(q_BHTD, k_BKSD, v_BKSD, mask, is_causal, scale, dropout)


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
    dropout: Dropout | None,
) -> tuple[Array, Array, Array]:
    arrays = (g_BHTD, q_BHTD, k_BKSD, v_BKSD, out_BHTD, logsumexp_BHT)
    for provider in _providers(q_BHTD, k_BKSD, mask, dropout):
        try:
            return provider.backward(*arrays, is_causal=is_causal, scale=scale, mask=mask, dropout=dropout)
        except Unsupported as problem:
            _said(q_BHTD, provider, str(problem))
    return reference.attention_gradient(*arrays, mask, is_causal, scale, dropout)


def provider_for(like: Array) -> Provider:
    """Who computes attention of arrays of `like`'s dtype on its device, tried out if that is not known yet."""
    xp = module_of(like)
    own = (_own_name(like), lambda: _tried(Tiled(xp), like))
    unfused = ("unfused", lambda: _tried(Unfused(), like))
    if like.dtype.itemsize != 2:
        return choose(_need(like.dtype), [own, unfused])
    return choose(_need(like.dtype), [("cudnn", lambda: _tried(CuDNN(xp), like)), own, unfused])


def _need(dtype: DType) -> str:
    return f"attention in {dtype.name}"


class Unfused:
    """The definition, op by op, with every score in memory."""

    def forward(
        self,
        q: Array,
        k: Array,
        v: Array,
        *,
        is_causal: bool,
        scale: float,
        mask: Array | None = None,
        dropout: Dropout | None = None,
    ) -> tuple[Array, Array]:
        return reference.attention(q, k, v, mask, is_causal, scale, dropout)

    def backward(
        self,
        g: Array,
        q: Array,
        k: Array,
        v: Array,
        out: Array,
        logsumexp: Array,
        *,
        is_causal: bool,
        scale: float,
        mask: Array | None = None,
        dropout: Dropout | None = None,
    ) -> tuple[Array, Array, Array]:
        return reference.attention_gradient(g, q, k, v, out, logsumexp, mask, is_causal, scale, dropout)


def _providers(q: Array, k: Array, mask: Array | None, dropout: Dropout | None) -> Iterator[Provider]:
    """Those to ask for a call, in order; the definition takes what is left."""
    if 0 in q.shape or 0 in k.shape:
        return
    if mask is not None or dropout is not None:  # dropout is to draw our numbers, which cuDNN's does not
        yield _own_for(q, "with a mask or dropout", has_extras=True)
        return
    chosen = provider_for(q)
    if not isinstance(chosen, CuDNN):
        yield chosen
        return
    if q.shape[2] >= FEW_QUERIES:
        yield chosen
    yield _own_for(q, "what cuDNN does not take", has_extras=False)


def _own_for(like: Array, calls: str, *, has_extras: bool) -> Provider:
    """Our own kernel for such calls, or, where it does not work, the definition."""
    own = (_own_name(like), lambda: _tried(Tiled(module_of(like)), like, has_extras=has_extras))
    return choose(f"{_need(like.dtype)}, {calls}", [own, ("unfused", Unfused)])


def _own_name(like: Array) -> str:
    return "flash" if like.dtype.itemsize == 2 else "plain"


def _said(q: Array, provider: Provider, problem: str) -> None:
    fell_back(_need(q.dtype), "flash, or else unfused" if isinstance(provider, CuDNN) else "unfused", problem)


def _tried(provider: Provider, like: Array, *, has_extras: bool = False) -> Provider:
    """The provider, once it has computed something tiny in `like`'s dtype on its device, and rightly.

    Args:    has_extras: with a mask, and dropout.
    """
    random = np.random.default_rng(0)
    shapes = ((1, 4, 33, 32), (1, 4, 33, 32), (1, 2, 40, 32), (1, 2, 40, 32))
    numbers = [random.normal(size=shape).astype(np.float32) for shape in shapes]
    g, q, k, v = (to_device(x, device_of(like)).astype(like.dtype) for x in numbers)
    exact_g, exact_q, exact_k, exact_v = (to_numpy(x.astype(np.float64)) for x in (g, q, k, v))
    options: dict[str, Any] = {"is_causal": True, "scale": 0.2}
    exact_options = options
    if has_extras:
        mask = random.random((1, 4, 33, 40)) < 0.9
        options = options | {"dropout": (np.zeros((1, 2), np.uint64), 0.25), "mask": to_device(mask, device_of(like))}
        exact_options = options | {"mask": mask}
    out, logsumexp = provider.forward(q, k, v, **options)
    results = (out, logsumexp, *provider.backward(g, q, k, v, out, logsumexp, **options))
    exact = Unfused()
    forward = exact.forward(exact_q, exact_k, exact_v, **exact_options)
    backward = exact.backward(exact_g, exact_q, exact_k, exact_v, *forward, **exact_options)
    limit = _TOLERANCES[like.dtype.name]
    for name, a, b in zip(("out", "logsumexp", "dq", "dk", "dv"), results, (*forward, *backward), strict=True):
        error = np.linalg.norm(to_numpy(a.astype(np.float64)) - b) / np.linalg.norm(b)
        if not error <= limit:
            raise ArithmeticError(f"{name} is wrong by {error:.1e} of its size, where {limit:.0e} is allowed")
    return provider
