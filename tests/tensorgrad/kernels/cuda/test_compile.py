"""Every source becomes machine code for the architectures that matter, with nothing spilled; and it is kept."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import tensorgrad as tg
from tensorgrad.kernels.cuda import compile as compiling

needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
SCALARS = [{"SCALAR": name} for name in ("float", "double", "Float16", "Bfloat16")]
# Of each source: the macros that it is compiled with.
SOURCES: dict[str, list[dict[str, str | int]]] = {"norm.cu": SCALARS}


VARIANTS = [(source, defines) for source, all_defines in SOURCES.items() for defines in all_defines]


def test_no_source_is_left_out() -> None:
    assert {path.name for path in compiling.SOURCES.glob("*.cu")} == set(SOURCES)


@needs_nvcc
@pytest.mark.parametrize(("source", "defines"), VARIANTS, ids=str)
def test_registers_are_enough(source: str, defines: dict[str, str | int], tmp_path: Path) -> None:
    """nvcc's report for sm_80, sm_90 and sm_100: no spills, and few enough registers for 8 warps per scheduler."""
    text = "".join(f"#define {name} {value}\n" for name, value in defines.items()) + compiling.source_text(source)
    path = tmp_path / source
    path.write_text(text)
    architectures = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in (80, 90, 100)]
    command = ["nvcc", "-fatbin", *architectures, *compiling._OPTIONS, "-Xptxas", "-v", "--threads", "2"]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "out"), str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    spills = [line for line in done.stderr.splitlines() if "spill" in line]
    assert len(spills) >= 3
    assert all("0 bytes spill stores, 0 bytes spill loads" in line for line in spills), done.stderr
    used = [int(line.split("Used ")[1].split()[0]) for line in done.stderr.splitlines() if "Used " in line]
    assert max(used) <= 64


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
    path = compiling.cubin("norm.cu", {"SCALAR": "float"}, "90")
    assert path.read_bytes()[:4] == b"\x7fELF"
    assert path.parent == tmp_path / "tensorgrad"
    assert compiling.cubin("norm.cu", {"SCALAR": "float"}, "90") == path
    assert len(calls) == 1
    assert compiling.cubin("norm.cu", {"SCALAR": "double"}, "90") != path
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


def test_without_a_compiler_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(tg.DeviceError, match="install the extra"):
        compiling._compiler.__wrapped__()
