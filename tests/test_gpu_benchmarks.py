"""The GPU benchmarks run without a GPU: on the CPU through benchmarks/gpu.sh, and on the stand-in for CuPy."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import first, kernels, train
from benchmarks.gpu.contestants import by_category
from benchmarks.gpu.machine import check_fast
from benchmarks.record import ROOT
from tensorgrad.errors import DeviceError
from tensorgrad.kernels import providers
from tests import gpu_suites

REHEARSAL = ["--device", "cpu", "--small", "--results"]


def rehearse(part: str, folder: Path, *options: str) -> dict[str, Any]:
    """Run a part of benchmarks/gpu.sh on the CPU; the result that it wrote."""
    folder.mkdir(exist_ok=True)
    subprocess.run(
        ["bash", "benchmarks/gpu.sh", part, *REHEARSAL, str(folder), *options],
        cwd=ROOT,
        env=os.environ | {"PYTHON": sys.executable, "OPENBLAS_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("gpu_*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    assert found["machine"]["is_rehearsal"]
    assert found["origin"]["python"]
    return found


def test_kernels(tmp_path):
    found = rehearse("kernels", tmp_path)
    assert not found["failed"]
    assert {row["section"] for row in found["rows"]} == set(kernels.SECTIONS)
    for row in found["rows"]:
        assert row["ms"] > 0
        assert ("gb_per_s" in row) != ("tflop_per_s" in row)


def test_the_first_questions(tmp_path):
    found = rehearse("first", tmp_path)
    for name in first.QUESTIONS:
        assert "failed" not in found[name], found[name]


def test_the_training_beside_pytorch(tmp_path):
    names = ["tensorgrad", "tensorgrad-graph"]
    if importlib.util.find_spec("torch"):
        names.append("torch")
    found = rehearse("train", tmp_path, "--contestants", *names)
    assert set(found["contestants"]) == set(names)
    assert len(found["ratios"]) == 2 * ("torch" in names)
    for one in found["contestants"].values():
        assert one["tokens_per_s"] > 0
        expected = one["tokens_per_s"] * found["flops_per_token"] / 1e12 / found["peaks"]["product_tflop_per_s"]
        assert one["mfu_of_measured_product"] == pytest.approx(expected, abs=1e-4)
        assert one["first_loss"] == pytest.approx(found["contestants"]["tensorgrad"]["first_loss"], abs=1e-5)


def test_the_tests_themselves(tmp_path):
    found = rehearse("test-training", tmp_path)
    assert found["counts"]["passed"] >= 3
    assert "failed" not in found["counts"]


def test_a_missing_sanitizer_is_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert rehearse("memcheck", tmp_path)["skipped"] == "compute-sanitizer is not installed"


@pytest.mark.parametrize(("program", "status"), [("exit 99", 99), ("sleep 60", "none within 2 seconds")])
def test_a_sanitizer_fails_when_it_finds_something_or_does_not_end(program, status, tmp_path, monkeypatch):
    fake = tmp_path / "compute-sanitizer"
    fake.write_text(f"#!/bin/sh\necho found something\nexec {program}\n".replace("exec exit", "exit"))
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(gpu_suites, "SANITIZER_LIMIT_S", 2)
    given = ["kernels", "--sanitizer", "racecheck", "--device", "cpu", "--results", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["gpu_suites", *given])
    with pytest.raises(SystemExit, match="1"):
        gpu_suites.main()
    found = json.loads((tmp_path / "gpu_tests_kernels_racecheck.json").read_text())
    assert found["exit_status"] == status
    assert "found something" in found["output_end"]


def test_an_unknown_part_prints_the_parts():
    done = subprocess.run(
        ["bash", "benchmarks/gpu.sh", "nonsense"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "memcheck, racecheck" in done.stdout


def on_the_stand_in(module: Any, folder: Path, monkeypatch: Any, *options: str) -> dict[str, Any]:
    """Run a benchmark's `main` on the stand-in, through the paths that only a device takes: its result."""
    given = ["--small", "--dtype", "float32", "--results", str(folder), *options]
    monkeypatch.setattr(sys, "argv", [module.__name__, *given])
    module.main()
    (path,) = folder.glob("gpu_*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    assert found["machine"]["device"] == "stand-in for a GPU"
    assert found["machine"]["driver"] == 13000
    return found


def test_kernels_on_the_stand_in(tmp_path, monkeypatch, cupy_kernels):
    sections = ("norms", "loss", "embedding", "optimizer", "gemm")
    found = on_the_stand_in(kernels, tmp_path, monkeypatch, "--sections", *sections)
    assert not found["failed"]
    assert {row["section"] for row in found["rows"]} == set(sections)
    assert found["machine"]["providers"]["kernels"]["chosen"] == "cuda"
    assert {kernel.source for kernel in cupy_kernels.launched} >= {"norm.cu", "optimizer.cu", "scatter.cu"}


def test_the_first_questions_on_the_stand_in(tmp_path, monkeypatch, cupy):
    found = on_the_stand_in(first, tmp_path, monkeypatch)
    assert all("failed" not in found[name] for name in first.QUESTIONS)
    assert "100 small kernels, eager" in found["recording_us"]


def test_a_slower_provider_fails_the_kernels():
    def missing() -> None:
        raise ImportError("No module named 'fast'")

    try:
        providers.choose("gemm", [("fast", missing), ("slow", lambda: None)])
        with pytest.raises(DeviceError, match="gemm: expected fast, as the fast provider is required, got slow"):
            check_fast()
    finally:
        providers.forget()


def test_fallbacks_fail_a_benchmark():
    good = {"ours": {"origin": {"providers": {"gemm": {"chosen": "cublasLt", "rejected": {}}}, "fallbacks": []}}}
    train.check_providers(good)
    bad = {"ours": {"origin": {"providers": {"gemm": {"chosen": "cupy", "rejected": {"cublasLt": "none"}}}}}}
    with pytest.raises(DeviceError, match="ours: expected the fast providers, got gemm"):
        train.check_providers(bad)


def test_time_by_category():
    ms = 1_000_000
    spans = [
        (0, 4 * ms, "nvjet_tst_128x256_64x4_2x1_v_bz_coopA_TNT"),
        (5 * ms, 7 * ms, "cudnn_generated_fort_native_sdpa_sm90_flash_fprop"),
        (6 * ms, 8 * ms, "Memcpy HtoD (Pinned -> Device)"),  # overlaps the one before
        (9 * ms, 10 * ms, "layer_norm"),
        (10 * ms, 12 * ms, "adamw"),
        (12 * ms, 13 * ms, "cross_entropy_gradient"),
    ]
    assert by_category(spans, 2) == {
        "GEMM": 2,
        "attention": 1,
        "copies": 1,
        "elementwise": 0.5,
        "optimizer": 1,
        "loss": 0.5,
        "idle": 1,
    }
