"""Writes into arrays that a gradient still needs: noticed, and refused when that gradient is asked for.

An op keeps the arrays that its gradient needs, not copies. To write into one of them between forward
and backward would falsify the gradient without a word. So everything that hands out an array to
write into says so here: `x[index] = v` writes; `x.data` may be written by whoever has it, and is
fingerprinted if something recorded could still need it. A backward that meets a node older than
such a write compares, and if the node keeps that memory it raises, naming the op.

What is not seen: a write through a NumPy array that was taken before the op was recorded.

Nothing here costs a thing while no array of a recorded graph is handed out.

Who keeps something that was made of a buffer, such as a copy in another dtype, has the same question for a `Watch`.
"""

from __future__ import annotations

import itertools
import sys
import weakref
import zlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgrad.array import Array, address_of, has_values
from tensorgrad.errors import GraphError

if TYPE_CHECKING:
    from tensorgrad.tape import Node

__all__ = ["Watch", "check_unwritten", "exposed", "handed_out", "is_needed", "now", "written"]

# The order of creation of nodes and of writes: `now()` is later than every one before.
now: Callable[[], int] = itertools.count().__next__

_WRITTEN = -1  # in the place of a fingerprint: known to have changed
_MOST = 16  # fingerprints kept of one array; of more, the oldest are forgotten


class _Exposure:
    """One array that was handed out, and what was in it when: [(time, fingerprint), ...]."""

    __slots__ = ("array", "seen")

    def __init__(self, array: weakref.ref[Array]) -> None:
        self.array = array
        self.seen: list[tuple[int, int]] = []


_exposures: dict[int, _Exposure] = {}
_latest = -1  # the time of the latest exposure


def exposed(array: Array) -> None:
    """`array` is handed out from a graph and may be written from now on."""
    _note(array, _fingerprint(array))


def written(array: Array) -> None:
    """`array` is being written, or its Tensor given other values."""
    _note(array, _WRITTEN)
    for watch in _watching(array):
        watch.was_written = True


def handed_out(array: Array) -> None:
    """`array` may be written at any time from now on, by whoever has it."""
    for watch in _watching(array):
        watch.is_held = True


class Watch:
    """Whether a buffer may have been written to behind its owner's back: by its address, so through any view of it.

    It is to be there before anybody else has the buffer. Nobody gives back what was handed out: such a buffer may have
    changed whenever that is asked.
    """

    __slots__ = ("__weakref__", "bounds", "is_held", "was_written")

    def __init__(self, buffer: Array) -> None:
        self.bounds = _bounds(buffer) if has_values(buffer) else (0, 0)
        self.is_held = self.was_written = False
        _watches.add(self)

    def may_have_changed(self) -> bool:
        """Since the last time that this was asked, or `settle` called."""
        found = self.is_held or self.was_written
        self.settle()
        return found

    def settle(self) -> None:
        """What was written until now was the owner's own."""
        self.was_written = False


_watches: weakref.WeakSet[Watch] = weakref.WeakSet()


def _watching(array: Array) -> list[Watch]:
    if not _watches or not has_values(array):
        return []
    start, end = _bounds(array)
    return [watch for watch in _watches if start < watch.bounds[1] and watch.bounds[0] < end]


def _bounds(array: Array) -> tuple[int, int]:
    """The first address of an array's elements, and the first after them."""
    start = address_of(array)
    if not array.size:
        return start, start
    reach = [(n - 1) * step for n, step in zip(array.shape, array.strides, strict=True)]
    return start + sum(min(0, r) for r in reach), start + sum(max(0, r) for r in reach) + array.itemsize


def check_unwritten(nodes: Iterable[Node]) -> None:
    """Raise GraphError if one of `nodes` keeps an array that was written after the node was recorded."""
    if _latest < 0:
        return
    older = [node for node in nodes if node.serial < _latest and node.parents]
    if not older:
        return
    from tensorgrad.residuals import residuals  # it needs Tensor, which needs this module

    changed = [(array, time) for array, time in _changes() if any(node.serial < time for node in older)]
    if not changed:
        return
    for node in older:
        for array, time in changed:
            if node.serial < time and any(_overlap(array, kept) for kept in residuals(node)):
                raise GraphError(
                    f"backward: expected the values that {node.op} was computed from, but an array of shape "
                    f"{array.shape} that its gradient needs was written to afterwards: use tensorgrad.index_update "
                    "in place of the write, or write to a copy"
                )


def _note(array: Array, fingerprint: int) -> None:
    global _latest
    exposure = _exposures.get(id(array))
    if exposure is None:
        key = id(array)
        exposure = _exposures[key] = _Exposure(weakref.ref(array, lambda _: _exposures.pop(key, None)))
    _latest = now()
    if exposure.seen and exposure.seen[-1][1] == fingerprint != _WRITTEN:
        exposure.seen.pop()  # unchanged so far: what holds from now on held before
    exposure.seen = [*exposure.seen, (_latest, fingerprint)][-_MOST:]


def _changes() -> list[tuple[Array, int]]:
    """The arrays that have changed, each with the latest time before which what was in them is gone."""
    found = []
    for exposure in list(_exposures.values()):
        array = exposure.array()
        if array is not None:
            current = _fingerprint(array)
            times = [time for time, fingerprint in exposure.seen if fingerprint != current]
            if times:
                found.append((array, times[-1]))
    return found


def _fingerprint(array: Array) -> int:
    """Of the bytes; 0 on a GPU, where looking at them would wait for the device."""
    return (
        zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        if type(array) is np.ndarray and array.size
        else 0
    )


def _overlap(x: Array, y: Array) -> bool:
    if x is y or not (has_values(x) and has_values(y)):
        return x is y
    (start, end), (other_start, other_end) = _bounds(x), _bounds(y)
    return start < other_end and other_start < end  # exact for all but interleaved views


def is_needed(node: Node) -> bool:
    """Whether something recorded may need the value of this node: a consumer, or its own gradient."""
    return bool(node.parents) or _references(node) > _UNREFERENCED


def _references(x: Any) -> int:
    return sys.getrefcount(x)


class _Holder:
    """Holds a node as its Tensor does."""

    __slots__ = ("node",)


def _count_without_consumers() -> int:
    """What `_references` says of a node that its Tensor alone holds, when `is_needed` asks; interpreters differ."""

    def ask(node: Any) -> int:
        return _references(node)

    holder = _Holder()
    holder.node = _Holder()  # type: ignore[attr-defined]
    return ask(holder.node)  # type: ignore[attr-defined]


_UNREFERENCED = _count_without_consumers()
