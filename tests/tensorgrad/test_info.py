"""The library's description of itself is true."""

from __future__ import annotations

import numpy as np
import pytest

import tensorgrad as tg


def test_what_tensors_can_be() -> None:
    info = tg.__array_namespace_info__()
    assert info.default_device() in info.devices()
    for device in info.devices():
        for name, dtype in info.dtypes(device=device).items():
            assert tg.ones((1,), dtype=dtype, device=device).dtype == getattr(tg, name) == np.dtype(name)
    assert list(info.dtypes(kind="real floating")) == ["float32", "float64"]
    assert list(info.dtypes(kind=("bool", "unsigned integer"))) == ["bool", "uint8", "uint16", "uint32", "uint64"]
    assert info.dtypes(kind="complex floating") == {}


def test_defaults_are_those_of_tensors() -> None:
    defaults = tg.__array_namespace_info__().default_dtypes()
    assert tg.tensor(1.5).dtype == tg.zeros((1,)).dtype == defaults["real floating"]
    assert tg.tensor(1).dtype == tg.arange(3).dtype == defaults["integral"]
    assert tg.argmax(tg.ones((2,))).dtype == defaults["indexing"]


def test_capabilities() -> None:
    capabilities = tg.__array_namespace_info__().capabilities()
    x = tg.ones((3,))
    assert x[x > 0].shape == (3,)
    assert tg.reshape(x, (*(1,) * (capabilities["max dimensions"] - 1), 3)).ndim == 64
    with pytest.raises(tg.ShapeError):
        tg.reshape(x, (*(1,) * capabilities["max dimensions"], 3))


def test_a_device_that_is_not_there_is_refused() -> None:
    info = tg.__array_namespace_info__()
    for f in (info.dtypes, info.default_dtypes):
        with pytest.raises(tg.DeviceError, match=r"dtypes: expected one of cpu.*, got 'tpu'"):
            f(device="tpu")
