"""Threads for the kernels and the matrix products: a pool that both share.

NumPy computes on one thread, except that its BLAS has threads of its own for matrix products, and
those keep their cores busy waiting for a while after each product. Two pools in turns are so slower
than either. Within `threads()` the BLAS keeps to one thread, and products and kernels alike are cut
into parts that one pool works off (NumPy releases the interpreter's lock inside an operation).

How work is cut depends on shapes alone, and partial sums are added in a fixed order, so results do
not depend on the number of threads.

What nobody waits for, such as a weight's gradient, is left to threads that would otherwise idle while
the caller is between two kernels: `run_later`. What it writes is there after `finish`.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, TypeVar

from tensorgrad.arguments import as_size
from tensorgrad.array import Array, address_of
from tensorgrad.errors import ArgumentError

__all__ = ["finish", "is_threaded", "run_all", "run_later", "threads"]

Result = TypeVar("Result")

_MAX_LATER = 4  # jobs that nobody waits for: each keeps what its tasks read


class _Job:
    """Tasks that threads take one after the other, whoever is free the next."""

    def __init__(self, tasks: Sequence[Callable[[], Any]]) -> None:
        self.results: list[Any] = [None] * len(tasks)
        self.errors: dict[int, Exception] = {}
        self.done: SimpleQueue[int] = SimpleQueue()  # what others than the caller have finished
        self.tasks = tasks
        self._next = itertools.count().__next__

    def work(self) -> Iterator[int]:
        """Do tasks until none is left; yields the number of each that is done."""
        while (number := self._next()) < len(self.tasks):
            try:
                self.results[number] = self.tasks[number]()
            except Exception as error:  # the caller's to raise, whichever thread met it
                self.errors[number] = error
            yield number


class _Later:
    """Tasks that write to `out`, a contiguous array, and that nobody waits for yet."""

    def __init__(self, tasks: Sequence[Callable[[], Any]], out: Array) -> None:
        self.memory = _memory(out)
        self.context = contextvars.copy_context()
        self.count = len(tasks)
        self.done: SimpleQueue[Exception | None] = SimpleQueue()

    def do(self, task: Callable[[], Any]) -> None:
        error = None
        try:
            self.context.copy().run(_alone, task)
        except Exception as raised:  # for whoever waits
            error = raised
        self.done.put(error)


class _Pool:
    """`count` threads, of which the one that asks for work to be done is one."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._jobs: deque[tuple[contextvars.Context, _Job]] = deque()  # one for each thread that may help
        self._tasks: deque[tuple[_Later, Callable[[], Any]]] = deque()  # for who has no job to help with
        self._calls: SimpleQueue[bool] = SimpleQueue()  # to look into both, once for each entry; False: to end
        self._later: list[_Later] = []  # in order, those that may not be done
        names = [f"tensorgrad-{number}" for number in range(1, count)]
        self._threads = [threading.Thread(target=self._help, name=name, daemon=True) for name in names]
        for thread in self._threads:
            thread.start()

    def run(self, tasks: Sequence[Callable[[], Result]]) -> list[Result]:
        job = _Job(tasks)
        for _ in range(min(self.count, len(tasks)) - 1):
            self._jobs.append((contextvars.copy_context(), job))  # numpy.errstate lives there
            self._calls.put(True)
        token = _pool.set(None)  # a task that waited for tasks of its own could wait for ever
        try:
            own = sum(1 for _ in job.work())
        finally:
            _pool.reset(token)
        # Who has not begun by now finds nothing left, and is not waited for.
        for _ in range(len(tasks) - own):
            while job.done.empty() and self._do_task():
                pass
            job.done.get()
        job.tasks = ()  # nor does it keep their arrays
        if job.errors:
            raise job.errors[min(job.errors)]
        return job.results

    def run_later(self, tasks: Sequence[Callable[[], Any]], out: Array) -> None:
        later = _Later(tasks, out)
        self.finish(out)
        while len(self._later) >= _MAX_LATER:
            self._end(self._later[0])
        self._later.append(later)
        for task in tasks:
            self._tasks.append((later, task))
            self._calls.put(True)

    def finish(self, out: Array | None) -> None:
        memory = _memory(out) if out is not None and self._later else None
        for later in list(self._later):
            if memory is None or (later.memory.start < memory.stop and memory.start < later.memory.stop):
                self._end(later)

    def _end(self, later: _Later) -> None:
        """Return once its tasks are done: those that nobody has begun, by the caller."""
        self._later.remove(later)
        while any(owner is later for owner, _ in tuple(self._tasks)):
            self._do_task()
        errors = [error for _ in range(later.count) if (error := later.done.get())]
        if errors:
            raise errors[0]

    def _do_task(self) -> bool:
        """Do one of those for whom no job waits; whether there was one."""
        if not (entry := _first(self._tasks)):
            return False
        owner, task = entry
        owner.do(task)
        return True

    def close(self) -> None:
        for _ in self._threads:
            self._calls.put(False)
        for thread in self._threads:
            thread.join()

    def _help(self) -> None:
        while self._calls.get():
            # Whoever was faster may have left nothing.
            if entry := _first(self._jobs):
                context, job = entry
                context.run(_help_with, job)
                entry = context = job = None  # nothing is kept alive while waiting
            else:
                self._do_task()


def _first(entries: deque[Any]) -> Any:
    """The first entry, taken out; None if there is none."""
    try:
        return entries.popleft()
    except IndexError:
        return None


def _memory(a: Array) -> range:
    """The addresses that a contiguous array takes."""
    start = address_of(a)
    return range(start, start + a.nbytes)


def _alone(task: Callable[[], Any]) -> None:
    _pool.set(None)
    task()


def _help_with(job: _Job) -> None:
    _pool.set(None)
    for number in job.work():
        job.done.put(number)


# Of the context, not of the process: what runs in another thread, a part of a kernel included, has none.
_pool: contextvars.ContextVar[_Pool | None] = contextvars.ContextVar("_pool", default=None)


@contextmanager
def threads(count: int | None = None) -> Iterator[None]:
    """Within it kernels and matrix products share `count` threads (None: one per core), and BLAS has one.

    NumPy's own BLAS is limited for the whole process meanwhile, and has its threads back afterwards.
    """
    from threadpoolctl import threadpool_limits

    count = available_cores() if count is None else as_size("threads", "count", count)
    if count < 1:
        raise ArgumentError(f"threads: expected 1 or more, got {count}: leave it out for one per core")
    with threadpool_limits(1, user_api="blas"), contextlib.closing(_Pool(count)) as pool:
        token = _pool.set(pool)
        try:
            yield
            pool.finish(None)
        finally:
            _pool.reset(token)


def is_threaded() -> bool:
    """Whether `run_all` has threads to use here."""
    return _pool.get() is not None


def run_all(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """The results of all tasks, in order; on the threads of `threads()`, one after the other outside it."""
    pool = _pool.get()
    if pool is None or pool.count == 1 or len(tasks) < 2:
        return [task() for task in tasks]
    return pool.run(tasks)


def run_later(tasks: Sequence[Callable[[], Any]], out: Array) -> None:
    """Have tasks done that write to `out`, a contiguous array: by the time `finish` returns, or at once.

    What they read must not change until then. Jobs that write to the same memory are done one after the other.
    """
    pool = _pool.get()
    if pool is not None and pool.count > 1:
        pool.run_later(tasks, out)
    else:
        for task in tasks:
            task()


def finish(out: Array | None = None) -> None:
    """Wait for what `run_later` left to be done, where it writes to `out` (None: anywhere). Raises its errors."""
    pool = _pool.get()
    if pool is not None:
        pool.finish(out)


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
