"""How the kernels cut their work.

On the CPU, work on rows is cut into blocks of a few thousand elements: what one step of a kernel
leaves in the processor's cache the next one finds there, and several threads share the blocks
(NumPy releases the interpreter's lock inside an array operation). How rows are cut depends on
shapes alone, and partial sums are added in the order of the blocks, so results do not depend on the
number of threads.
"""

from __future__ import annotations

import contextvars
import functools
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from tensorgrad.array import Array, module_of
from tensorgrad.dtype import accumulation_dtype

BLOCK_ELEMENTS = 1 << 16

Result = TypeVar("Result")


def for_blocks(x: Array, work: Callable[[slice], Result]) -> list[Result]:
    """work(rows) for each block of the first axis of x; the results in order."""
    length = x.shape[0]
    if not isinstance(x, np.ndarray):
        return [work(slice(0, length))]
    step = max(1, BLOCK_ELEMENTS // max(1, math.prod(x.shape[1:])))
    blocks = [slice(start, min(start + step, length)) for start in range(0, length, step)]
    threads = min(num_threads(), len(blocks))
    if threads < 2:
        return [work(block) for block in blocks]
    share = -(-len(blocks) // threads)
    futures = [
        # The caller's context: numpy.errstate lives there.
        _pool().submit(contextvars.copy_context().run, _run_all, work, blocks[start : start + share])
        for start in range(0, len(blocks), share)
    ]
    return [result for future in futures for result in future.result()]


def _run_all(work: Callable[[slice], Result], blocks: list[slice]) -> list[Result]:
    return [work(block) for block in blocks]


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads(), thread_name_prefix="tensorgrad")


@functools.cache
def num_threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def add_in_order(parts: list[Array], like: Array) -> Array:
    """The sum of the blocks' partial sums, in order, in `like`'s shape and dtype."""
    total = module_of(like).zeros(like.shape, accumulation_dtype(like.dtype))
    for part in parts:
        total += part
    return total.astype(like.dtype, copy=False)  # type: ignore[no-any-return]


def wide(x: Array) -> Array:
    """x in the dtype that statistics are computed in."""
    return x.astype(accumulation_dtype(x.dtype), copy=False)
