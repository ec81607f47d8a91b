"""What goes between the host and the device in a step, without either waiting for the other.

On a GPU batches go up from pinned memory on a stream of their own, while the step before computes;
what a step tells (loss, norm) comes down into pinned memory and is looked at when the next step is
under way. On the CPU there is nothing to move: the same calls hand on the same arrays.

There is no arena for a step's own arrays: CuPy's pool gives each step the blocks of the last one,
as every step asks for the same sizes in the same order, and the driver is not asked again. What an
arena could save is the pool's fragmentation: the blocks that it keeps beyond the step's peak.
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
    """Arrays on their way to the device."""

    @property
    def arrays(self) -> Mapping[str, Array]: ...

    def wait(self) -> None:
        """What is launched from here on finds the arrays there; the host does not wait."""
        ...

    def release(self) -> None:
        """What was launched so far was the last to read the arrays: their memory is used again."""
        ...


class Download(Protocol):
    """Numbers on their way from the device."""

    def read(self) -> Array:
        """The numbers, on the CPU; waits until they are there."""
        ...


class Transfer(Protocol):
    """Moves arrays between the host and one device."""

    def upload(self, values: Mapping[str, Array]) -> Upload: ...

    def download(self, values: Array) -> Download: ...


@contextmanager
def transfer_to(device: str, *, num_slots: int) -> Iterator[Transfer]:
    """The transfer for a device; within it, on a GPU, that device and a stream of its own are the current ones.

    Args:    num_slots: uploads that may be in use at once. Raises DeviceError.
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
            with contextlib.suppress(Exception):  # what broke the run breaks this too, and says less
                transfer.finish()
                stream.synchronize()


class _OnHost:
    """Both an upload and a download of arrays that are where they are wanted."""

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
    """Buffers for one upload, on both sides, and how far it is."""

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
    """`upload` is called by one thread, and by it alone; `download` by the one that launches the steps."""

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
            slot.copied.synchronize()  # the last copy out of these pinned buffers; the caller's thread may wait
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
        """Wait for uploads that nobody asked for any more: they read pinned memory, which is then another's."""
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
    """An array in memory that the device can copy from while the host goes on."""
    size = int(np.prod(shape))
    memory = cupy.cuda.alloc_pinned_memory(max(1, size * np.dtype(dtype).itemsize))
    return np.frombuffer(memory, dtype, size).reshape(shape)
