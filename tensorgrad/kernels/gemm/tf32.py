"""Whether float32 products on a CUDA device may be computed in TF32."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["allow_tf32", "is_tf32_allowed"]

_is_allowed: contextvars.ContextVar[bool] = contextvars.ContextVar("_is_allowed", default=False)


@contextmanager
def allow_tf32() -> Iterator[None]:
    """Within it float32 products on a CUDA device may round their operands to TF32, which has 11 bits of precision.

    They are several times as fast there. Elsewhere, and in other dtypes, it changes nothing.
    """
    token = _is_allowed.set(True)
    try:
        yield
    finally:
        _is_allowed.reset(token)


def is_tf32_allowed() -> bool:
    """Whether `allow_tf32` is in force."""
    return _is_allowed.get()
