"""Every public function with every wrong value in the place of each argument works, or says what is wrong.

It may raise the library's own errors only, with a message of one short line that begins with a name and says what was
expected. A call that raises nothing returns an ordinary tensor with a gradient.
"""

from __future__ import annotations

import inspect
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
from tests.tensorgrad.each import each
from tests.tensorgrad.right_calls import WRONG, Call, public_functions, right_call
from tests.tensorgrad.wrong_programs import FORM

FUNCTIONS = public_functions()
SELF_FIRST = ("Tensor.", "Key.")

# Arguments that are not tried: any integer is right for `order` and for the number of keys, but a large one is slow;
# a custom op's edges and the text of a format are up to their author.
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
    """Check that the result has a tensor's dtype, can be printed, and gives a gradient."""
    for part in out if isinstance(out, (tuple, list)) else [out]:
        if isinstance(part, tg.Tensor):
            assert type(part.data) is np.ndarray
            assert repr(part).startswith("Tensor(")
            if part.requires_grad:
                part.backward(tg.ones(part.shape, dtype=part.dtype))
        if isinstance(part, (tg.Tensor, np.ndarray, np.generic)):
            assert tg.as_dtype(part.dtype) is part.dtype


def check_error(problem: BaseException) -> None:
    """Check that the error is the library's, or a TypeError raised by a function that the caller passed."""
    if not isinstance(problem, tg.TensorgradError):
        assert isinstance(problem, TypeError), problem
        assert "right_calls" in traceback.extract_tb(problem.__traceback__)[-1].filename, problem
        return
    text = str(problem)
    assert "\n" not in text
    assert len(text) < 400, text
    assert re.match(r"[\w. ]+: .*expected ", text), text


def outcome(f: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> BaseException | None:
    """The error that a call raised. Floating-point warnings, which a nan or an inf causes, are ignored."""
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


def spoiled(call: Call, place: int | str, label: str) -> Call:
    """The call with a wrong value in one place; the value has the shape of the tensor that it replaces."""
    before = call[1][place] if isinstance(place, str) else call[0][place]
    return replaced(call, place, WRONG[label](before.shape if isinstance(before, tg.Tensor) else (2, 3)))


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
            problem = outcome(f, *spoiled(right_call(name, f), place, label))
            if problem is not None:
                try:
                    check_error(problem)
                except AssertionError as failed:
                    raise AssertionError(f"{name}, {label} as argument {place}: {problem!r}") from failed


# The values of WRONG that no function takes for a tensor.
NO_TENSOR = (
    *("None", "text", "bytes", "an object", "a type", "a function", "a set", "a dict", "a list", "a tuple", "complex"),
    *("complex array", "text array", "object array", "date array", "structured array", "NumPy complex"),
)


# Functions that call another one, whose name stands in the message.
ASKED = {"unique_counts": "unique_all", "unique_inverse": "unique_all"}


def tensors(op: str) -> list[int]:
    """The positions of the required tensors in the right call."""
    args, _ = right_call(op, FUNCTIONS[op])
    parameters = inspect.signature(FUNCTIONS[op]).parameters.values()
    is_needed = [p.default is p.empty for p in parameters for _ in (args if p.kind is p.VAR_POSITIONAL else [0])]
    return [i for i, (x, needed) in enumerate(zip(args, is_needed, strict=False)) if needed and type(x) is tg.Tensor]


def refused(op: str, place: int, label: str) -> str:
    """The message of the DTypeError that a wrong value raises; it names the op."""
    args, keywords = spoiled(right_call(op, FUNCTIONS[op]), place, label)
    with pytest.raises(tg.DTypeError) as caught:
        FUNCTIONS[op](*args, **keywords)
    text = str(caught.value)
    assert text.startswith(f"{ASKED.get(op, op)}: expected "), text
    assert FORM.match(text), text
    return text


@pytest.mark.parametrize("op", tg.ops.__all__)
def test_what_is_no_tensor_is_refused_by_name(op: str) -> None:
    def check(item: tuple[int, str]) -> None:
        refused(op, *item)

    each(
        check,
        ((f"{label} as argument {place}", (place, label)) for place in tensors(op) for label in NO_TENSOR),
    )


# broadcast_arrays does not combine its arrays.
MIXED = [op for op in tg.ops.__all__ if len(tensors(op)) > 1 and op != "broadcast_arrays"]


@pytest.mark.parametrize("op", MIXED)
def test_two_dtypes_are_refused_by_name(op: str) -> None:
    """The right shapes, but one float64 among float32."""
    args, _ = right_call(op, FUNCTIONS[op])
    for place in tensors(op):
        if args[place].dtype == np.float32:
            text = refused(op, place, "float64")
            assert "float32" in text, text
            assert "float64" in text, text


@pytest.mark.parametrize("name", FUNCTIONS)
def test_several_wrong_arguments_get_an_error_of_the_library(name: str) -> None:
    f, rng = FUNCTIONS[name], np.random.default_rng(len(name))
    for _ in range(40):
        call, chosen = right_call(name, f), {}
        for place in places(name):
            if rng.random() < 0.5:
                chosen[place] = str(rng.choice(list(WRONG)))
                call = spoiled(call, place, chosen[place])
        problem = outcome(f, *call)
        if problem is not None:
            try:
                check_error(problem)
            except AssertionError as failed:
                raise AssertionError(f"{name}, {chosen}: {problem!r}") from failed


class OnDevice:
    """The attributes of a CuPy array that the library reads before it refuses one beside a NumPy array."""

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
