"""Capture of a stream as a graph: a thread's work is recorded, undone when capture ends, and done by each launch.

A recorded piece of work computes again from the memory that it read into the memory that it wrote. A graph that depends
on anything else, above all a number of the host, repeats the old value. No other array uses the memory of a graph's
own arrays.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Graph", "begin", "end", "note", "saved"]


class Graph:
    """`cupy.cuda.Graph`."""

    def __init__(self) -> None:
        self.works: list[Callable[[], None]] = []
        self.before: dict[int, tuple[Any, Any]] = {}  # memory that was written to, and its contents before

    def launch(self, stream: Any = None) -> None:
        with np.errstate(all="ignore"):
            for work in self.works:
                work()


class _Thread(threading.local):
    graph: Graph | None = None


_thread = _Thread()


def begin() -> None:
    _thread.graph = Graph()


def end() -> Graph:
    graph, _thread.graph = _thread.graph, None
    assert graph is not None
    for memory, content in graph.before.values():
        memory[...] = content
    graph.before.clear()
    return graph


def note(work: Callable[[], None]) -> None:
    """Record `work`, which repeats what has just been done."""
    if _thread.graph is not None:
        _thread.graph.works.append(work)


def saved(*hosts: Any) -> None:
    """Note that these NumPy arrays are about to be written to."""
    graph = _thread.graph
    for host in hosts if graph is not None else ():
        while isinstance(host.base, np.ndarray):
            host = host.base
        if graph is not None and id(host) not in graph.before:
            graph.before[id(host)] = (host, host.copy())
