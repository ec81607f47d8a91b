"""Counting while a program runs on shapes: the bytes that are alive, the operations, and the op they belong to."""

from __future__ import annotations

import contextvars
import sys
import types
from dataclasses import dataclass

from tensorgrad import backward
from tensorgrad.tools.text import bytes_text, count_text, table
from tensorgrad.tools.watch import is_ours, op_codes

__all__ = ["Cost", "Meter", "current"]

OTHER, GRADIENTS = "other", "gradients"  # outside ops: the program, and backward itself


@dataclass(slots=True)
class Cost:
    """The cost of one op in all of its calls."""

    forward_flops: int = 0
    backward_flops: int = 0
    allocated_bytes: int = 0  # of all arrays that it made
    live_bytes: int = 0  # of those alive now
    peak_bytes: int = 0  # of those alive when all memory was at its peak

    @property
    def flops(self) -> int:
        return self.forward_flops + self.backward_flops


class Meter:
    """Bytes and floating-point operations of what runs within `abstract()`.

    An array that owns its memory counts until its last reference is gone; views count nothing. So this
    is exactly what NumPy would allocate. `flops` are counted as `tools.flops` says.
    """

    def __init__(self) -> None:
        self.live_bytes = 0
        self.peak_bytes = 0
        self._costs: dict[str, Cost] = {}
        self._is_at_peak = False
        self._is_in_kernel = False

    @property
    def flops(self) -> int:
        return sum(cost.flops for cost in self._costs.values())

    @property
    def forward_flops(self) -> int:
        return sum(cost.forward_flops for cost in self._costs.values())

    @property
    def backward_flops(self) -> int:
        return sum(cost.backward_flops for cost in self._costs.values())

    def by_op(self) -> dict[str, Cost]:
        """The cost of each op, the most expensive first.

        Forward, costs belong to the op that the program called; backward, to the op that recorded the
        node. "gradients" are the sums of backward itself, "other" is the rest of the program.
        """
        self._note_peak()
        return dict(sorted(self._costs.items(), key=lambda item: (-item[1].flops, -item[1].peak_bytes)))

    def reset_peak(self) -> None:
        """Forget the peak so far: `peak_bytes` starts again from what is alive now."""
        self.peak_bytes = self.live_bytes
        self._is_at_peak = True

    def __str__(self) -> str:
        costs = self.by_op()
        rows = [(name, x.forward_flops, x.backward_flops, x.allocated_bytes, x.peak_bytes) for name, x in costs.items()]
        allocated = sum(x.allocated_bytes for x in costs.values())
        rows.append(("all", self.forward_flops, self.backward_flops, allocated, self.peak_bytes))
        texts = [(name, count_text(a), count_text(b), bytes_text(c), bytes_text(d)) for name, a, b, c, d in rows]
        return table(("op", "forward FLOPs", "backward FLOPs", "allocated", "at the peak"), texts)

    # --- for arrays and functions --------------------------------------------------------------

    def allocated(self, count: int) -> Cost:
        """Count a new array of `count` bytes; returns the cost that it belongs to, for `freed`."""
        cost, _ = self._place()
        cost.allocated_bytes += count
        cost.live_bytes += count
        self.live_bytes += count
        if self.live_bytes > self.peak_bytes:
            self.peak_bytes = self.live_bytes
            self._is_at_peak = True
        return cost

    def freed(self, cost: Cost, count: int) -> None:
        """Count the end of an array."""
        self._note_peak()
        cost.live_bytes -= count
        self.live_bytes -= count

    def count(self, flops: int) -> None:
        """Count a function's operations; not inside a kernel, which has counted its own."""
        if not self._is_in_kernel:
            cost, is_backward = self._place()
            if is_backward:
                cost.backward_flops += flops
            else:
                cost.forward_flops += flops

    def kernel(self, flops: int) -> _Kernel:
        """A context to run a kernel in, whose operations are `flops`."""
        self.count(flops)
        return _Kernel(self)

    def _note_peak(self) -> None:
        """Note what is alive at a new peak, just before the first of it is freed."""
        if self._is_at_peak:
            self._is_at_peak = False
            for cost in self._costs.values():
                cost.peak_bytes = cost.live_bytes

    def _place(self) -> tuple[Cost, bool]:
        """The cost of the op that is running, and whether it runs in a backward."""
        name, is_backward = _running_op()
        cost = self._costs.get(name)
        if cost is None:
            cost = self._costs[name] = Cost()
        return cost, is_backward


class _Kernel:
    """Within it only memory is counted."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def __enter__(self) -> None:
        self.was_in_kernel = self.meter._is_in_kernel
        self.meter._is_in_kernel = True

    def __exit__(self, *error: object) -> None:
        self.meter._is_in_kernel = self.was_in_kernel


_STEP = backward._step_back.__code__
_unread = Meter()  # for arrays used outside `abstract()`
current: contextvars.ContextVar[Meter] = contextvars.ContextVar("current", default=_unread)


def _running_op() -> tuple[str, bool]:
    """The outermost op between here and the program, or the node that a backward steps through.

    Read off the stack, which keeps nothing alive for longer: a profile function, to which Python hands
    every frame's variables, would change when memory is freed.
    """
    codes = op_codes()
    name, inner = "", sys._getframe(2)
    frame: types.FrameType | None = inner
    while frame is not None and is_ours(frame):
        if frame.f_globals["__name__"] == backward.__name__:
            # The functions that `_step_back` calls outside its own module are vjps, named "op.<locals>.…".
            if frame.f_code is _STEP and inner.f_globals["__name__"] != backward.__name__:
                return inner.f_code.co_qualname.partition(".")[0].lstrip("_"), True
            return GRADIENTS, True
        name = codes.get(frame.f_code, "") or name
        inner, frame = frame, frame.f_back
    return name or OTHER, False
