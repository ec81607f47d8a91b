"""The loader's thread: its results, how far ahead it works, its errors, its end."""

from __future__ import annotations

import threading
import time

import pytest

from gpt.data.loader import AHEAD, Loader


def loader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "gpt-loader"]


def test_results_come_in_order_and_end():
    with Loader(lambda step: step * step, range(3, 8)) as loader:
        assert [loader.next() for _ in range(5)] == [9, 16, 25, 36, 49]
        for _ in range(2):
            with pytest.raises(StopIteration):
                loader.next()
    assert not loader_threads()


def test_it_runs_ahead_by_so_much_and_no_more():
    made: list[int] = []
    with Loader(lambda step: made.append(step) or step, range(100)) as loader:

        def settle(count: int) -> list[int]:
            deadline = time.monotonic() + 10
            while len(made) < count and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(0.02)  # the thread must not continue
            return list(made)

        assert settle(AHEAD) == list(range(AHEAD))
        loader.next()  # in use: the thread stays AHEAD of it
        assert settle(AHEAD) == list(range(AHEAD))
        loader.next()  # frees the previous result
        assert settle(AHEAD + 1) == list(range(AHEAD + 1))
    assert not loader_threads()


def test_an_error_in_the_thread_is_raised_where_the_result_is_asked_for():
    def make(step: int) -> int:
        if step == 2:
            raise ValueError("no such shard")
        return step

    with Loader(make, range(5)) as loader:
        assert [loader.next(), loader.next()] == [0, 1]
        for _ in range(2):
            with pytest.raises(ValueError, match="no such shard"):
                loader.next()
    assert not loader_threads()


def test_leaving_early_ends_the_thread():
    def leave_early() -> None:
        with Loader(lambda step: step, range(1000)) as loader:
            loader.next()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave_early()
    assert not loader_threads()
    with Loader(lambda step: step, range(1000)):
        pass  # nothing was requested
    assert not loader_threads()
