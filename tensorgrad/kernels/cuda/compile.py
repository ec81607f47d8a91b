"""Compile a source in `cu/` to machine code with NVRTC, which CuPy binds, and keep the result in the user's cache.

The key of a cached file covers all that decides it: the text with its includes, the macros, the options, the
architecture and NVRTC's version. A change of any of them compiles again; nothing else does.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorgrad.errors import DeviceError

__all__ = ["SOURCES", "cache_folder", "cubin", "source_text", "write_whole"]

SOURCES = Path(__file__).parent / "cu"
# Subnormal numbers count, and division and root are rounded as on the CPU.
_OPTIONS = ("--std=c++17", "--ftz=false", "--prec-div=true", "--prec-sqrt=true", "--fmad=true")
_INCLUDE = re.compile(r'^#include "([^"]+)"$', re.MULTILINE)


def source_text(source: str) -> str:
    """common.h and a source, each `#include "name"` replaced by that file's text."""

    def included(match: re.Match[str]) -> str:
        return (SOURCES / match[1]).read_text(encoding="utf-8").replace("#pragma once\n", "")

    return "\n".join(
        _INCLUDE.sub(included, (SOURCES / name).read_text(encoding="utf-8")) for name in ("common.h", source)
    )


def cubin(source: str, defines: Mapping[str, str | int], architecture: str) -> Path:
    """The file that holds a source's machine code.

    Args:    architecture: the compute capability without its dot, "90".
    Raises:  DeviceError: NVRTC is missing, or refuses the source; its messages are in the error.
    """
    text = "".join(f"#define {name} {value}\n" for name, value in sorted(defines.items())) + source_text(source)
    nvrtc = _nvrtc()
    version = str(nvrtc.getVersion())
    key = hashlib.sha256("\0".join((text, *_OPTIONS, architecture, version)).encode()).hexdigest()[:32]
    path = cache_folder() / f"{Path(source).stem}-{architecture}-{key}.cubin"
    if not path.exists():
        write_whole(path, _compiled(nvrtc, text, source, architecture))
    return path


def cache_folder() -> Path:
    """Where machine code and tuned algorithms are kept: $XDG_CACHE_HOME/tensorgrad, by default ~/.cache/tensorgrad."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tensorgrad"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under another name, then rename it: a process that ends in between leaves no half-written file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    os.replace(file.name, path)


@functools.cache
def _nvrtc() -> Any:
    """CuPy's binding of NVRTC. Raises DeviceError if it is missing or cannot load the library."""
    try:
        from cupy_backends.cuda.libs import nvrtc

        nvrtc.getVersion()
    except Exception as problem:  # CuPy's own errors cannot be named where CuPy is missing
        raise DeviceError(
            f"cuda: expected NVRTC, from CuPy, to compile kernels, got {type(problem).__name__}: {problem}: "
            "install the extra cuda13 or cuda12"
        ) from None
    return nvrtc


def _compiled(nvrtc: Any, text: str, source: str, architecture: str) -> bytes:
    program = nvrtc.createProgram(text, source, (), ())
    try:
        nvrtc.compileProgram(program, (*_OPTIONS, f"--gpu-architecture=sm_{architecture}"))
        return nvrtc.getCUBIN(program)  # type: ignore[no-any-return]
    except nvrtc.NVRTCError as error:
        messages = nvrtc.getProgramLog(program) or str(error)
        raise DeviceError(
            f"cuda: expected {source} to compile, got errors: report them, with the versions from doctor:\n{messages}"
        ) from None
    finally:
        nvrtc.destroyProgram(program)
