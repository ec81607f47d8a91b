"""Threads for the kernels and the matrix products: one pool that both share.

NumPy computes on one thread, except that its BLAS has threads of its own for matrix products, which keep their cores
busy for a while after each product. Two pools in turns are therefore slower than either. Within `threads()` the BLAS
keeps to one thread, and products and kernels alike are cut into parts for one pool (NumPy releases the interpreter's
lock inside an operation).

How work is cut depends on shapes alone, and partial sums are added in a fixed order, so results do not depend on the
number of threads.

`run_later` leaves work whose result is not needed yet, such as a weight's gradient, to threads that would otherwise
idle while the caller is between two kernels. Its result is there after `finish`.
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

_MAX_LATER = 4  # jobs left for later: each keeps the arrays that its tasks read


class _Job:
    """Tasks of one call of `run_all`: each free thread takes the next one."""

    def __init__(self, tasks: Sequence[Callable[[], Any]]) -> None:
        self.results: list[Any] = [None] * len(tasks)
        self.errors: dict[int, Exception] = {}
        self.done: SimpleQueue[int] = SimpleQueue()  # numbers of the tasks that other threads have finished
        self.tasks = tasks
        self._next = itertools.count().__next__

    def work(self) -> Iterator[int]:
        """Do tasks until none is left; yield the number of each finished one."""
        while (number := self._next()) < len(self.tasks):
            try:
                self.results[number] = self.tasks[number]()
            except Exception as error:  # for the caller to raise, in whichever thread it happened
                self.errors[number] = error
            yield number


class _Later:
    """Tasks of one call of `run_later`, which write to `out`, a contiguous array."""

    def __init__(self, tasks: Sequence[Callable[[], Any]], out: Array) -> None:
        self.memory = _memory(out)
        self.context = contextvars.copy_context()
        self.count = len(tasks)
        self.done: SimpleQueue[Exception | None] = SimpleQueue()

    def do(self, task: Callable[[], Any]) -> None:
        error = None
        try:
            self.context.copy().run(_alone, task)
        except Exception as raised:  # for `finish` to raise
            error = raised
        self.done.put(error)


class _Pool:
    """`count` threads, including the calling one."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._jobs: deque[tuple[contextvars.Context, _Job]] = deque()  # one for each thread that may help
        self._tasks: deque[tuple[_Later, Callable[[], Any]]] = deque()  # for threads without a job to help with
        self._calls: SimpleQueue[bool] = SimpleQueue()  # True: look into both, once for each entry; False: end
        self._later: list[_Later] = []  # in order, the ones that may be unfinished
        names = [f"tensorgrad-{number}" for number in range(1, count)]
        self._threads = [threading.Thread(target=self._help, name=name, daemon=True) for name in names]
        for thread in self._threads:
            thread.start()

    def run(self, tasks: Sequence[Callable[[], Result]]) -> list[Result]:
        job = _Job(tasks)
        for _ in range(min(self.count, len(tasks)) - 1):
            self._jobs.append((contextvars.copy_context(), job))  # numpy.errstate lives there
            self._calls.put(True)
        token = _pool.set(None)  # a task that waited for tasks of its own could wait forever
        try:
            own = sum(1 for _ in job.work())
        finally:
            _pool.reset(token)
        # A thread that has not begun by now finds no task left; only tasks under way are waited for.
        for _ in range(len(tasks) - own):
            while job.done.empty() and self._do_task():
                pass
            job.done.get()
        job.tasks = ()  # an entry still in the deque keeps no arrays alive
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
        """Return once its tasks are done; the caller does the ones that no thread has begun."""
        self._later.remove(later)
        while any(owner is later for owner, _ in tuple(self._tasks)):
            self._do_task()
        errors = [error for _ in range(later.count) if (error := later.done.get())]
        if errors:
            raise errors[0]

    def _do_task(self) -> bool:
        """Do one task left for later; whether there was one."""
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
            # Faster threads may have left nothing.
            if entry := _first(self._jobs):
                context, job = entry
                context.run(_help_with, job)
                entry = context = job = None  # nothing is kept alive while waiting
            else:
                self._do_task()


def _first(entries: deque[Any]) -> Any:
    """Take out the first entry; None if there is none."""
    try:
        return entries.popleft()
    except IndexError:
        return None


def _memory(a: Array) -> range:
    """The addresses of a contiguous array's bytes."""
    start = address_of(a)
    return range(start, start + a.nbytes)


def _alone(task: Callable[[], Any]) -> None:
    _pool.set(None)
    task()


def _help_with(job: _Job) -> None:
    _pool.set(None)
    for number in job.work():
        job.done.put(number)


# The pool belongs to the context, not to the process: other threads, also those of the pool, see none.
_pool: contextvars.ContextVar[_Pool | None] = contextvars.ContextVar("_pool", default=None)


@contextmanager
def threads(count: int | None = None) -> Iterator[None]:
    """Within it kernels and matrix products share `count` threads (None: one per core), and BLAS uses one.

    The limit on NumPy's BLAS holds for the whole process; afterwards it has its threads back.
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
    """Do tasks that write to `out`, a contiguous array, by the time `finish` returns; at once without other threads.

    The arrays that they read must not change until then. Jobs that write to the same memory run one after the other.
    """
    pool = _pool.get()
    if pool is not None and pool.count > 1:
        pool.run_later(tasks, out)
    else:
        for task in tasks:
            task()


def finish(out: Array | None = None) -> None:
    """Wait for the tasks of `run_later` that write to `out` (None: for all). Raises their errors."""
    pool = _pool.get()
    if pool is not None:
        pool.finish(out)


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
