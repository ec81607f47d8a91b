"""A thread that makes what the next steps need while the present one runs.

What it makes is a pure function of the step, so it has no state to save: a resumed run starts a
loader at its own step. What goes wrong in the thread is raised where the result is asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, TypeVar

__all__ = ["AHEAD", "Loader"]

AHEAD = 2  # results made before they are asked for: one is not enough where steps differ in length

Made = TypeVar("Made")


class _End:
    """Stands after the last result, with what ended the thread early, if something did."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Loader(Generic[Made]):
    """make(step) for each of `steps`, in order, made by a thread that lives as long as the `with` block.

    with Loader(make, range(10)) as loader:
        first = loader.next()

    To ask for the next result is to be done with the one before: no more than `AHEAD` others are in use then.
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_stopped = True
        self._room.release()
        self._thread.join()

    def next(self) -> Made:
        """The result for the next step. Raises what `make` raised; StopIteration after the last step."""
        if not self._is_first:
            self._room.release()
        self._is_first = False
        made = self._made.get()
        if isinstance(made, _End):
            self._made.put(made)  # it is still the end when asked again
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
