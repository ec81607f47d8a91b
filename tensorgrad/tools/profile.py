"""Where the time goes: for each op its calls, time forward and backward, bytes and operations; and a trace."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tensorgrad.array import is_array
from tensorgrad.cotangent import Scatter
from tensorgrad.residuals import owners, residuals
from tensorgrad.tape import data
from tensorgrad.tools.text import bytes_text, count_text, table
from tensorgrad.tools.watch import Call, Site, Watcher, arrays_in, watching
from tensorgrad.tools.work import Work, work_of

__all__ = ["OpTime", "Profile", "profile"]


@dataclass(slots=True)
class OpTime:
    """The cost of one op. Times are in nanoseconds, of this thread."""

    calls: int = 0  # by the program and by other ops
    forward_ns: int = 0  # in the program's calls, with everything that they called
    backward_ns: int = 0  # in steps back through the nodes that those recorded, and in calls by a backward
    self_ns: int = 0  # in the op itself, wherever it was called, without the ops that it called
    moved_bytes: int = 0  # read and written on its behalf: operands and results; views are free
    forward_flops: int = 0
    backward_flops: int = 0

    @property
    def flops(self) -> int:
        return self.forward_flops + self.backward_flops


@dataclass(slots=True)
class _Note:
    """Notes on a call until its end."""

    is_in_backward: bool
    inside_ns: int = 0  # in other calls
    elsewhere_ns: int = 0  # thereof in calls that the program made, as under recompute
    moved_bytes: int = 0
    has_calls: bool = False
    sent: list[Any] = field(default_factory=list)  # the results of a step's vjps


class Profile(Watcher):
    """The times of the ops that ran within `profile()`."""

    def __init__(self) -> None:
        self._rows: dict[str, OpTime] = {}
        self._known: dict[Hashable, Work] = {}
        self._work: dict[Site, Work] = {}  # of the program's calls, until a backward has run through them
        self._events: list[dict[str, Any]] = []
        self.total_ns = 0  # of everything, also outside ops

    def by_op(self) -> dict[str, OpTime]:
        """The cost of each op, the longest first."""
        return dict(sorted(self._rows.items(), key=lambda item: -(item[1].forward_ns + item[1].backward_ns)))

    def __str__(self) -> str:
        """A row per op: calls, milliseconds forward, backward and by itself, bytes, operations."""
        rows = [
            (
                name,
                str(one.calls),
                *(f"{t / 1e6:.3f}" for t in (one.forward_ns, one.backward_ns, one.self_ns)),
                bytes_text(one.moved_bytes),
                count_text(one.flops),
            )
            for name, one in self.by_op().items()
        ]
        in_ops = sum(one.self_ns for one in self._rows.values())
        rows.append(("no op", "", "", "", f"{max(self.total_ns - in_ops, 0) / 1e6:.3f}", "", ""))
        rows.append(("all", "", "", "", f"{self.total_ns / 1e6:.3f}", "", ""))
        return table(("op", "calls", "forward ms", "backward ms", "self ms", "moved", "FLOPs"), rows)

    def chrome_trace(self, path: str | Path) -> None:
        """Write each call and step with its shapes to a JSON file, which chrome://tracing and ui.perfetto.dev open."""
        Path(path).write_text(json.dumps({"traceEvents": self._events, "displayTimeUnit": "ns"}))

    # --- as it runs ----------------------------------------------------------------------------

    def begin(self, call: Call) -> None:
        outer = None if call.caller is None else call.caller.notes.get(self)
        call.notes[self] = _Note((outer is not None and outer.is_in_backward) or call.is_backward)
        if outer is not None:
            outer.has_calls = True

    def cotangents(self, call: Call, result: Any) -> None:
        call.notes[self].sent += result if isinstance(result, (list, tuple)) else [result]

    def end(self, call: Call, result: Any) -> None:
        note: _Note = call.notes[self]
        took = call.ended - call.began
        outer = None if call.caller is None else call.caller.notes.get(self)
        is_part = outer is not None and call.caller is not None and call.site is call.caller.site
        own = self._row(call.name)
        own.self_ns += took - note.inside_ns
        own.calls += not call.is_backward
        if not note.has_calls:
            note.moved_bytes = _moved(call, note.sent if call.is_backward and not call.is_sum else result)
        if outer is not None:
            outer.inside_ns += took
            outer.elsewhere_ns += note.elsewhere_ns if is_part else took
            outer.moved_bytes += note.moved_bytes if is_part else 0
        if not is_part:
            self._count(call, note, took - note.elsewhere_ns)
        self._trace(call, took)

    def _count(self, call: Call, note: _Note, took: int) -> None:
        """Enter a call by the program, or a step."""
        row = self._row(call.site.op if call.site is not None else call.name)
        row.moved_bytes += note.moved_bytes
        if note.is_in_backward:
            row.backward_ns += took
        else:
            row.forward_ns += took
        if not call.is_backward:
            work = work_of(call, self._known)
            if note.is_in_backward:
                row.backward_flops += work.forward_flops
            else:
                row.forward_flops += work.forward_flops
            if call.site is not None and work.backward_flops:
                self._work[call.site] = work
        elif call.site is not None and call.site in self._work and not call.is_sum:
            row.backward_flops += self._work.pop(call.site).backward_flops

    def _row(self, name: str) -> OpTime:
        return self._rows.setdefault(name, OpTime())

    def _trace(self, call: Call, took: int) -> None:
        shapes = {name: _described(value) for name, value in call.arguments.items()}
        source = {} if call.site is None else {"called at": str(call.site)}
        self._events.append(
            {
                "name": f"gradients of {call.name}" if call.is_sum else call.name,
                "cat": "backward" if call.is_backward else "forward",
                "ph": "X",
                "ts": call.began / 1e3,
                "dur": took / 1e3,
                "pid": os.getpid(),
                "tid": threading.get_native_id(),
                "args": {key: text for key, text in shapes.items() if text} | source,
            }
        )


@contextmanager
def profile() -> Iterator[Profile]:
    """Within it every call of an op, and every step of a backward, is timed.

        with tensorgrad.profile() as times:
            model.loss(ids, targets).backward()
        print(times)                            # a table by op
        times.chrome_trace("trace.json")        # for ui.perfetto.dev

    Times are this thread's wall time, without the time for measuring; on a GPU they tell when work was
    queued, not when it was done. A step back counts for the op that the program called when the node was
    recorded. FLOPs are counted by `tools.flops`: each call is repeated once on shapes alone.
    """
    times = Profile()
    with watching(times) as clock:
        began = clock()
        try:
            yield times
        finally:
            times.total_ns += clock() - began


def _moved(call: Call, results: Any) -> int:
    """The bytes of a call's operands and results; 0 if each result is an operand, or a view of one."""
    given = [x.values if type(x) is Scatter else x for x in (*call.arguments.values(), *call.options.values())]
    before = [a for _, a in arrays_in(given) if is_array(a)]
    if call.node is not None and not call.is_sum:
        before += residuals(call.node)
    results = [x.values if type(x) is Scatter else x for x in (results if isinstance(results, list) else [results])]
    after = [a for _, a in arrays_in(results) if is_array(a)]
    known = {id(owner) for owner in owners(before)}
    made = [a for a in after if id(owners([a])[0]) not in known]
    return sum(a.nbytes for a in (*before, *made)) if made else 0


def _described(value: Any) -> str:
    """Dtypes and shapes, for the trace."""
    return ", ".join(f"{a.dtype} {a.shape}" for _, a in arrays_in([data(value)]) if is_array(a))
