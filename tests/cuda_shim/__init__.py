"""Run the CUDA sources on a CPU: g++ compiles them with `shim.h`, and each thread of a block is a fiber.

    with running_with(Shim(seed=1)):
        layer_norm(x, ...)

Only NumPy arrays reach a kernel. Threads and blocks run in an order that the seed decides.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from tensorgrad.kernels.cuda.compile import source_text
from tensorgrad.kernels.cuda.launch import Kernel

__all__ = ["Shim", "ShimError", "is_available", "sanitized"]

MAX_GRID, MAX_BLOCK = (2**31 - 1, 65535, 65535), (1024, 1024, 64)
MAX_SHARED_BYTES = 99 * 1024  # shared memory per block: the smallest limit among the architectures from sm_80 on
SHIM = Path(__file__).with_name("shim.h")
FOLDER = Path(tempfile.gettempdir()) / f"tensorgrad-shim-{os.getuid()}"
OPTIONS = ("-std=c++20", "-O1", "-g", "-fPIC", "-shared", "-w", "-fno-strict-aliasing", "-ffp-contract=off")
_KERNEL = re.compile(r"SHIM_KERNEL\s+void\s+(\w+)\s*\(")
_LAUNCHERS = """
extern "C" int shim_launch_{0}(void** args, const unsigned* grid, const unsigned* block, size_t bytes, unsigned seed) {{
    shim::launch([](void** a) {{ shim::call({0}, a); }}, args, grid, block, bytes, seed);
    return shim::failure.empty();
}}
extern "C" size_t shim_sizes_{0}(unsigned* out) {{ return shim::sizes({0}, out); }}
"""


class ShimError(Exception):
    """A launch that could not have worked on a GPU: arguments, barriers, lanes."""


class Shim:
    """A runner for `launch.running_with`."""

    sanitizes = False  # build with AddressSanitizer: only in a process that `sanitized` started

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.launched: list[Kernel] = []

    def __call__(
        self, kernel: Kernel, grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...], shared: int
    ) -> None:
        _check_limits(kernel.name, grid, block, shared)
        library = _library(kernel, self.sanitizes)
        self.launched.append(kernel)
        held = [_value(kernel, a) for a in arguments]
        sizes = (ctypes.c_uint * 64)()
        count = getattr(library, f"shim_sizes_{kernel.name}")(sizes)
        if [ctypes.sizeof(v) for v in held] != list(sizes[:count]):
            raise ShimError(
                f"{kernel.name}: expected arguments of {list(sizes[:count])} bytes, "
                f"got {[ctypes.sizeof(v) for v in held]}: {[type(a).__name__ for a in arguments]}"
            )
        addresses = (ctypes.c_void_p * len(held))(*(ctypes.addressof(v) for v in held))
        sizes3 = [(ctypes.c_uint * 3)(*(int(n) for n in (*part, 1, 1, 1)[:3])) for part in (grid, block)]
        self.seed += 1
        launch = getattr(library, f"shim_launch_{kernel.name}")
        if not launch(addresses, *sizes3, ctypes.c_size_t(shared), ctypes.c_uint(self.seed)):
            raise ShimError(f"{kernel.name}: {library.shim_error().decode()}")


def is_available() -> bool:
    """Whether g++ is installed."""
    return shutil.which("g++") is not None


def sanitized(program: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program with AddressSanitizer's runtime."""
    runtime = subprocess.run(["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout
    environment = os.environ | {
        "LD_PRELOAD": runtime.strip(),
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        "PYTHONMALLOC": "malloc",
    }
    root = Path(__file__).parent.parent.parent
    command = [sys.executable, "-c", textwrap.dedent(program)]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def _check_limits(name: str, grid: tuple[int, ...], block: tuple[int, ...], shared: int) -> None:
    """Raise ShimError for sizes that no GPU launches: see "Compute Capabilities" in the CUDA programming guide."""
    for what, sizes, largest in (("a grid", grid, MAX_GRID), ("a block", block, MAX_BLOCK)):
        if any(not 0 < size <= limit for size, limit in zip(sizes, largest, strict=False)):
            raise ShimError(f"{name}: expected {what} of 1 to {largest}, got {sizes}")
    if math.prod(block) > MAX_BLOCK[0] or block[0] % 32:
        raise ShimError(f"{name}: expected whole warps, {MAX_BLOCK[0]} threads at most, got a block of {block}")
    if shared > MAX_SHARED_BYTES:
        raise ShimError(f"{name}: expected {MAX_SHARED_BYTES} bytes of shared memory at most, got {shared}")


def _value(kernel: Kernel, argument: Any) -> Any:
    """An argument as a C value."""
    if argument is None:
        return ctypes.c_void_p(0)
    if isinstance(argument, np.generic):
        return (ctypes.c_char * argument.itemsize).from_buffer_copy(argument.tobytes())
    if isinstance(argument, np.ndarray):
        return ctypes.c_void_p(argument.ctypes.data)
    raise ShimError(f"{kernel.name}: expected arrays, NumPy scalars or None, got {type(argument).__name__}")


@functools.cache
def _library(kernel: Kernel, sanitize: bool) -> ctypes.CDLL:
    return _build(kernel.source, tuple(sorted(kernel.defines.items())), sanitize)


@functools.cache
def _build(source: str, defines: tuple[tuple[str, str | int], ...], sanitize: bool) -> ctypes.CDLL:
    """The shared library of a source, taken from the folder of earlier builds if it is there."""
    options = (*OPTIONS, *(("-fsanitize=address",) if sanitize else ()))
    header = _header(options)
    macros = "".join(f"#define {name} {value}\n" for name, value in defines)
    text = f'#include "{header}"\n{macros}{source_text(source)}'
    path = FOLDER / f"{Path(source).stem}-{_key(text, *options)}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            given, made = Path(folder) / "kernel.cpp", Path(folder) / "kernel.so"
            given.write_text(text, encoding="utf-8")
            expanded = _compiler("-E", *options[:1], "-w", "-D__global__=SHIM_KERNEL", "-o", "-", str(given))
            launchers = "".join(_LAUNCHERS.format(name) for name in dict.fromkeys(_KERNEL.findall(expanded)))
            error = 'extern "C" const char* shim_error() { return shim::failure.c_str(); }\n'
            given.write_text(f"{text}{launchers}{error}", encoding="utf-8")
            _compiler(*options, "-D__global__=", "-o", str(made), str(given))
            os.replace(made, path)
    library = ctypes.CDLL(str(path))
    library.shim_error.restype = ctypes.c_char_p
    return library


@functools.cache
def _header(options: tuple[str, ...]) -> Path:
    """The precompiled header of the shim: compiling it takes most of a source's time, so all sources share it."""
    text = SHIM.read_text(encoding="utf-8")
    path = FOLDER / f"shim-{_key(text, *options)}.h"
    compiled = path.with_suffix(".h.gch")
    if not compiled.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            made = Path(folder) / "made.gch"
            path.write_text(text, encoding="utf-8")
            _compiler(*options, "-D__global__=", "-x", "c++-header", "-o", str(made), str(path))
            os.replace(made, compiled)
    return path


def _key(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:24]


def _compiler(*arguments: str) -> str:
    done = subprocess.run(["g++", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ShimError(f"g++: {done.stderr}")
    return done.stdout
