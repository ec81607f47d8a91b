"""Threads for the kernels and the matrix products: a pool that both share.

NumPy computes on one thread, except that its BLAS has threads of its own for matrix products, and
those keep their cores busy waiting for a while after each product. Two pools in turns are so slower
than either. Within `threads()` the BLAS keeps to one thread, and products and kernels alike are cut
into parts that one pool works off (NumPy releases the interpreter's lock inside an operation).

How work is cut depends on shapes alone, and partial sums are added in a fixed order, so results do
not depend on the number of threads.
"""

from __future__ import annotations

import contextvars
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from tensorgrad.arguments import as_size
from tensorgrad.errors import ArgumentError

__all__ = ["is_threaded", "run_all", "threads"]

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Pool:
    executor: ThreadPoolExecutor
    count: int


# Of the context, not of the process: what runs in another thread, a part of a kernel included, has none.
_pool: contextvars.ContextVar[_Pool | None] = contextvars.ContextVar("_pool", default=None)


@contextmanager
def threads(count: int | None = None) -> Iterator[None]:
    """Within it kernels and matrix products share `count` threads (None: one per core), and BLAS has one.

    NumPy's own BLAS is limited for the whole process meanwhile, and has its threads back afterwards.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped, unused-ignore]

    count = available_cores() if count is None else as_size("threads", "count", count)
    if count < 1:
        raise ArgumentError(f"threads: expected 1 or more, got {count}: leave it out for one per core")
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(count, thread_name_prefix="tensorgrad") as executor:
        token = _pool.set(_Pool(executor, count))
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
    share = -(-len(tasks) // pool.count)
    futures = []
    for start in range(0, len(tasks), share):
        context = contextvars.copy_context()  # numpy.errstate lives there
        context.run(_pool.set, None)  # a task that waited for tasks of its own could wait for ever
        futures.append(pool.executor.submit(context.run, _run_in_turn, tasks[start : start + share]))
    return [result for future in futures for result in future.result()]


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run_in_turn(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    return [task() for task in tasks]
