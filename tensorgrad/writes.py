"""Writes into arrays that a gradient still needs: noticed, and refused when that gradient is asked for.

An op keeps the arrays that its gradient needs, not copies. To write into one of them between forward
and backward would falsify the gradient without a word. So everything that hands out an array to
write into says so here: `x[index] = v` writes, and so does a backward that adds to a `.grad`; `x.data`,
also as `x.numpy()` and for other libraries, may be written by whoever has it, and is fingerprinted if
something recorded could still need it. A backward that meets a node older than such a write
compares, and if the node keeps that memory it raises, naming the op.

What is not seen: a write through a NumPy array that was taken, or an operand, before the op was recorded.

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

from tensorgrad.array import Array, address_of, is_concrete
from tensorgrad.errors import GraphError

if TYPE_CHECKING:
    from tensorgrad.tape import Node
    from tensorgrad.tensor import Tensor

__all__ = ["Watch", "check_unwritten", "exposed", "handed_out", "is_needed", "is_shared", "now", "written"]

# The order of creation of nodes and of writes: `now()` is later than every one before.
now: Callable[[], int] = itertools.count().__next__

_WRITTEN = -1  # in the place of a fingerprint: known to have changed
_MOST = 16  # fingerprints kept of one array; of more, the oldest are forgotten


class _Exposure:
    """Memory that was handed out, whole or in part, and what was in it when: [(time, part, fingerprint), ...].

    Of a view it is the array that owns the memory: the view itself may be gone when it is asked what was written.
    """

    __slots__ = ("owner", "seen")

    def __init__(self, owner: weakref.ref[Array]) -> None:
        self.owner = owner
        self.seen: list[tuple[int, _Part, int]] = []


_exposures: dict[int, _Exposure] = {}
_latest = -1  # the time of the latest exposure


class _Part:
    """Where an array lies, without holding it. What is not NumPy's is taken whole."""

    __slots__ = ("__array_interface__",)

    def __init__(self, array: Array) -> None:
        self.__array_interface__: Any = array.__array_interface__ if type(array) is np.ndarray else None

    def __eq__(self, other: object) -> bool:
        return type(other) is _Part and self.__array_interface__ == other.__array_interface__

    def of(self, owner: Array) -> Array:
        """The array anew, to be used while its owner is held."""
        return owner if self.__array_interface__ is None else np.asarray(self)


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
        self.bounds = _bounds(buffer) if is_concrete(buffer) else (0, 0)
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


def check_unwritten(nodes: Iterable[Node]) -> None:
    """Raise GraphError if one of `nodes` keeps an array that was written after the node was recorded."""
    if _latest < 0:
        return
    older = [node for node in nodes if node.serial < _latest and node.parents]
    if not older:
        return
    from tensorgrad.residuals import residuals  # it needs Tensor, which needs this module

    changed = _changes(min(node.serial for node in older))
    if not changed:
        return
    for node in older:
        kept = residuals(node)
        for _, array, time in changed:
            if node.serial < time and any(_overlap(array, other) for other in kept):
                raise GraphError(
                    f"backward: expected the values that {node.op} was computed from, but an array of shape "
                    f"{array.shape} that its gradient needs was written to afterwards: use tensorgrad.index_update "
                    "in place of the write, or write to a copy"
                )


def _note(array: Array, fingerprint: int) -> None:
    global _latest
    owner, part = _owner(array), _Part(array)
    key = id(owner)
    exposure = _exposures.get(key)
    if exposure is None:
        exposure = _exposures[key] = _Exposure(weakref.ref(owner, lambda _: _exposures.pop(key, None)))
    _latest = now()
    if exposure.seen and exposure.seen[-1][1:] == (part, fingerprint) and fingerprint != _WRITTEN:
        exposure.seen.pop()  # unchanged so far: what holds from now on held before
    exposure.seen = [*exposure.seen, (_latest, part, fingerprint)][-_MOST:]


def _owner(array: Any) -> Any:
    """The array whose memory an array is, or is a view of."""
    while type(array) is np.ndarray and type(array.base) is np.ndarray:
        array = array.base
    return array


def _changes(since: int) -> list[tuple[Array, Array, int]]:
    """What was handed out after `since` and has changed: its owner, itself, when it was as it was."""
    found = []
    for exposure in list(_exposures.values()):
        owner = exposure.owner()
        if owner is None or exposure.seen[-1][0] < since:
            continue
        for time, part, fingerprint in exposure.seen:
            array = part.of(owner)
            if since < time and (fingerprint == _WRITTEN or fingerprint != _fingerprint(array)):
                found.append((owner, array, time))
    return found


def _fingerprint(array: Array) -> int:
    """Of the bytes; 0 on a GPU, where looking at them would wait for the device."""
    return (
        zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        if type(array) is np.ndarray and array.size
        else 0
    )


def _overlap(x: Array, y: Array) -> bool:
    if x is y or not (is_concrete(x) and is_concrete(y)):
        return x is y
    (start, end), (other_start, other_end) = _bounds(x), _bounds(y)
    return start < other_end and other_start < end  # exact for all but interleaved views


def is_needed(x: Tensor) -> bool:
    """Whether something recorded may need the values of this tensor: an op that it went into, or its own gradient."""
    node = x.node
    if node is not None and node.parents:
        return True
    of_node, of_array = _holders(x)
    return hasattr(x, "is_operand") or of_array > _ALONE[1] or (node is not None and of_node > _ALONE[0])


def is_shared(x: Tensor) -> bool:
    """Whether something recorded may need the memory of this tensor: also that of what it is a view of."""
    return is_needed(x) or getattr(x.array, "base", None) is not None


def _holders(x: Any) -> tuple[int, int]:
    """How many hold the node of a tensor, and how many its array: vjps, other tensors, views."""
    node, array = x.node, x.array
    return sys.getrefcount(node), sys.getrefcount(array)


class _Alone:
    """Holds a node and an array as a Tensor does that nothing else has to do with."""

    __slots__ = ("array", "node")

    def __init__(self) -> None:
        self.node, self.array = set[int](), set[int]()


_ALONE = _holders(_Alone())  # interpreters differ in what they count
