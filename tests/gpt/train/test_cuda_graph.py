"""The recorded step: when it is recorded, in which memory, and the inputs of each launch.

A stand-in for CUDA's capture: a graph here runs the recorded function again on the arrays it was recorded with, which
is what a graph's kernels do. That the captured step equals the eager one on a GPU is tested on a GPU (test_gpu.py).
"""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gpt.errors import UserError
from gpt.train import cuda_graph


class Capture:
    """CuPy, as far as recording goes."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.allocators: list[Any] = []
        self.recorded: Any = None  # what the graph does: set by the function under test
        self.fails_at_end = False
        pool = SimpleNamespace(malloc="the pool's own")
        self.cuda = SimpleNamespace(
            MemoryPool=lambda: pool, get_current_stream=lambda: self, using_allocator=self.using_allocator
        )

    @contextmanager
    def using_allocator(self, allocator: Any) -> Any:
        self.allocators.append(allocator)
        try:
            yield
        finally:
            self.allocators.pop()

    def get_default_memory_pool(self) -> Any:
        return SimpleNamespace(free_all_blocks=lambda: self.events.append("free"))

    def synchronize(self) -> None:
        self.events.append("synchronize")

    def begin_capture(self) -> None:
        self.events.append("begin")

    def end_capture(self) -> Any:
        self.events.append("end")
        if self.fails_at_end:
            raise RuntimeError("cudaErrorStreamCaptureInvalidated")
        return SimpleNamespace(launch=lambda: self.recorded())


@pytest.fixture
def capture(monkeypatch) -> Capture:
    found = Capture()
    monkeypatch.setattr(cuda_graph, "cuda_module", lambda: found)
    return found


def test_a_graph_gives_what_the_function_gives(capture):
    result, runs = np.zeros(2), []

    def run(arrays):
        runs.append(capture.allocators[-1] if capture.allocators else "the default")
        fixed = dict(arrays)

        def work() -> None:
            result[:] = fixed["x"] * 2 + fixed["y"]

        if capture.events and capture.events[-1] == "begin":
            capture.recorded = work  # recorded, not run
        else:
            work()
        return result

    step = cuda_graph.GraphStep(run)
    for number in range(6):
        x, y = np.full(2, float(number)), np.array([1.0, 10.0 * number])
        given = (x.copy(), y.copy())
        np.testing.assert_array_equal(step({"x": x, "y": y}), 2 * x + y)
        np.testing.assert_array_equal((x, y), given)
    assert runs == ["the default", "the default", "the pool's own"]  # eager twice, then recorded once
    assert capture.events == ["synchronize", "free", "begin", "end"]


def test_what_cannot_be_recorded_ends_the_capture_and_says_so(capture):
    def run(arrays):
        if capture.events:
            raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
        return arrays["x"]

    step = cuda_graph.GraphStep(run)
    for _ in range(2):
        step({"x": np.zeros(1)})
    with pytest.raises(
        UserError, match=r"cuda_graph: expected .*cuBLAS API during stream capture.*leave cuda_graph out"
    ):
        step({"x": np.zeros(1)})
    assert capture.events == ["synchronize", "free", "begin", "end"]
    assert not capture.allocators


def test_a_capture_that_the_driver_refuses_is_reported(capture):
    capture.fails_at_end = True
    step = cuda_graph.GraphStep(lambda arrays: arrays["x"])
    for _ in range(2):
        step({"x": np.zeros(1)})
    with pytest.raises(UserError, match="cudaErrorStreamCaptureInvalidated"):
        step({"x": np.zeros(1)})
