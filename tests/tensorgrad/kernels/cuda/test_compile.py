"""Every source becomes machine code for the architectures that matter, with nothing spilled; and it is kept."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
import sysconfig
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


@pytest.fixture(scope="module")
def nvrtc() -> ctypes.CDLL:
    """NVRTC, from the package nvidia-cuda-nvrtc."""
    found = next((p for p in Path(sysconfig.get_path("purelib")).glob("nvidia/*/lib/libnvrtc.so.1*")), None)
    if found is None:
        pytest.skip("needs NVRTC")
    return ctypes.CDLL(str(found))


@pytest.mark.untraced
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_nvrtc_takes_it_too(variant: tuple[str, dict[str, str | int]], nvrtc: ctypes.CDLL) -> None:
    """It is what compiles on a user's machine, and it has none of the host's headers that nvcc includes unasked."""
    source, defines = variant
    text = "".join(f"#define {name} {value}\n" for name, value in defines.items()) + compiling.source_text(source)
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), source.encode(), 0, None, None)
    options = [option.encode() for option in (*compiling._OPTIONS, "--gpu-architecture=compute_90")]
    problem = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    messages = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, messages)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    assert problem == 0, messages.value.decode()


@needs_nvcc
def test_machine_code_is_kept_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calls = []
    right = compiling._by_nvcc

    def counted(*arguments: str) -> bytes:
        calls.append(arguments)
        return right(*arguments)

    monkeypatch.setattr(compiling, "_by_nvcc", counted)
    monkeypatch.setattr(compiling, "_compiler", lambda: ("nvcc", "13.0"))
    path = compiling.cubin("rope.cu", {"SCALAR": "float"}, "90")
    assert path.read_bytes()[:4] == b"\x7fELF"
    assert path.parent == tmp_path / "tensorgrad"
    assert compiling.cubin("rope.cu", {"SCALAR": "float"}, "90") == path
    assert len(calls) == 1
    assert compiling.cubin("rope.cu", {"SCALAR": "double"}, "90") != path
    assert len(calls) == 2
    assert len(list(path.parent.iterdir())) == 2


@needs_nvcc
def test_what_the_compiler_says_reaches_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(compiling, "_compiler", lambda: ("nvcc", "13.0"))
    source = tmp_path / "wrong.cu"
    source.write_text('extern "C" __global__ void f() { not_declared = 1; }')
    with pytest.raises(tg.DeviceError, match=r"wrong.cu to compile.*\n(.*\n)*.*not_declared"):
        compiling.cubin(str(source), {}, "90")
    assert not (tmp_path / "cache").exists()


@needs_nvcc
def test_without_nvrtc_it_is_nvcc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy_backends", None)
    name, version = compiling._compiler.__wrapped__()
    assert name == "nvcc"
    assert "release" in version


def test_without_a_compiler_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(tg.DeviceError, match="install the extra"):
        compiling._compiler.__wrapped__()
