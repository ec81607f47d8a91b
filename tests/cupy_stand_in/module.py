"""The modules `cupy` and `cupyx`, and a context in which imports find them."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from tests.cupy_stand_in import graphs, memory, syncs
from tests.cupy_stand_in.array import Device, call, ndarray
from tests.cupy_stand_in.functions import FUNCTIONS, pinned
from tests.cupy_stand_in.linalg import LINALG, errstate
from tests.cupy_stand_in.surface import SURFACE

__all__ = ["CUPY", "installed"]


class Stream:
    """`cupy.cuda.Stream`: everything is done at once, in the order it is asked for."""

    null: Stream

    def __init__(
        self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: Any = None
    ) -> None:
        self.ptr, self.done, self._is_capturing = 0 if null else next(_numbers), True, False

    def __enter__(self) -> Stream:
        _current.streams.append(self)
        return self

    def __exit__(self, *problem: object) -> None:
        _current.streams.pop()

    def use(self) -> Stream:
        return self

    def synchronize(self) -> None:
        syncs.synchronised("Stream.synchronize")

    def record(self, event: Any = None) -> Event:
        return event or Event()

    def wait_event(self, event: Event) -> None: ...

    def is_capturing(self) -> bool:
        return self._is_capturing

    def begin_capture(self, mode: Any = None) -> None:
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        self._is_capturing = True
        syncs.capturing(True)
        graphs.begin()

    def end_capture(self) -> graphs.Graph:
        self._is_capturing = False
        syncs.capturing(False)
        return graphs.end()


_numbers = itertools.count(1)


class _Current(threading.local):
    """Each thread's stack of current streams."""

    def __init__(self) -> None:
        self.streams = [Stream.null]


_current: _Current


class Event:
    """`cupy.cuda.Event`."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self.ptr, self.done, self.time_s = 0, True, 0.0

    def record(self, stream: Any = None) -> None:
        self.time_s = time.perf_counter()

    def synchronize(self) -> None:
        syncs.synchronised("Event.synchronize")


Stream.null = Stream(null=True)
_current = _Current()


class CUDARuntimeError(RuntimeError): ...


def _properties(device: int) -> dict[str, Any]:
    return {
        "name": b"stand-in for a GPU",
        "totalGlobalMem": memory.TOTAL,
        "multiProcessorCount": 132,
        **{"major": 9, "minor": 0, "sharedMemPerBlockOptin": 232448},
    }


def _module(name: str, **content: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(content)
    return module


_runtime = _module(
    "cupy.cuda.runtime",
    CUDARuntimeError=CUDARuntimeError,
    getDevice=lambda: 0,
    getDeviceCount=lambda: 1,
    getDeviceProperties=_properties,
    driverGetVersion=lambda: 13000,
    runtimeGetVersion=lambda: 13000,
    memGetInfo=lambda: (memory.free_on_device(), memory.TOTAL),
    deviceSynchronize=lambda: syncs.synchronised("deviceSynchronize"),
    is_hip=False,
)
_cuda = _module(
    "cupy.cuda",
    Device=Device,
    Stream=Stream,
    Event=Event,
    MemoryPool=memory.MemoryPool,
    MemoryPointer=memory.MemoryPointer,
    alloc=lambda size: memory.get_allocator()(size),
    get_allocator=memory.get_allocator,
    set_allocator=memory.set_allocator,
    using_allocator=memory.using_allocator,
    alloc_pinned_memory=memory.PinnedMemoryPointer,
    get_current_stream=lambda: _current.streams[-1],
    get_elapsed_time=lambda start, end: (end.time_s - start.time_s) * 1000,
    get_local_runtime_version=lambda: 13000,
    is_available=lambda: True,
    runtime=_runtime,
    memory=_module("cupy.cuda.memory", OutOfMemoryError=memory.OutOfMemoryError, MemoryPointer=memory.MemoryPointer),
)
_special = _module("cupyx.scipy.special")
_scipy = _module("cupyx.scipy", special=_special)
_cupyx = _module("cupyx", errstate=errstate, empty_pinned=pinned, scipy=_scipy)
_linalg = _module("cupy.linalg", **LINALG)

CUPY = _module(
    "cupy",
    __version__=SURFACE["version"],
    ndarray=ndarray,
    cuda=_cuda,
    linalg=_linalg,
    get_default_memory_pool=lambda: memory.pool,
    get_array_module=lambda *xs: CUPY if any(type(x) is ndarray for x in xs) else np,
    **{name: getattr(np, name) for name in ("bool_", "float16", "float32", "float64", "int8", "int16", "int32")},
    **{name: getattr(np, name) for name in ("int64", "uint8", "uint16", "uint32", "uint64", "dtype")},
    **{name: getattr(np, name) for name in ("inf", "nan", "pi", "e", "newaxis")},
    **FUNCTIONS,
)
CUPY.lib = SimpleNamespace(  # type: ignore[attr-defined]
    stride_tricks=SimpleNamespace(
        as_strided=lambda x, shape, strides: call(np.lib.stride_tricks.as_strided, x, shape, strides)
    )
)
CUPY.random = SimpleNamespace()  # type: ignore[attr-defined]  # whose generators cannot be saved: not to be used

_MODULES = {
    module.__name__: module for module in (CUPY, _cuda, _runtime, _cuda.memory, _linalg, _cupyx, _scipy, _special)
}


@contextmanager
def installed() -> Iterator[ModuleType]:
    """A context in which `import cupy` finds the stand-in."""
    before = {name: sys.modules.get(name) for name in _MODULES}
    sys.modules.update(_MODULES)
    syncs.counts.clear()
    syncs.copies.clear()
    try:
        yield CUPY
    finally:
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
