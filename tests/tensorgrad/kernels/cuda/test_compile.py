"""Every source becomes machine code for the architectures that matter, with nothing spilled; and it is kept."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
import sysconfig
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import tensorgrad as tg
from tensorgrad.kernels.cuda import compile as compiling
from tensorgrad.kernels.threads import available_cores

needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
BYTES = {"float": 4, "double": 8, "Float16": 2, "Bfloat16": 2}
SCALARS: list[dict[str, str | int]] = [{"SCALAR": name} for name in BYTES]
VECTORS: list[dict[str, str | int]] = [{"SCALAR": name, "VECTOR": 16 // size} for name, size in BYTES.items()]
# Of each source: the macros that it is compiled with.
SOURCES: dict[str, list[dict[str, str | int]]] = {
    "activation.cu": VECTORS,
    "attention_flash.cu": [
        {"SCALAR": name, "HEAD_DIM": width, "MASK": mask, "DROPOUT": dropout}
        for name, width, mask, dropout in (
            ("Float16", 32, 0, 0),
            ("Bfloat16", 64, 0, 0),
            ("Bfloat16", 128, 0, 0),
            ("Bfloat16", 64, 0, 1),
            ("Bfloat16", 128, 1, 0),
            ("Float16", 128, 2, 1),
        )
    ],
    "attention_plain.cu": [
        {"SCALAR": name, "HEAD_DIM": width, "MASK": mask, "DROPOUT": dropout}
        for name, width, mask, dropout in (("float", 64, 0, 0), ("double", 128, 0, 0), ("double", 128, 2, 1))
    ],
    "cast.cu": [
        {"SCALAR": source, "TARGET": target, "ELEMENTS": elements}
        for source, target, elements in (("float", "Bfloat16", 8), ("Float16", "float", 8), ("Bfloat16", "Float16", 1))
    ],
    "dropout.cu": VECTORS,
    "gather.cu": [
        {**macros, "ID": name} for macros, name in zip(VECTORS, ("int64", "int", "short", "uint64"), strict=True)
    ],
    "norm.cu": VECTORS,
    "optimizer.cu": [*VECTORS, {"SCALAR": "float", "COPY": "Bfloat16", "VECTOR": 4}],
    "random.cu": [{}],
    "rope.cu": SCALARS,
    "rows.cu": VECTORS,
    "scatter.cu": SCALARS,
    "softmax.cu": VECTORS,
}
# Most registers of a thread, where it keeps tiles in them; elsewhere few enough for 8 warps per scheduler, as softmax
# has them in one block.
REGISTERS = {"attention_flash.cu": 255, "attention_plain.cu": 210, "softmax.cu": 64}
VARIANTS = [(source, defines) for source, all_defines in SOURCES.items() for defines in all_defines]
ARCHITECTURES = ("80", "90", "100")


def test_no_source_is_left_out() -> None:
    assert {str(path.relative_to(compiling.SOURCES)) for path in compiling.SOURCES.rglob("*.cu")} == set(SOURCES)


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What ptxas says of each variant, for all architectures."""
    folder = tmp_path_factory.mktemp("cu")

    def report(number: int) -> str:
        source, defines = VARIANTS[number]
        text = "".join(f"#define {name} {value}\n" for name, value in defines.items()) + compiling.source_text(source)
        path = folder / f"{number}.cu"
        path.write_text(text)
        code = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in ARCHITECTURES]
        command = ["nvcc", "-fatbin", *code, *compiling._OPTIONS, "-Xptxas", "-v", "-o", f"{path}.fatbin", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stderr if not done.returncode else f"refused: {done.stderr}"

    with ThreadPoolExecutor(available_cores()) as pool:
        return dict(zip(map(str, VARIANTS), pool.map(report, range(len(VARIANTS))), strict=True))


@needs_nvcc
@pytest.mark.untraced
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_nothing_is_spilled(variant: tuple[str, dict[str, str | int]], reports: dict[str, str]) -> None:
    """For sm_80, sm_90 and sm_100; and registers are left for 8 warps on each scheduler, 5 of float64."""
    report = reports[str(variant)]
    assert not report.startswith("refused"), report
    spills = [line for line in report.splitlines() if "spill" in line]
    assert len(spills) >= len(ARCHITECTURES)
    assert all("0 bytes spill stores, 0 bytes spill loads" in line for line in spills), report
    used = [int(line.split("Used ")[1].split()[0]) for line in report.splitlines() if "Used " in line]
    assert max(used) <= REGISTERS.get(variant[0], 96 if variant[1].get("SCALAR") == "double" else 64)


class Nvrtc(types.ModuleType):
    """What is used of `cupy_backends.cuda.libs.nvrtc`, on the library of the package nvidia-cuda-nvrtc."""

    class NVRTCError(RuntimeError): ...

    def __init__(self, library: ctypes.CDLL) -> None:
        super().__init__("cupy_backends.cuda.libs.nvrtc")
        self._library = library
        self.options: list[tuple[str, ...]] = []  # of each program that was compiled
        self.open_programs = 0

    def getVersion(self) -> tuple[int, int]:
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        return major.value, minor.value

    def createProgram(
        self, src: str, name: str, headers: tuple[str, ...], include_names: tuple[str, ...]
    ) -> ctypes.c_void_p:
        assert headers == include_names == ()
        program = ctypes.c_void_p()
        self._library.nvrtcCreateProgram(ctypes.byref(program), src.encode(), name.encode(), 0, None, None)
        self.open_programs += 1
        return program

    def compileProgram(self, prog: ctypes.c_void_p, options: tuple[str, ...]) -> None:
        self.options.append(options)
        given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        if problem := self._library.nvrtcCompileProgram(prog, len(options), given):
            raise self.NVRTCError(str(problem))

    def getProgramLog(self, prog: ctypes.c_void_p) -> str:
        return self._text("ProgramLog", prog).rstrip(b"\0").decode()

    def getCUBIN(self, prog: ctypes.c_void_p) -> bytes:
        return self._text("CUBIN", prog)

    def destroyProgram(self, prog: ctypes.c_void_p) -> None:
        self._library.nvrtcDestroyProgram(ctypes.byref(prog))
        self.open_programs -= 1

    def _text(self, what: str, program: ctypes.c_void_p) -> bytes:
        size = ctypes.c_size_t()
        getattr(self._library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(self._library, f"nvrtcGet{what}")(program, buffer)
        return buffer.raw


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    found = next((p for p in Path(sysconfig.get_path("purelib")).glob("nvidia/*/lib/libnvrtc.so.1*")), None)
    if found is None:
        pytest.skip("needs NVRTC")
    return ctypes.CDLL(str(found))


@pytest.fixture
def nvrtc(library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Nvrtc]:
    """NVRTC where CuPy has it, and a cache of the test's own."""
    found = Nvrtc(library)
    libs = types.ModuleType("cupy_backends.cuda.libs")
    libs.nvrtc = found  # type: ignore[attr-defined]
    for name in ("cupy_backends", "cupy_backends.cuda"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "cupy_backends.cuda.libs", libs)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    compiling._nvrtc.cache_clear()
    yield found
    compiling._nvrtc.cache_clear()
    assert not found.open_programs


@pytest.mark.untraced
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_nvrtc_takes_it_too(variant: tuple[str, dict[str, str | int]], library: ctypes.CDLL) -> None:
    """It is what compiles on a user's machine, and it has none of the host's headers that nvcc includes unasked."""
    source, defines = variant
    text = "".join(f"#define {name} {value}\n" for name, value in defines.items()) + compiling.source_text(source)
    nvrtc = Nvrtc(library)
    program = nvrtc.createProgram(text, source, (), ())
    try:
        nvrtc.compileProgram(program, (*compiling._OPTIONS, "--gpu-architecture=compute_90"))
    except Nvrtc.NVRTCError:
        pytest.fail(nvrtc.getProgramLog(program))
    finally:
        nvrtc.destroyProgram(program)


def test_machine_code_is_kept_by_content(nvrtc: Nvrtc, tmp_path: Path) -> None:
    path = compiling.cubin("rope.cu", {"SCALAR": "float"}, "90")
    assert path.read_bytes()[:4] == b"\x7fELF"
    assert path.parent == tmp_path / "cache" / "tensorgrad"
    assert compiling.cubin("rope.cu", {"SCALAR": "float"}, "90") == path
    assert nvrtc.options == [(*compiling._OPTIONS, "--gpu-architecture=sm_90")]
    assert compiling.cubin("rope.cu", {"SCALAR": "double"}, "90") != path
    assert compiling.cubin("rope.cu", {"SCALAR": "float"}, "100") != path
    assert len(nvrtc.options) == 3
    assert len(list(path.parent.iterdir())) == 3


def test_another_nvrtc_compiles_again(nvrtc: Nvrtc, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compiling.cubin("rope.cu", {"SCALAR": "float"}, "90")
    monkeypatch.setattr(nvrtc, "getVersion", lambda: (99, 0))
    assert compiling.cubin("rope.cu", {"SCALAR": "float"}, "90") != first


def test_what_the_compiler_says_reaches_the_user(nvrtc: Nvrtc, tmp_path: Path) -> None:
    source = tmp_path / "wrong.cu"
    source.write_text('extern "C" __global__ void f() { not_declared = 1; }')
    with pytest.raises(tg.DeviceError, match=r"wrong.cu to compile.*\n(.*\n)*.*not_declared"):
        compiling.cubin(str(source), {}, "90")
    assert not (tmp_path / "cache").exists()


def test_without_nvrtc_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy_backends", None)
    with pytest.raises(tg.DeviceError, match=r"expected NVRTC, from CuPy, .*install the extra cuda13"):
        compiling._nvrtc.__wrapped__()
