"""The device's memory: how much is in use, and the error when none is left."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.kernels import cuda_kernels
from tests.cupy_stand_in import syncs


def test_what_is_used_and_the_peak(cupy):
    gc.collect()  # of an allocation that failed before
    tg.memory_info(reset_peak=True)
    before = tg.memory_info()
    x = tg.zeros((256, 1024), device="cuda")
    del x
    after = tg.memory_info("cuda:0")
    assert after.used == before.used
    assert after.peak == before.used + 2**20
    assert after.used <= after.reserved <= after.total - after.free
    assert tg.memory_info(reset_peak=True).peak == after.peak
    assert tg.memory_info().peak == before.used
    assert "peak 1.0 MiB" in str(tg.MemoryInfo(0, 2**20, 0, 0, 3 * 2**30))


def test_it_is_known_without_waiting(cupy):
    with syncs.forbidden():
        tg.memory_info()


@pytest.mark.parametrize("device", ["cpu", "tpu"])
def test_only_a_gpu_has_its_own(device, cupy):
    with pytest.raises(tg.DeviceError, match=device):
        tg.memory_info(device)


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: tg.zeros((1024, 1024), device="cuda"),
        lambda x: tg.tensor(np.zeros((1024, 1024)), device="cuda"),
        lambda x: tg.matmul(x.reshape((1024, 1)), x.reshape((1, 1024))),
        lambda x: tg.exp(tg.broadcast_to(x, (1024, 1024))),
        lambda x: tg.Key(0).uniform((1024, 1024), device="cuda"),
    ],
)
def test_no_more_memory_is_a_typed_error(ask, cupy):
    cuda_kernels()  # kernels are tried at first use, which takes memory for a moment
    x = tg.ones(1024, device="cuda")
    pool = cupy.get_default_memory_pool()
    gc.collect()
    used = pool.used_bytes()
    pool.set_limit(used + 2**20)
    try:
        with pytest.raises(
            tg.DeviceMemoryError, match=r"expected .*MiB more, got a limit of .*: lower the batch"
        ) as found:
            ask(x)
    finally:
        pool.set_limit(0)
    assert isinstance(found.value, MemoryError)
    assert found.value.requested >= 2**20 < found.value.total
    del found
    gc.collect()
    assert pool.used_bytes() == used


def test_arrays_are_filled_where_they_are_wanted(cupy):
    syncs.copies.clear()
    made = [tg.zeros(3, device="cuda"), tg.ones(3, device="cuda"), tg.full(3, 2.0, device="cuda")]
    assert [x.device for x in made] == ["cuda:0"] * 3
    assert tg.empty((2, 3), device="cuda").shape == (2, 3)
    assert not syncs.copies
