"""Matrix products by oneDNN: of float32, and of bfloat16, accumulated and returned in float32.

oneDNN (the extra `onednn`) comes as a C library, called here through ctypes. It compiles a program for each
product's shapes and strides, so it reads operands as they lie in memory; a bias, or a sum with the output's old
contents, costs no pass of its own. With AMX or AVX512-BF16, products of bfloat16 are 2 to 8 times as fast.

Every call computes on the calling thread, so results do not depend on the number of threads.
Source: https://oneapi-src.github.io/oneDNN, programming model and matmul primitive.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import threading
from ctypes import POINTER, byref, c_float, c_int, c_int32, c_int64, c_size_t, c_void_p
from typing import Any

import numpy as np

from tensorgrad.array import Array
from tensorgrad.kernels.bfloat16 import BFLOAT16

__all__ = ["has_fast_bfloat16", "matmul", "problem", "to_bfloat16", "version"]

_PACKAGE = "onednn-cpu-gomp"
# Numbers of the C interface, dnnl_types.h.
_CPU, _IN_ORDER = 1, 1
_DATA_TYPES = {np.dtype(np.float32): 3, BFLOAT16: 2}  # f32, bf16
_SOURCE, _WEIGHTS, _BIAS, _OUTPUT = 1, 33, 41, 17
_AVX512_BF16 = 0xE7  # dnnl_cpu_isa_avx512_core_bf16, whose bits AMX has too
_MAX_PLANS = 1024  # of one thread; at this number it drops them all


class _Argument(ctypes.Structure):
    _fields_ = (("number", c_int), ("memory", c_void_p))


def matmul(a: Array, b: Array, out: Array, bias: Array | None = None, *, accumulate: bool = False) -> None:
    """out = a b (+ bias) (+ out).

    Args:
        a (..., M, K), b (..., K, N), bias (N,) or None, out (..., M, N); a and b both float32 or both
        bfloat16, the others float32. Leading axes are equal, or 1. Any strides, as long as
        rows or columns are contiguous; `out` has contiguous rows.
    """
    key = (a.dtype, a.shape, a.strides, b.shape, b.strides, out.shape, out.strides, bias is not None, accumulate)
    plans = _of_thread().plans
    plan = plans.get(key)
    if plan is None:
        if len(plans) >= _MAX_PLANS:
            plans.clear()
        plan = plans[key] = _Matmul(a, b, out, bias is not None, accumulate)
    plan.run(a, b, out, *(() if bias is None else (bias,)))


def to_bfloat16(a: Array, out: Array | None = None) -> Array:
    """float32 rounded to the nearest bfloat16, ties to even, in the memory order of `a`."""
    out = np.empty_like(a, BFLOAT16) if out is None else out
    plans = _of_thread().plans
    key = ("to_bfloat16", a.shape, a.strides, out.strides)
    plan = plans.get(key)
    if plan is None:
        plan = plans[key] = _Conversion(a, out)
    plan.run(a, out)
    return out


@functools.cache
def problem() -> str:
    """Why oneDNN is not used: not installed, not loadable, or wrong in a product of known result; "" if it is used."""
    try:
        a = np.arange(6 * 5, dtype=np.float32).reshape(6, 5) - 12
        b, bias = a.T.copy(), np.ones(6, np.float32)
        out = np.ones((6, 6), np.float32)
        matmul(a, b, out, bias=bias, accumulate=True)
        if not np.array_equal(out, a @ b + 2):
            return "a float32 product came out wrong"
        matmul(to_bfloat16(a), to_bfloat16(b), out)
        return "" if np.array_equal(out, a @ b) else "a bfloat16 product came out wrong"
    except OSError as error:
        return str(error)


@functools.cache
def has_fast_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 faster than float32: AVX512-BF16 or AMX."""
    return not problem() and _library().dnnl_get_effective_cpu_isa() & _AVX512_BF16 == _AVX512_BF16


def version() -> str:
    """The version of oneDNN, such as "3.2.0"."""
    found = ctypes.cast(_library().dnnl_version(), POINTER(c_int * 3)).contents
    return ".".join(map(str, found))


# --- the C interface ---------------------------------------------------------------------------


@functools.cache
def _library(kind: type[ctypes.CDLL] = ctypes.CDLL) -> Any:
    """The C library with its functions declared; through ctypes.PyDLL, calls keep Python's lock. Raises OSError."""
    library = kind(_path())
    for name, arguments in {
        "dnnl_engine_create": (POINTER(c_void_p), c_int, c_size_t),
        "dnnl_stream_create": (POINTER(c_void_p), c_void_p, c_int),
        "dnnl_stream_wait": (c_void_p,),
        "dnnl_memory_desc_create_with_strides": (
            *(POINTER(c_void_p), c_int, POINTER(c_int64), c_int, POINTER(c_int64)),
        ),
        "dnnl_memory_desc_destroy": (c_void_p,),
        "dnnl_memory_create": (POINTER(c_void_p), c_void_p, c_void_p, c_void_p),
        "dnnl_memory_set_data_handle": (c_void_p, c_void_p),
        "dnnl_memory_destroy": (c_void_p,),
        "dnnl_post_ops_create": (POINTER(c_void_p),),
        "dnnl_post_ops_append_sum": (c_void_p, c_float, c_int32, c_int),
        "dnnl_post_ops_destroy": (c_void_p,),
        "dnnl_primitive_attr_create": (POINTER(c_void_p),),
        "dnnl_primitive_attr_set_post_ops": (c_void_p, c_void_p),
        "dnnl_primitive_attr_destroy": (c_void_p,),
        "dnnl_matmul_primitive_desc_create": (POINTER(c_void_p), *(c_void_p,) * 6),
        "dnnl_reorder_primitive_desc_create": (POINTER(c_void_p), *(c_void_p,) * 5),
        "dnnl_primitive_desc_destroy": (c_void_p,),
        "dnnl_primitive_create": (POINTER(c_void_p), c_void_p),
        "dnnl_primitive_execute": (c_void_p, c_void_p, c_int, POINTER(_Argument)),
        "dnnl_primitive_destroy": (c_void_p,),
        "dnnl_get_effective_cpu_isa": (),
    }.items():
        getattr(library, name).argtypes = arguments
    library.dnnl_version.restype = c_void_p
    return library


def _path() -> str:
    try:
        files = importlib.metadata.files(_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    libraries = [str(file.locate()) for file in files if file.name.startswith("libdnnl.so")]
    if not libraries:
        raise OSError(f"not installed (package {_PACKAGE})")
    return libraries[0]


class _Thread(threading.local):
    """One thread's engine, stream and plans. They are not shared: a plan holds the addresses of the current call."""

    def __init__(self) -> None:
        library = _library()
        # oneDNN computes with OpenMP; this sets the calling thread's number of OpenMP threads to 1.
        ctypes.CDLL("libgomp.so.1").omp_set_num_threads(1)
        self.engine, self.stream = c_void_p(), c_void_p()
        _check(library.dnnl_engine_create(byref(self.engine), _CPU, 0))
        _check(library.dnnl_stream_create(byref(self.stream), self.engine, _IN_ORDER))
        self.plans: dict[Any, _Plan] = {}


@functools.cache
def _of_thread() -> _Thread:
    return _Thread()


class _Plan:
    """A compiled program, with a memory object for each of its arrays."""

    def __init__(self, description: c_void_p, arguments: dict[int, c_void_p]) -> None:
        library, thread = _library(), _of_thread()
        self._library, self._stream, self._primitive = library, thread.stream, c_void_p()
        # These two take less time than getting Python's lock back from another thread would.
        brief = _library(ctypes.PyDLL)
        self._set_address, self._wait = brief.dnnl_memory_set_data_handle, brief.dnnl_stream_wait
        _check(library.dnnl_primitive_create(byref(self._primitive), description))
        library.dnnl_primitive_desc_destroy(description)
        self._arguments = (_Argument * len(arguments))()
        self._memories = []
        for argument, (number, layout) in zip(self._arguments, arguments.items(), strict=True):
            memory = c_void_p()
            _check(library.dnnl_memory_create(byref(memory), layout, thread.engine, None))
            library.dnnl_memory_desc_destroy(layout)
            argument.number, argument.memory = number, memory
            self._memories.append(memory)

    def run(self, *arrays: Array) -> None:
        for memory, array in zip(self._memories, arrays, strict=True):
            self._set_address(memory, array.ctypes.data)
        _check(
            self._library.dnnl_primitive_execute(self._primitive, self._stream, len(self._memories), self._arguments)
        )
        self._wait(self._stream)

    def __del__(self) -> None:
        for memory in getattr(self, "_memories", ()):
            self._library.dnnl_memory_destroy(memory)
        if getattr(self, "_primitive", None):
            self._library.dnnl_primitive_destroy(self._primitive)


class _Matmul(_Plan):
    def __init__(self, a: Array, b: Array, out: Array, has_bias: bool, accumulate: bool) -> None:
        library = _library()
        layouts = {_SOURCE: _layout(a), _WEIGHTS: _layout(b), _OUTPUT: _layout(out)}
        if has_bias:
            columns = out.shape[-1]
            shape = (1,) * (out.ndim - 1) + (columns,)
            layouts[_BIAS] = _described(shape, (columns,) * (out.ndim - 1) + (1,), _DATA_TYPES[out.dtype])
        attributes, post_ops, description = c_void_p(), c_void_p(), c_void_p()
        _check(library.dnnl_primitive_attr_create(byref(attributes)))
        if accumulate:
            _check(library.dnnl_post_ops_create(byref(post_ops)))
            _check(library.dnnl_post_ops_append_sum(post_ops, 1.0, 0, _DATA_TYPES[out.dtype]))
            _check(library.dnnl_primitive_attr_set_post_ops(attributes, post_ops))
            library.dnnl_post_ops_destroy(post_ops)
        _check(
            library.dnnl_matmul_primitive_desc_create(
                byref(description),
                _of_thread().engine,
                layouts[_SOURCE],
                layouts[_WEIGHTS],
                layouts.get(_BIAS),
                layouts[_OUTPUT],
                attributes,
            )
        )
        library.dnnl_primitive_attr_destroy(attributes)
        super().__init__(description, layouts)


class _Conversion(_Plan):
    def __init__(self, a: Array, out: Array) -> None:
        source, target, description = _layout(a), _layout(out), c_void_p()
        engine = _of_thread().engine
        _check(_library().dnnl_reorder_primitive_desc_create(byref(description), source, engine, target, engine, None))
        super().__init__(description, {_SOURCE: source, _OUTPUT: target})


def _layout(a: Array) -> c_void_p:
    return _described(a.shape, tuple(step // a.itemsize for step in a.strides), _DATA_TYPES[a.dtype])


def _described(shape: tuple[int, ...], strides: tuple[int, ...], data_type: int) -> c_void_p:
    layout, ndim = c_void_p(), len(shape)
    sizes, steps = (c_int64 * ndim)(*shape), (c_int64 * ndim)(*strides)
    _check(_library().dnnl_memory_desc_create_with_strides(byref(layout), ndim, sizes, data_type, steps))
    return layout


def _check(status: int) -> None:
    if status:
        raise OSError(f"status {status} of a function of the library")
