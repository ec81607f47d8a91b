"""What waits for the device, and what is copied between host and device: counted, and refused where asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["DeviceSynchronized", "copied", "copies", "counts", "forbidden", "synchronised"]

counts: Counter[str] = Counter()  # by what waited
copies: Counter[str] = Counter()  # bytes, "to the device" and "to the host"
_forbidden = [False]


class DeviceSynchronized(RuntimeError):
    """A wait for the device where none is allowed."""


def synchronised(what: str) -> None:
    """`what` waits for the device, as it looks at values there."""
    if _forbidden[-1]:
        raise DeviceSynchronized(f"{what} waits for the device")
    counts[what] += 1


def copied(direction: str, nbytes: int) -> None:
    copies[direction] += nbytes


@contextmanager
def forbidden(refuse: bool = True) -> Iterator[None]:
    """Within it, what waits for the device raises; with False it may again."""
    _forbidden.append(refuse)
    try:
        yield
    finally:
        _forbidden.pop()
