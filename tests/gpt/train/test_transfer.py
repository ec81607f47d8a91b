"""Each step reads its own batch and returns its own numbers, whichever stream runs first."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gpt.train import transfer
from gpt.train.transfer import transfer_to


class Streams:
    """CuPy with streams that run late: each in order, but in any order among each other, except for events."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.queues: list[list[tuple[Callable[[], bool], Callable[[], None]]]] = []
        self.current: list[Stream] = [Stream(self)]
        self.empty = lambda shape, dtype: OnDevice(self, np.full(shape, 99, dtype))
        self.cuda = SimpleNamespace(
            Device=lambda number=0: nullcontext(),
            Stream=lambda non_blocking: Stream(self),
            Event=lambda disable_timing: Event(self),
            get_current_stream=lambda: self.current[-1],
            alloc_pinned_memory=bytearray,
        )

    def enqueue(self, stream: Stream, work: Callable[[], None], can: Callable[[], bool] = lambda: True) -> None:
        self.queues[stream.number].append((can, work))

    def run_one(self) -> None:
        ready = [queue for queue in self.queues if queue and queue[0][0]()]
        if ready:
            self.random.choice(ready).pop(0)[1]()

    def run_some(self) -> None:
        for _ in range(self.random.randrange(4)):
            self.run_one()

    def run_until(self, is_done: Callable[[], bool]) -> None:
        while not is_done():
            self.run_one()


class Stream:
    def __init__(self, streams: Streams) -> None:
        self.streams, self.number = streams, len(streams.queues)
        streams.queues.append([])

    def __enter__(self) -> Stream:
        self.streams.current.append(self)
        return self

    def __exit__(self, *problem: object) -> None:
        self.streams.current.pop()

    def wait_event(self, event: Event) -> None:
        number = event.recorded  # the present recording; a later one is another event
        self.streams.enqueue(self, lambda: None, lambda: event.happened >= number)

    def synchronize(self) -> None:
        self.streams.run_until(lambda: not self.streams.queues[self.number])


class Event:
    def __init__(self, streams: Streams) -> None:
        self.streams, self.recorded, self.happened = streams, 0, 0

    def record(self, stream: Stream | None = None) -> None:
        self.recorded += 1
        number = self.recorded

        def happen() -> None:
            self.happened = number

        self.streams.enqueue(stream or self.streams.current[-1], happen)

    def synchronize(self) -> None:
        number = self.recorded
        self.streams.run_until(lambda: self.happened >= number)


class OnDevice:
    def __init__(self, streams: Streams, values: np.ndarray) -> None:
        self.streams, self.values = streams, values
        self.shape, self.dtype = values.shape, values.dtype

    def set(self, host: np.ndarray, stream: Stream) -> None:
        def copy() -> None:
            self.values[...] = host

        self.streams.enqueue(stream, copy)

    def get(self, *, out: np.ndarray, blocking: bool) -> None:
        assert not blocking

        def copy() -> None:
            out[...] = self.values

        self.streams.enqueue(self.streams.current[-1], copy)


@pytest.mark.parametrize("seed", range(30))
def test_each_step_has_its_own_numbers(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `Session`: uploads two steps ahead, numbers read a step late; shapes change once."""
    streams = Streams(seed)
    monkeypatch.setattr(transfer, "cuda_module", lambda: streams)
    uploads: list[Any] = []
    downloads: list[Any] = []
    totals = [float(step * (2 if step < 7 else 3)) for step in range(12)]
    with transfer_to("cuda", num_slots=3) as moved:
        for step in range(12):
            while len(uploads) < min(12, step + 3):
                number = len(uploads)
                uploads.append(moved.upload({"x": np.full(2 if number < 7 else 3, float(number))}))
                streams.run_some()
            upload = uploads[step]
            upload.wait()
            given, result = upload.arrays["x"], OnDevice(streams, np.full(2, np.nan))

            def compute(given: Any = given, result: Any = result) -> None:
                result.values[...] = given.values.sum() * np.array([1, 10])

            streams.enqueue(streams.current[-1], compute)
            upload.release()
            streams.run_some()
            downloads.append(moved.download(result))  # type: ignore[arg-type]
            for late in range(max(0, step - 1), step):
                np.testing.assert_array_equal(downloads[late].read(), [totals[late], 10 * totals[late]])
        moved.upload({"x": np.zeros(3)})  # never used
    assert not any(streams.queues), "left to copy out of memory that is another's by now"
