"""Watching a program: calls of public ops, steps of a backward and its sums, as they begin and end.

Python itself reports every call of this thread (`sys.setprofile`), with the frame that holds its
arguments. Calls of an op's code, of `_step_back` and of `_sum` are passed on to a `Watcher`. Nothing is
wrapped or decorated, so an unwatched program does not know of this file. A watched one pays a few
tenths of a microsecond for each Python call, and computes the same bits: the tape is only told to
return all cotangents and to overwrite nothing (`tape.observed`).
"""

from __future__ import annotations

import functools
import inspect
import sys
import time
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgrad import backward, ops, tape
from tensorgrad.array import is_array
from tensorgrad.cotangent import Joint
from tensorgrad.tape import Node, data
from tensorgrad.tensor import Tensor

__all__ = ["Call", "Site", "Watcher", "arrays_in", "is_ours", "op_codes", "site_of", "watching"]


@dataclass(slots=True, eq=False)
class Site:
    """Where a program called an op. All that one call records, also through ops inside the op, shares one Site."""

    op: str  # the public op, or the function that calls `record` itself
    file: str
    line: int
    had_bad_operands: bool = False  # set by `find_non_finite`

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Call:
    """A call of an op, a backward's step through a node, or its sum of two cotangents of a node."""

    __slots__ = (
        "arguments",
        "began",
        "caller",
        "ended",
        "frame",
        "is_sum",
        "name",
        "node",
        "notes",
        "options",
        "site",
        "vjp_codes",
        "watchers",
    )

    def __init__(self, name: str, frame: types.FrameType, caller: Call | None) -> None:
        self.name = name  # of the op; for a step or a sum, of the op that recorded the node
        self.frame = frame
        self.caller = caller  # the call that this one is part of
        self.arguments: dict[str, Any] = {}  # all but the keyword-only ones
        self.options: dict[str, Any] = {}  # the keyword-only ones
        self.site: Site | None = None  # None for a step or a sum of a node that was recorded unwatched
        self.node: Node | None = None  # of a step or a sum
        self.is_sum = False
        self.vjp_codes: set[types.CodeType] = set()
        self.watchers: tuple[Watcher, ...] = ()  # those that saw it begin
        self.notes: dict[Watcher, Any] = {}  # one for each watcher that needs any
        self.began = self.ended = 0  # nanoseconds, on a clock that stands still while watchers work

    @property
    def is_backward(self) -> bool:
        return self.node is not None


class Watcher:
    """A tool's reaction to each event; it overrides the methods that it needs."""

    def begin(self, call: Call) -> None:
        """An op is called with `call.arguments`; a backward steps through `call.node` with "g", or adds "x" and "y"."""

    def end(self, call: Call, result: Any) -> None:
        """The call returns `result`; None if it raised an error, or was a step."""

    def cotangents(self, call: Call, result: Any) -> None:
        """A vjp of the step's node returns the cotangent of one parent; a joint vjp returns one for each input."""


@contextmanager
def watching(watcher: Watcher) -> Iterator[Callable[[], int]]:
    """Within it, this thread's calls are reported to `watcher`; watchers may be nested.

    Yields the clock of `Call.began` and `Call.ended`.
    """
    previous = sys.getprofile()
    events = previous if isinstance(previous, _Events) else _Events()
    events.watchers = (*events.watchers, watcher)
    sys.setprofile(events)
    try:
        with tape.observed():
            yield events.clock
    finally:
        sys.setprofile(previous)
        events.watchers = events.watchers[:-1]
        events.leave_dead_calls()


def site_of(node: Node) -> Site | None:
    """Where the node's op was called; None if it was not watched then."""
    return _sites.get(node)


_sites: weakref.WeakKeyDictionary[Node, Site] = weakref.WeakKeyDictionary()  # of nodes recorded while watched


def arrays_in(values: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """The arrays, Tensors' arrays and floats in arguments or results, each with its place in its container."""
    for x in values:
        if isinstance(x, (list, tuple)):
            yield from ((f"[{i}]{place}", a) for i, part in enumerate(x) for place, a in arrays_in([part]))
        else:
            a = data(x)
            if isinstance(a, np.generic):
                a = np.asarray(a)
            if is_array(a) or type(a) is float:
                yield "", a


class _Events:
    """The profile function: keeps the stack of calls that have not returned."""

    def __init__(self) -> None:
        self.watchers: tuple[Watcher, ...] = ()
        self.top: Call | None = None
        self.names = op_codes()
        self.told = 0  # nanoseconds that watchers have taken

    def __call__(self, frame: types.FrameType, event: str, value: Any) -> None:
        entered = time.perf_counter_ns()
        if event == "call":
            name = self.names.get(frame.f_code)
            if name is None:
                return
            self._begin(name, frame, entered - self.told)
        elif event == "return":
            if not self._return(frame, value, entered - self.told):
                return
        else:
            return
        self.told += time.perf_counter_ns() - entered

    def clock(self) -> int:
        """Nanoseconds, without those that watchers have taken."""
        return time.perf_counter_ns() - self.told

    def leave_dead_calls(self) -> None:
        """End the calls that an error raised by a watcher has left: Python did not report their ends."""
        alive = set()
        frame: types.FrameType | None = sys._getframe()
        while frame is not None:
            alive.add(frame)
            frame = frame.f_back
        while self.top is not None and self.top.frame not in alive:
            self._end(None, self.clock())

    def _return(self, frame: types.FrameType, value: Any, now: int) -> bool:
        """A function returns. Returns whether watchers were told."""
        code, top = frame.f_code, self.top
        is_told = False
        if code in _RECORDS and type(value) is Tensor and value.node is not None:
            site = top.site if top is not None and not top.is_backward else self._site(frame, "")
            if site is not None:
                site.op = site.op or value.node.op
                _sites[value.node] = site
                is_told = True
        if top is not None and top.frame is frame:
            self._end(value, now)
            top, is_told = self.top, True
        if top is not None and code in top.vjp_codes and frame.f_back is top.frame and value is not None:
            for watcher in top.watchers:
                watcher.cotangents(top, value)
            is_told = True
        return is_told

    def _begin(self, name: str, frame: types.FrameType, now: int) -> None:
        top, code = self.top, frame.f_code
        if code in _RECORDS:
            # Recorded outside the library's ops: an op of the program's own.
            if (top is not None and not top.is_backward) or frame.f_back is None or is_ours(frame.f_back):
                return
            name = frame.f_back.f_code.co_name
        call = Call(name, frame, top)
        arguments = frame.f_locals
        if code is _STEP:
            node: Node = arguments["node"]
            call.name, call.node, call.site = node.op, node, site_of(node)
            call.arguments = {"g": arguments["g"]}
            call.vjp_codes = _codes_of(node)
        elif code is _SUM and frame.f_back is not None:
            reached = frame.f_back.f_locals["parent" if frame.f_back.f_code is _STEP else "node"]
            call.name, call.node, call.site, call.is_sum = reached.op, reached, site_of(reached), True
            call.arguments = {"x": arguments["x"], "y": arguments["y"]}
        else:
            if code is tape.record.__code__:
                call.arguments = {str(i): x for i, (x, _) in enumerate(arguments["edges"])}
            elif code is tape.record_joint.__code__:
                call.arguments = {str(i): x for i, x in enumerate(arguments["inputs"])}
            else:
                count, end = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
                names = code.co_varnames
                call.arguments = {key: arguments[key] for key in names[:count]}
                if code.co_flags & inspect.CO_VARARGS:
                    call.arguments[names[end]] = arguments[names[end]]
                call.options = {key: arguments[key] for key in names[count:end]}
            call.site = top.site if top is not None and not top.is_backward else self._site(frame, name)
        self.top = call
        call.watchers = self.watchers
        call.began = now
        for watcher in call.watchers:
            watcher.begin(call)

    def _end(self, result: Any, now: int) -> None:
        call = self.top
        assert call is not None
        self.top = call.caller
        call.ended = now
        for watcher in call.watchers:
            watcher.end(call, result)

    def _site(self, frame: types.FrameType, name: str) -> Site | None:
        """The line of the program that led to this frame of an op; inside a vjp, where its node was recorded."""
        step = self.top  # a step or None: a call of an op already knows its site
        current: types.FrameType | None = frame
        while current is not None:
            if step is not None and current.f_back is step.frame and current.f_code in step.vjp_codes:
                return step.site  # also if the vjp is the program's own
            if not is_ours(current):
                break
            current = current.f_back
        if current is not None and frame.f_code in _RECORDS and current is frame.f_back:
            current = current.f_back or current  # in an op of the program's own: take the line that called it
        return Site(name, "unknown", 0) if current is None else Site(name, current.f_code.co_filename, current.f_lineno)


_STEP, _SUM = backward._step_back.__code__, backward._sum.__code__
_RECORDS = (tape.record.__code__, tape.record_joint.__code__)


@functools.cache
def op_codes() -> dict[types.CodeType, str]:
    """The names of the public ops by their code; "" for the other functions that begin a call."""
    codes: dict[types.CodeType, str] = {getattr(ops, name).__code__: name for name in ops.__all__}
    return codes | dict.fromkeys((_STEP, _SUM, *_RECORDS), "")


def _codes_of(node: Node) -> set[types.CodeType]:
    vjps = (node.vjps.vjp,) if type(node.vjps) is Joint else node.vjps
    return {code for code in map(_code_of, vjps) if code is not None}


def _code_of(f: Callable[..., Any]) -> types.CodeType | None:
    while isinstance(f, functools.partial):
        f = f.func
    return getattr(f, "__code__", None)


def is_ours(frame: types.FrameType) -> bool:
    """Whether the frame is the library's, or one that NumPy or the standard library puts between it and a program."""
    return frame.f_globals.get("__name__", "").partition(".")[0] in ("tensorgrad", "numpy", "contextlib", "functools")
