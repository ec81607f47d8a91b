"""Which library an array belongs to, and errors for missing devices."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import array as arrays


def test_what_counts_as_an_array() -> None:
    assert arrays.is_array(np.ones(2))
    assert arrays.is_array(np.ones(()))
    for other in (1.0, np.float64(1.0), [1.0], tg.ones((2,)), None):
        assert not arrays.is_array(other)


def test_the_cpu_is_where_numpy_arrays_are() -> None:
    a = np.ones(2)
    assert arrays.module_of(a) is np
    assert arrays.device_of(a) == "cpu"
    assert arrays.to_device(a, "cpu") is a
    assert arrays.to_numpy(a) is a
    assert type(arrays.own(np.float64(2.0), a)) is np.ndarray
    assert arrays.own(a, a) is a


@pytest.mark.parametrize("device", ["gpu", "cpu:0", "cuda:one", "", "CUDA"])
def test_unknown_devices_are_refused(device: str) -> None:
    with pytest.raises(tg.DeviceError, match="device: expected"):
        arrays.to_device(np.ones(2), device)


@pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="CuPy is installed here")
def test_cuda_without_cupy_says_what_to_install() -> None:
    with pytest.raises(tg.DeviceError, match=r"CuPy.*extra cuda13, or cuda12"):
        tg.ones((2,)).to("cuda")


class CudaArray:
    """The attributes of a CuPy array that the library reads here."""

    def __init__(self, values: np.ndarray, number: int = 0) -> None:
        self.values = values
        self.device = SimpleNamespace(id=number)


class CuPy:
    """A stand-in for CuPy, with two devices."""

    ndarray = CudaArray

    def __init__(self) -> None:
        self.number = 0
        runtime = SimpleNamespace(getDeviceCount=lambda: 2, getDevice=lambda: self.number)
        allocators = {"get_allocator": lambda: None, "set_allocator": lambda allocate: None}
        self.cuda = SimpleNamespace(runtime=runtime, Device=self.Device, **allocators)
        self.get_default_memory_pool = lambda: None

    @contextmanager
    def Device(self, number: int) -> Iterator[None]:
        previous, self.number = self.number, number
        yield
        self.number = previous

    def asarray(self, a: np.ndarray) -> CudaArray:
        return CudaArray(a, self.number)

    def asnumpy(self, a: CudaArray) -> np.ndarray:
        return a.values


def test_arrays_travel_to_a_device_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", CuPy())
    a = np.ones(2)
    for name, number in (("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)):
        moved: Any = arrays.to_device(a, name)
        assert arrays.is_array(moved)
        assert arrays.device_of(moved) == f"cuda:{number}"
        assert arrays.to_numpy(moved) is a
        assert arrays.module_of(moved) is sys.modules["cupy"]


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", CuPy())
    with pytest.raises(tg.DeviceError, match=r"expected one of cuda:0 \.\. cuda:1, got cuda:2"):
        arrays.to_device(np.ones(2), "cuda:2")


def test_what_cupy_reports_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> int:
        raise RuntimeError("cudaErrorNoDevice")

    cupy = CuPy()
    cupy.cuda.runtime.getDeviceCount = none
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    with pytest.raises(tg.DeviceError, match="expected a CUDA device, got cudaErrorNoDevice from CuPy: install NVIDIA"):
        arrays.cuda_module()
