"""Threads for the kernels and the matrix products: a pool that both share.

NumPy computes on one thread, except that its BLAS has threads of its own for matrix products, and
those keep their cores busy waiting for a while after each product. Two pools in turns are so slower
than either. Within `threads()` the BLAS keeps to one thread, and products and kernels alike are cut
into parts that one pool works off (NumPy releases the interpreter's lock inside an operation).

How work is cut depends on shapes alone, and partial sums are added in a fixed order, so results do
not depend on the number of threads.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, TypeVar

from tensorgrad.arguments import as_size
from tensorgrad.errors import ArgumentError

__all__ = ["is_threaded", "run_all", "threads"]

Result = TypeVar("Result")


class _Job:
    """Tasks that threads take one after the other, whoever is free the next."""

    def __init__(self, tasks: Sequence[Callable[[], Any]]) -> None:
        self.results: list[Any] = [None] * len(tasks)
        self.errors: dict[int, Exception] = {}
        self.done: SimpleQueue[int] = SimpleQueue()  # what others than the caller have finished
        self._tasks = tasks
        self._next = itertools.count().__next__

    def work(self) -> Iterator[int]:
        """Do tasks until none is left; yields the number of each that is done."""
        while (number := self._next()) < len(self._tasks):
            try:
                self.results[number] = self._tasks[number]()
            except Exception as error:  # the caller's to raise, whichever thread met it
                self.errors[number] = error
            yield number


class _Pool:
    """`count` threads, of which the one that asks for work to be done is one."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._jobs: SimpleQueue[tuple[contextvars.Context, _Job] | None] = SimpleQueue()
        names = [f"tensorgrad-{number}" for number in range(1, count)]
        self._threads = [threading.Thread(target=self._help, name=name, daemon=True) for name in names]
        for thread in self._threads:
            thread.start()

    def run(self, tasks: Sequence[Callable[[], Result]]) -> list[Result]:
        job = _Job(tasks)
        for _ in range(min(self.count, len(tasks)) - 1):
            self._jobs.put((contextvars.copy_context(), job))  # numpy.errstate lives there
        token = _pool.set(None)  # a task that waited for tasks of its own could wait for ever
        try:
            own = sum(1 for _ in job.work())
        finally:
            _pool.reset(token)
        # Who has not begun by now finds nothing left, and is not waited for.
        for _ in range(len(tasks) - own):
            job.done.get()
        if job.errors:
            raise job.errors[min(job.errors)]
        return job.results

    def close(self) -> None:
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _help(self) -> None:
        while (item := self._jobs.get()) is not None:
            context, job = item
            context.run(_help_with, job)
            item = context = job = None  # type: ignore[assignment]  # nothing is kept alive while waiting


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


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
