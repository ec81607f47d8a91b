"""Whether the gradient of attention on a CUDA device may be summed in any order."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["allow_unordered", "is_unordered_allowed"]

_is_allowed: contextvars.ContextVar[bool] = contextvars.ContextVar("_is_allowed", default=False)


@contextmanager
def allow_unordered() -> Iterator[None]:
    """Within it cuDNN may sum the gradients of attention in any order, as PyTorch lets it.

    This should be faster, and takes less memory on Hopper, but the gradients of 16-bit queries, keys and values differ
    in their last bits from run to run. Call `backward` within it. Without cuDNN, and in other dtypes, it changes
    nothing.
    """
    token = _is_allowed.set(True)
    try:
        yield
    finally:
        _is_allowed.reset(token)


def is_unordered_allowed() -> bool:
    """Whether `allow_unordered` is in force."""
    return _is_allowed.get()
