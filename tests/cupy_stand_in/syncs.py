"""What waits for the device, and what is copied between host and device: counted, and refused where asked.

While a graph is captured both are errors: a wait cannot be captured, and a repeated copy would read memory that has
another owner by then.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["DeviceSynchronized", "capturing", "copied", "copies", "counts", "forbidden", "synchronised"]

counts: Counter[str] = Counter()  # by what waited
copies: Counter[str] = Counter()  # bytes, "to the device" and "to the host"


class _Thread(threading.local):
    """Waiting is forbidden per thread: another one, such as the loader's, may still wait."""

    def __init__(self) -> None:
        self.forbidden = [False]
        self.is_capturing = False


_thread = _Thread()


class DeviceSynchronized(RuntimeError):
    """A wait for the device where none is allowed."""


def synchronised(what: str) -> None:
    """Note that `what` waits for the device, because it reads values there."""
    if _thread.is_capturing:
        raise DeviceSynchronized(f"{what}: cudaErrorStreamCaptureUnsupported")
    if _thread.forbidden[-1]:
        raise DeviceSynchronized(f"{what} waits for the device")
    counts[what] += 1


def copied(direction: str, nbytes: int) -> None:
    if _thread.is_capturing:
        raise DeviceSynchronized(f"a copy {direction} while a graph is captured")
    copies[direction] += nbytes


def capturing(is_capturing: bool) -> None:
    """Say whether this thread captures a graph from now on."""
    _thread.is_capturing = is_capturing


@contextmanager
def forbidden(refuse: bool = True) -> Iterator[None]:
    """A context in which waiting for the device raises in this thread; with False it is allowed again."""
    _thread.forbidden.append(refuse)
    try:
        yield
    finally:
        _thread.forbidden.pop()
