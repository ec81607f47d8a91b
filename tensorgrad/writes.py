"""Writes into arrays that a gradient still needs: noticed, and refused when that gradient is asked for.

An op keeps the arrays that its gradient needs, not copies of them. A write into one of them between
forward and backward would silently falsify the gradient. So everything that hands out an array to
write into reports it here. `x[index] = v` is a write, and so is a backward that adds to a `.grad`.
An array handed out by `x.data`, `x.numpy()` or for another library may be written at any time: it is
fingerprinted, if something recorded could still need it. A backward that meets a node older than a
report compares fingerprints, and raises, naming the op, if the node keeps memory that has changed.

Not noticed: a write through a NumPy array, a tensor's memory or an operand, that was taken before the
op was recorded.

A program that hands out no array of a recorded graph pays nothing.

To learn whether a buffer changed after you derived something from it (the optimizer's 16-bit copy), hold a `Watch`.
"""

from __future__ import annotations

import itertools
import sys
import weakref
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgrad.array import Array, address_of, is_concrete

if TYPE_CHECKING:
    from tensorgrad.tensor import Tensor

__all__ = ["Watch", "changes_since", "exposed", "handed_out", "is_needed", "is_shared", "latest", "now", "overlap"]
__all__ += ["written"]

# The time at which nodes are made and writes reported: each `now()` is later than every one before.
now: Callable[[], int] = itertools.count().__next__

_WRITTEN = -1  # in the place of a fingerprint: known to have changed
_MOST = 16  # fingerprints kept for one array; older ones are forgotten


class _Exposure:
    """Memory that was handed out, whole or in part, and its contents then: [(time, part, fingerprint), ...].

    `owner` is the array that owns the memory: a view may be gone by the time its contents are compared.
    """

    __slots__ = ("owner", "seen")

    def __init__(self, owner: weakref.ref[Array]) -> None:
        self.owner = owner
        self.seen: list[tuple[int, _Part, int]] = []


_exposures: dict[int, _Exposure] = {}  # by the owner's id
_latest = -1


class _Part:
    """The place of an array in memory, without a reference to it. Arrays other than NumPy's are taken whole."""

    __slots__ = ("__array_interface__",)

    def __init__(self, array: Array) -> None:
        self.__array_interface__: Any = array.__array_interface__ if type(array) is np.ndarray else None

    def __eq__(self, other: object) -> bool:
        return type(other) is _Part and self.__array_interface__ == other.__array_interface__

    def of(self, owner: Array) -> Array:
        """The array again; valid while its owner is held."""
        return owner if self.__array_interface__ is None else np.asarray(self)


# --- reports -----------------------------------------------------------------------------------


def exposed(array: Array) -> None:
    """Report that `array`, which something recorded may need, is handed out and may be written from now on."""
    _note(array, _fingerprint(array))


def written(array: Array) -> None:
    """Report that `array` is written now, or that its Tensor gets other values."""
    _note(array, _WRITTEN)
    for watch in _watching(array):
        watch.was_written = True


def handed_out(array: Array) -> None:
    """Report that `array` is handed out: each `Watch` of its memory must expect a write at any time."""
    for watch in _watching(array):
        watch.is_held = True


def _note(array: Array, fingerprint: int) -> None:
    global _latest
    owner, part = _owner(array), _Part(array)
    key = id(owner)
    exposure = _exposures.get(key)
    if exposure is None:
        exposure = _exposures[key] = _Exposure(weakref.ref(owner, lambda _: _exposures.pop(key, None)))
    _latest = now()
    if exposure.seen and exposure.seen[-1][1:] == (part, fingerprint) and fingerprint != _WRITTEN:
        exposure.seen.pop()  # unchanged so far: the new entry covers the time of the old one
    exposure.seen = [*exposure.seen, (_latest, part, fingerprint)][-_MOST:]


def _owner(array: Any) -> Any:
    """The array that owns the memory of `array`, itself or the base that it is a view of."""
    while type(array) is np.ndarray and type(array.base) is np.ndarray:
        array = array.base
    return array


def _fingerprint(array: Array) -> int:
    """A checksum of the bytes; 0 on a GPU, where reading them would wait for the device."""
    return (
        zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        if type(array) is np.ndarray and array.size
        else 0
    )


# --- questions ---------------------------------------------------------------------------------


def latest() -> int:
    """The time of the latest report about memory that something recorded may need; -1 before the first."""
    return _latest


def changes_since(start: int) -> list[tuple[Array, Array, int]]:
    """(owner, array, time) for each array that was reported at a time after `start` and has changed since then.

    Hold `owner`, which owns the memory, while you use `array`.
    """
    found = []
    for exposure in list(_exposures.values()):
        owner = exposure.owner()
        if owner is None or exposure.seen[-1][0] < start:
            continue
        for time, part, fingerprint in exposure.seen:
            array = part.of(owner)
            if start < time and (fingerprint == _WRITTEN or fingerprint != _fingerprint(array)):
                found.append((owner, array, time))
    return found


def overlap(x: Array, y: Array) -> bool:
    """Whether two arrays share memory."""
    if x is y or not (is_concrete(x) and is_concrete(y)):
        return x is y
    (start, end), (other_start, other_end) = _bounds(x), _bounds(y)
    return start < other_end and other_start < end  # exact for all but interleaved views


def is_needed(x: Tensor) -> bool:
    """Whether something recorded may need this tensor's values: an op that it is an operand of, or its own gradient."""
    node = x.node
    if node is not None and node.parents:
        return True
    of_node, of_array = _holders(x)
    return hasattr(x, "is_operand") or of_array > _ALONE[1] or (node is not None and of_node > _ALONE[0])


def is_shared(x: Tensor) -> bool:
    """Whether something recorded may need this tensor's memory: its values, or other parts of the array it views."""
    return is_needed(x) or getattr(x.array, "base", None) is not None


def _holders(x: Any) -> tuple[int, int]:
    """How many references there are to a tensor's node and to its array: from vjps, other tensors, views."""
    node, array = x.node, x.array
    return sys.getrefcount(node), sys.getrefcount(array)


class _Alone:
    """Holds a node and an array as a Tensor does whose node and array nothing else holds."""

    __slots__ = ("array", "node")

    def __init__(self) -> None:
        self.node, self.array = set[int](), set[int]()


_ALONE = _holders(_Alone())  # interpreters differ in what they count


# --- watches -----------------------------------------------------------------------------------


class Watch:
    """Tells whether a buffer may have changed, through any view of it, since you last asked.

    Create it before sharing the buffer. Once handed out, a buffer counts as changed for good: `may_have_changed` is
    then always True, as nothing reports what other holders write. Buffers are told apart by their addresses.

        watch = Watch(buffer)
        copy = buffer.astype("float16")
        ...
        if watch.may_have_changed():
            copy = buffer.astype("float16")
    """

    __slots__ = ("__weakref__", "bounds", "is_held", "was_written")

    def __init__(self, buffer: Array) -> None:
        self.bounds = _bounds(buffer) if is_concrete(buffer) else (0, 0)
        self.is_held = self.was_written = False
        _watches.add(self)

    def may_have_changed(self) -> bool:
        """Whether the buffer may have changed since the last call of this or of `settle`."""
        found = self.is_held or self.was_written
        self.settle()
        return found

    def settle(self) -> None:
        """Forget the writes reported so far: they were your own."""
        self.was_written = False


_watches: weakref.WeakSet[Watch] = weakref.WeakSet()


def _watching(array: Array) -> list[Watch]:
    """The watches of memory that `array` overlaps."""
    if not _watches or not is_concrete(array):
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
