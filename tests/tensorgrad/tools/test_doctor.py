"""The doctor: on a machine without a GPU, on the stand-in, and where something computes wrongly."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.array import cuda_module
from tensorgrad.kernels import providers, reference
from tests.cupy_stand_in.kernels import choosing_anew


def told() -> tuple[bool, list[str]]:
    lines: list[str] = []
    return tg.doctor(report=lines.append), lines


def test_without_a_gpu_three_lines_say_so_in_the_words_of_the_refusal():
    if importlib.util.find_spec("cupy"):
        pytest.skip("CuPy is installed")
    is_right, lines = told()
    assert is_right
    assert lines[1].startswith("CPU: kernels: ")
    assert "gradient in float32" in lines[2]
    assert lines[-3] == "GPU: none"
    assert len(lines) == 6
    with pytest.raises(tg.DeviceError) as refusal:
        tg.zeros(3, device="cuda")
    assert lines[-2] == str(refusal.value)


def test_a_gpu_its_libraries_and_who_computes_what(cupy):
    with choosing_anew():
        providers.fell_back("attention in float32", "unfused", "a mask")
        is_right, lines = told()
    assert is_right
    assert lines[-1] == "attention in float32: unfused for some calls (a mask)"
    text = "\n".join(lines)
    assert "GPU 0: stand-in for a GPU, compute capability 9.0, 132 multiprocessors" in text
    assert "CUDA: driver for 13.0, runtime 13.0" in text
    assert "self-test on cuda: product in float32" in text
    assert "kernels: reference (not cuda: " in text  # with the reason


def test_kernels_and_attention_in_the_shim(cupy_kernels):
    is_right, lines = told()
    assert is_right
    assert "kernels: cuda" in lines
    assert "attention in float32: plain" in lines


def test_wrong_numbers_are_a_failure(cupy, monkeypatch):
    right = reference.layer_norm

    def wrong_on_the_device(x, *rest):
        factor = 1 if isinstance(x, np.ndarray) else 2
        return [factor * part for part in right(x, *rest)]

    monkeypatch.setattr(reference, "layer_norm", wrong_on_the_device)
    with choosing_anew():
        is_right, lines = told()
    assert not is_right
    assert any("self-test on cuda" in line and "FAILED: layer_norm in float32" in line for line in lines)


def test_what_is_raised_is_told(cupy, monkeypatch):
    def broken(*arguments):
        raise RuntimeError("CUBLAS_STATUS_NOT_INITIALIZED")

    monkeypatch.setattr(reference, "layer_norm", broken)
    with choosing_anew():
        is_right, lines = told()
    assert not is_right
    assert "self-test on cuda: FAILED: RuntimeError: CUBLAS_STATUS_NOT_INITIALIZED" in lines


@pytest.mark.gpu
def test_a_gpu_computes_rightly():
    try:
        cuda_module()
    except tg.DeviceError as problem:
        pytest.skip(str(problem))
    is_right, lines = told()
    assert is_right, "\n".join(lines)
    assert any("GPU 0" in line for line in lines)
