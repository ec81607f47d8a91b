"""Every public function with every wrong value in the place of each argument: it works, or says what is wrong.

Nothing but the library's own errors may come out, whose messages are short lines that begin with a name and say what
was expected; and what comes out without an error is a tensor like any other, with a gradient.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import array
from tests.tensorgrad.right_calls import WRONG, Call, public_functions, right_call

FUNCTIONS = public_functions()
SELF_FIRST = ("Tensor.", "Key.")

# Arguments that are not tried: any integer is right for `order` and for how many keys, at a price; what stands in a
# custom op's edges, and the text of a format, is its author's.
LEFT_OUT = {
    ("check_grads", "order"),
    ("Key.split", 1),
    ("record", 0),
    ("record", 1),
    ("record", "keep_output"),
    ("record_joint", 0),
    ("record_joint", 2),
    ("record_joint", "selects"),
    ("Tensor.__format__", 1),
}


def check_result(out: Any) -> None:
    """What came out is of a dtype of tensors, can be printed, and gives a gradient."""
    for part in out if isinstance(out, (tuple, list)) else [out]:
        if isinstance(part, tg.Tensor):
            assert type(part.data) is np.ndarray
            assert repr(part).startswith("Tensor(")
            if part.requires_grad:
                part.backward(tg.ones(part.shape, dtype=part.dtype))
        if isinstance(part, (tg.Tensor, np.ndarray, np.generic)):
            assert tg.as_dtype(part.dtype) is part.dtype


def check_error(problem: BaseException) -> None:
    """It is one of the library's own, or a TypeError that the caller's own function raised."""
    if not isinstance(problem, tg.TensorgradError):
        assert isinstance(problem, TypeError), problem
        assert "right_calls" in traceback.extract_tb(problem.__traceback__)[-1].filename, problem
        return
    text = str(problem)
    assert "\n" not in text
    assert len(text) < 400, text
    assert re.match(r"[\w. ]+: .*expected ", text), text


def outcome(f: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> BaseException | None:
    """What a call raised; the warnings of floating point that a nan or an inf brings are the caller's."""
    try:
        with np.errstate(all="ignore"):
            check_result(f(*args, **keywords))
    except Exception as problem:
        return problem
    finally:
        assert tg.is_recording()
    return None


def places(name: str) -> Iterator[int | str]:
    args, keywords = right_call(name, FUNCTIONS[name])
    for place in (*range(name.startswith(SELF_FIRST), len(args)), *keywords):
        if (name, place) not in LEFT_OUT:
            yield place


def replaced(call: Call, place: int | str, value: Any) -> Call:
    args, keywords = call
    if isinstance(place, str):
        return args, keywords | {place: value}
    return (*args[:place], value, *args[place + 1 :]), keywords


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_right_call_works(name: str) -> None:
    problem = outcome(FUNCTIONS[name], *right_call(name, FUNCTIONS[name]))
    assert problem is None, problem


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_wrong_argument_gets_an_error_of_the_library(name: str) -> None:
    f = FUNCTIONS[name]
    for place in places(name):
        for label in WRONG:
            problem = outcome(f, *replaced(right_call(name, f), place, WRONG[label]()))
            if problem is not None:
                try:
                    check_error(problem)
                except AssertionError as failed:
                    raise AssertionError(f"{name}, {label} as argument {place}: {problem!r}") from failed


@pytest.mark.parametrize("name", FUNCTIONS)
def test_several_wrong_arguments_get_an_error_of_the_library(name: str) -> None:
    f, rng = FUNCTIONS[name], np.random.default_rng(len(name))
    for _ in range(40):
        call, chosen = right_call(name, f), {}
        for place in places(name):
            if rng.random() < 0.5:
                chosen[place] = str(rng.choice(list(WRONG)))
                call = replaced(call, place, WRONG[chosen[place]]())
        problem = outcome(f, *call)
        if problem is not None:
            try:
                check_error(problem)
            except AssertionError as failed:
                raise AssertionError(f"{name}, {chosen}: {problem!r}") from failed


class OnDevice:
    """What the library sees of a CuPy array: enough to refuse it beside a NumPy array."""

    def __init__(self, like: np.ndarray) -> None:
        self.shape, self.dtype, self.ndim, self.size = like.shape, like.dtype, like.ndim, like.size
        self.device = SimpleNamespace(id=0)


TENSORS = {
    name: [i for i, x in enumerate(right_call(name, f)[0]) if isinstance(x, tg.Tensor)] for name, f in FUNCTIONS.items()
}


@pytest.mark.parametrize(
    "name", [name for name, found in TENSORS.items() if len(found) > 1 and name not in ("broadcast_arrays", "grad")]
)
def test_a_tensor_on_another_device_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = SimpleNamespace(ndarray=OnDevice, cuda=SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=lambda: 1)))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    for place in TENSORS[name][1:]:
        call = right_call(name, FUNCTIONS[name])
        moved = tg.Tensor(OnDevice(call[0][place].data))  # type: ignore[arg-type]
        assert array.device_of(moved.data) == "cuda:0"
        with pytest.raises(tg.DeviceError, match=r"expected .* on (one device|cpu), got (cpu and )?.*cuda:0"):
            FUNCTIONS[name](*replaced(call, place, moved)[0], **call[1])
