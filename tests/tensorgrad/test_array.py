"""Which library an array belongs to, and devices that are not there."""

from __future__ import annotations

import importlib.util

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
    with pytest.raises(tg.DeviceError, match=r"CuPy.*extra cuda12 or cuda13"):
        tg.ones((2,)).to("cuda")
