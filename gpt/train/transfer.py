"""Copies between host and device during training, so that neither waits for the other.

On a GPU, batches are copied from pinned memory on a separate stream while the step before computes. A
step's loss and norm are copied into pinned memory and read while the next step runs. On the CPU the
same calls return the same arrays.

A step's own arrays need no arena: each step asks CuPy's pool for the same sizes in the same order, and
gets the blocks of the step before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from tensorgrad.array import Array, cuda_module

__all__ = ["Download", "HostTransfer", "Transfer", "Upload", "transfer_to"]


class Upload(Protocol):
    """Arrays that are being copied to the device."""

    @property
    def arrays(self) -> Mapping[str, Array]: ...

    def wait(self) -> None:
        """Make the current stream wait for the arrays. The host does not wait."""
        ...

    def release(self) -> None:
        """Allow later uploads to overwrite the arrays, after everything launched so far."""
        ...


class Download(Protocol):
    """Numbers that are being copied from the device."""

    def read(self) -> Array:
        """Wait for the numbers and return them, on the CPU."""
        ...


class Transfer(Protocol):
    """Moves arrays between the host and one device."""

    def upload(self, values: Mapping[str, Array]) -> Upload: ...

    def download(self, values: Array) -> Download: ...


@contextmanager
def transfer_to(device: str, *, num_slots: int) -> Iterator[Transfer]:
    """The transfer for a device. On a GPU, the block runs with that device and a new stream as current ones.

    Args:    num_slots: the number of uploads that may be in use at once.
    Raises:  DeviceError.
    """
    if device == "cpu":
        yield HostTransfer()
        return
    cupy = cuda_module()
    with cupy.cuda.Device(int(device.partition(":")[2] or 0)), cupy.cuda.Stream(non_blocking=True) as stream:
        transfer = _CudaTransfer(cupy, num_slots)
        try:
            yield transfer
        finally:
            with contextlib.suppress(Exception):  # after a failed run this fails too, with a less useful error
                transfer.finish()
                stream.synchronize()


class _OnHost:
    """An upload or a download on the CPU, where nothing is copied."""

    def __init__(self, arrays: Any) -> None:
        self.arrays = arrays

    def wait(self) -> None: ...

    def release(self) -> None: ...

    def read(self) -> Array:
        return self.arrays  # type: ignore[no-any-return]


class HostTransfer:
    def upload(self, values: Mapping[str, Array]) -> Upload:
        return _OnHost(values)

    def download(self, values: Array) -> Download:
        return _OnHost(values)


class _Slot:
    """One upload: its buffers on host and device, and events for the end of the copy and of the use."""

    def __init__(self, cupy: Any) -> None:
        self.cupy = cupy
        self.host: dict[str, Array] = {}
        self.arrays: dict[str, Array] = {}
        self.copied = cupy.cuda.Event(disable_timing=True)
        self.used = cupy.cuda.Event(disable_timing=True)

    def wait(self) -> None:
        self.cupy.cuda.get_current_stream().wait_event(self.copied)

    def release(self) -> None:
        self.used.record()


class _CudaTransfer:
    """One thread calls `upload`; the thread that launches the steps calls `download`."""

    def __init__(self, cupy: Any, num_slots: int) -> None:
        self._cupy = cupy
        self._device = cupy.cuda.Device()
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._slots = [_Slot(cupy) for _ in range(num_slots)]
        self._num_uploads = 0

    def upload(self, values: Mapping[str, Array]) -> Upload:
        slot = self._slots[self._num_uploads % len(self._slots)]
        self._num_uploads += 1
        with self._device, self._stream:
            slot.copied.synchronize()  # the last copy from these pinned buffers; the loader's thread may wait
            self._stream.wait_event(slot.used)
            for name, value in values.items():
                if name not in slot.host or slot.host[name].shape != value.shape:
                    slot.host[name] = _pinned(self._cupy, value.shape, value.dtype)
                    slot.arrays[name] = self._cupy.empty(value.shape, value.dtype)
                slot.host[name][...] = value
                slot.arrays[name].set(slot.host[name], stream=self._stream)  # type: ignore[attr-defined]
            slot.copied.record(self._stream)
        return slot

    def download(self, values: Array) -> Download:
        return _CudaDownload(self._cupy, values)

    def finish(self) -> None:
        """Wait for unused uploads: they read pinned memory, which is freed after this."""
        self._stream.synchronize()


class _CudaDownload:
    def __init__(self, cupy: Any, values: Any) -> None:
        self._host = _pinned(cupy, values.shape, values.dtype)
        values.get(out=self._host, blocking=False)
        self._copied = cupy.cuda.Event(disable_timing=True)
        self._copied.record()

    def read(self) -> Array:
        self._copied.synchronize()
        return self._host


def _pinned(cupy: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """An array in pinned memory, which a device can copy while the host continues."""
    size = int(np.prod(shape))
    memory = cupy.cuda.alloc_pinned_memory(max(1, size * np.dtype(dtype).itemsize))
    return np.frombuffer(memory, dtype, size).reshape(shape)
