"""A training step recorded once as a CUDA graph, then launched as one, without Python between kernels.

A graph repeats the same kernels on the same addresses. So everything that differs between steps is in
device memory: the batch and its dropout keys are copied into fixed buffers, and the learning rate, its
corrections and the loss scale are arrays. The step's own arrays come from a memory pool that nothing
else uses; what the eager steps took of CuPy's default pool is returned to the device first. The kernels
and their order are those of the eager step, so results are equal bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gpt.errors import UserError
from tensorgrad.array import Array, cuda_module

__all__ = ["GraphStep"]

_EAGER_STEPS = 2  # the first compiles kernels and tries algorithms, the second finds everything ready

Arrays = Mapping[str, Array]


class GraphStep:
    """`run(arrays)`, launched as a graph from the third call on. All calls have arrays of the same shapes.

    `run` launches work on the current stream and returns an array, without waiting for the device or
    reading from it. Only the third call waits for the stream, before it records.
    """

    def __init__(self, run: Callable[[Arrays], Array]) -> None:
        self._run = run
        self._num_calls = 0
        self._fixed: dict[str, Array] = {}
        self._graph: Any = None
        self._pool: Any = None
        self._result: Any = None

    def __call__(self, arrays: Arrays) -> Array:
        self._num_calls += 1
        if self._num_calls <= _EAGER_STEPS:
            return self._run(arrays)
        if self._graph is None:
            _free_unused_memory()  # before new arrays take parts of large blocks, which then could not be returned
            self._fixed = {name: value.copy() for name, value in arrays.items()}
            self._record()
        for name, value in arrays.items():
            self._fixed[name][...] = value
        self._graph.launch()
        return self._result  # type: ignore[no-any-return]  # the next launch overwrites it: copy it first

    def _record(self) -> None:
        cupy = cuda_module()
        self._pool = cupy.cuda.MemoryPool()
        stream = cupy.cuda.get_current_stream()
        with cupy.cuda.using_allocator(self._pool.malloc):
            stream.begin_capture()
            problem = None
            try:
                self._result = self._run(self._fixed)
            except Exception as error:  # the capture must end, whatever went wrong in it
                problem = error
            try:
                self._graph = stream.end_capture()
            except Exception as error:
                problem = problem or error
        if problem is not None:
            raise UserError(
                f"cuda_graph: expected a step that a graph can hold, got {type(problem).__name__}: {problem}: "
                "leave cuda_graph out"
            ) from problem


def _free_unused_memory() -> None:
    """Return the default pool's unused blocks to the device, once the stream's work no longer uses them."""
    cupy = cuda_module()
    cupy.cuda.get_current_stream().synchronize()
    cupy.get_default_memory_pool().free_all_blocks()
