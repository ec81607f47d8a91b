"""From a source in `cu/` to machine code: by NVRTC, which CuPy brings, or by nvcc; kept in a folder of the user's.

The key of what is kept is everything that decides it: the text with what it includes, the macros, the
architecture, the compiler and its version. So a change of any is compiled anew, and nothing else is.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tensorgrad.errors import DeviceError

__all__ = ["SOURCES", "cache_folder", "cubin", "source_text"]

SOURCES = Path(__file__).parent / "cu"
# Subnormal numbers count, and division and root are rounded as on the CPU.
_OPTIONS = ("--std=c++17", "--ftz=false", "--prec-div=true", "--prec-sqrt=true", "--fmad=true")
_INCLUDE = re.compile(r'^#include "([^"]+)"$', re.MULTILINE)


def source_text(source: str) -> str:
    """common.h and a source, with the files that it includes by `#include "name"` in the place of these lines."""

    def included(match: re.Match[str]) -> str:
        return (SOURCES / match[1]).read_text(encoding="utf-8").replace("#pragma once\n", "")

    return "\n".join(
        _INCLUDE.sub(included, (SOURCES / name).read_text(encoding="utf-8")) for name in ("common.h", source)
    )


def cubin(source: str, defines: Mapping[str, str | int], architecture: str) -> Path:
    """The file with machine code for a source.

    Args:    architecture: the compute capability without its dot, "90".
    Raises:  DeviceError: no compiler, or one that refuses the source; its messages are in the error.
    """
    text = "".join(f"#define {name} {value}\n" for name, value in sorted(defines.items())) + source_text(source)
    compiler, version = _compiler()
    key = hashlib.sha256("\0".join((text, *_OPTIONS, architecture, compiler, version)).encode()).hexdigest()[:32]
    path = cache_folder() / f"{Path(source).stem}-{architecture}-{key}.cubin"
    if not path.exists():
        code = _by_nvrtc(text, source, architecture) if compiler == "nvrtc" else _by_nvcc(text, source, architecture)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Under another name until it is whole: a process that ends in between leaves nothing half-written.
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(code)
        os.replace(file.name, path)
    return path


def cache_folder() -> Path:
    """Where machine code is kept: $XDG_CACHE_HOME/tensorgrad, by default ~/.cache/tensorgrad."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tensorgrad"


@functools.cache
def _compiler() -> tuple[str, str]:
    """ "nvrtc" or "nvcc", and its version."""
    try:
        from cupy_backends.cuda.libs import nvrtc

        return "nvrtc", str(nvrtc.getVersion())
    except Exception:  # not installed, or without its library: CuPy's own errors cannot be named without it
        path = shutil.which("nvcc")
    if path is None:
        raise DeviceError(
            "cuda: expected NVRTC (with CuPy) or nvcc to compile kernels, got neither: "
            "install the extra cuda13 or cuda12"
        )
    return "nvcc", subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout


def _by_nvrtc(text: str, source: str, architecture: str) -> bytes:
    from cupy_backends.cuda.libs import nvrtc

    program = nvrtc.createProgram(text, source, (), ())
    try:
        nvrtc.compileProgram(program, (*_OPTIONS, f"--gpu-architecture=sm_{architecture}"))
        return nvrtc.getCUBIN(program)  # type: ignore[no-any-return]
    except nvrtc.NVRTCError as error:
        raise _refused(source, nvrtc.getProgramLog(program) or str(error)) from None
    finally:
        nvrtc.destroyProgram(program)


def _by_nvcc(text: str, source: str, architecture: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / Path(source).name, Path(folder) / "out.cubin"
        given.write_text(text, encoding="utf-8")
        command = ["nvcc", "-cubin", f"-arch=sm_{architecture}", *_OPTIONS, "-o", str(made), str(given)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise _refused(source, done.stderr)
        return made.read_bytes()


def _refused(source: str, messages: str) -> DeviceError:
    return DeviceError(
        f"cuda: expected {source} to compile, got errors: report them, with the versions from doctor:\n{messages}"
    )
