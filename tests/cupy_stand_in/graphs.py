"""Capture of a stream as a graph: what a thread does meanwhile is noted, undone at the end, and done by each launch.

Work on the device is noted as what computes it anew from the memory that it read, into the memory that it wrote; so a
graph that depends on anything else, a number of the host's above all, repeats what that was. The memory of a graph's
own arrays is nobody else's.
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
        self.before: dict[int, tuple[Any, Any]] = {}  # memory that was written to, and what was in it

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
    """`work` does again what has just been done."""
    if _thread.graph is not None:
        _thread.graph.works.append(work)


def saved(*hosts: Any) -> None:
    """These arrays of NumPy's are about to be written to."""
    graph = _thread.graph
    for host in hosts if graph is not None else ():
        while isinstance(host.base, np.ndarray):
            host = host.base
        if graph is not None and id(host) not in graph.before:
            graph.before[id(host)] = (host, host.copy())
