"""A thread that makes the inputs of the next steps while the present step runs.

Each result is a pure function of its step, so there is no state to save: a resumed run starts a loader
at its own step. An exception in the thread is raised by `next`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from queue import SimpleQueue
from typing import Generic, TypeVar

__all__ = ["AHEAD", "Loader"]

AHEAD = 2  # results made in advance: one is not enough if steps differ in length

Made = TypeVar("Made")


class _End:
    """Follows the last result, with the exception that ended the thread early, if any."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Loader(AbstractContextManager["Loader[Made]"], Generic[Made]):
    """make(step) for each of `steps`, in order, in a thread that lives as long as the `with` block.

        with Loader(make, range(10)) as loader:
            first = loader.next()

    A call of `next` says that the previous result is no longer used. At most `AHEAD` further results
    exist at any time.
    """

    def __init__(self, make: Callable[[int], Made], steps: Iterable[int]) -> None:
        self._make, self._steps = make, steps
        self._made: SimpleQueue[Made | _End] = SimpleQueue()
        self._room = threading.Semaphore(AHEAD)
        self._is_stopped = False
        self._is_first = True
        self._thread = threading.Thread(target=self._work, name="gpt-loader", daemon=True)

    def __enter__(self) -> Loader[Made]:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_stopped = True
        self._room.release()
        self._thread.join()

    def next(self) -> Made:
        """The next step's result. Raises what `make` raised, or StopIteration after the last step."""
        if not self._is_first:
            self._room.release()
        self._is_first = False
        made = self._made.get()
        if isinstance(made, _End):
            self._made.put(made)  # for the next call
            raise made.error or StopIteration
        return made

    def _work(self) -> None:
        try:
            for step in self._steps:
                self._room.acquire()
                if self._is_stopped:
                    break
                self._made.put(self._make(step))
        except BaseException as error:
            self._made.put(_End(error))
        else:
            self._made.put(_End(None))
