"""How kernels reach CuPy: loaded once, with arguments, grids and shared memory in CuPy's terms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tensorgrad.array import to_device
from tensorgrad.errors import DeviceError
from tensorgrad.kernels import cuda, reference
from tensorgrad.kernels.cuda.launch import Kernel, launch
from tests.cuda_shim import is_available
from tests.cupy_stand_in.memory import MemoryPointer
from tests.cupy_stand_in.raw import loading

pytestmark = pytest.mark.skipif(not is_available(), reason="needs g++")


def test_a_kernel_is_loaded_once_and_asks_for_its_shared_memory(cupy: Any, normal: Any) -> None:
    x, g, weight = (
        normal(*shape, seed=i).astype(np.float32) for i, shape in enumerate(((3, 4096), (3, 4096), (4096,)))
    )
    out, mean, rstd = reference.layer_norm(x, weight, None, 1e-5)
    expected = reference.layer_norm_gradient(g, x, weight, mean, rstd)
    with loading(cupy) as loaded:
        for _ in range(2):
            on_device = [to_device(a, "cuda") for a in (g, x, weight, mean, rstd)]
            got = cuda.layer_norm_gradient(*on_device)  # of 96 KB for each block, where 48 need no asking
            for part, exact in zip(got, expected, strict=True):
                np.testing.assert_allclose(part.get(), exact, rtol=1e-4, atol=1e-5)
        assert len(loaded) == 2  # norm.cu, and rows.cu
        out = cuda.layer_norm(on_device[1], on_device[2], None, 1e-5)[0]  # a null pointer for the bias
        np.testing.assert_allclose(out.get(), reference.layer_norm(x, weight, None, 1e-5)[0], rtol=1e-5, atol=1e-5)
        assert len(loaded) == 2


def test_arrays_on_another_device_are_refused(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x = to_device(np.ones((2, 8), np.float32), "cuda")
    monkeypatch.setattr(MemoryPointer, "device_id", 1)
    with loading(cupy), pytest.raises(DeviceError, match=r"softmax: .*cuda:0, got one on cuda:1: compute within"):
        cuda.softmax(x)


def test_nothing_is_launched_on_nothing(cupy: Any) -> None:
    with loading(cupy) as loaded:
        launch(Kernel("norm.cu", "layer_norm", {"SCALAR": "float", "VECTOR": 1}), (0,), (32,))
    assert not loaded
