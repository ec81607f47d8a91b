"""The library's errors: every wrong program gets one that names the op, what was expected and got, and what to do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import errors
from tests.tensorgrad.each import each
from tests.tensorgrad.wrong_programs import FORM, WRONG, Program


def clear_error(program: Program) -> None:
    call, kind, message = program
    with pytest.raises(kind, match=message) as caught:
        call()
    assert isinstance(caught.value, tg.TensorgradError)
    text = str(caught.value)
    assert "\n" not in text
    assert FORM.match(text), text


def test_a_wrong_program_gets_a_clear_error() -> None:
    each(clear_error, WRONG.items())


OF_SHAPES = {name: program for name, program in WRONG.items() if program[1] in (tg.ShapeError, tg.DTypeError)}
# Errors that depend on values or on memory.
VALUES_DECIDE = {"int ** -1", "ones too large", "zeros too large"}


def same_error_without_data(program: Program) -> None:
    call, kind, message = program
    with tg.abstract(), pytest.raises((kind, tg.NoValueError)) as caught:
        call()
    if isinstance(caught.value, kind):
        assert re.search(message, str(caught.value)), caught.value


def test_the_same_error_comes_where_there_is_no_data() -> None:
    each(same_error_without_data, ((name, p) for name, p in OF_SHAPES.items() if name not in VALUES_DECIDE))


def test_nothing_is_written_by_a_wrong_write() -> None:
    x = tg.tensor([1.0, 2.0, 3.0])
    for index, values in ((slice(0, 2), [7.0, 7.0, 7.0]), ([0, 5], 7.0), (0, "a"), (0, tg.ones((), dtype="float64"))):
        with pytest.raises(tg.TensorgradError):
            x[index] = values
        assert x.tolist() == [1.0, 2.0, 3.0]


def template(node: ast.expr) -> str:
    """The text of a message with X in the place of each value."""
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
    return node.value if isinstance(node, ast.Constant) else ast.unparse(node)


def raised_errors() -> Iterator[tuple[str, str]]:
    """(place, template) of every error that the library raises."""
    names = {name for name, value in vars(errors).items() if isinstance(value, type)}
    for path in sorted(Path(tg.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
                yield f"{path.name}:{node.lineno}", template(node.args[0])


def test_every_error_says_what_was_expected_what_was_got_and_what_to_do() -> None:
    found = dict(raised_errors())
    assert len(found) > 200
    unlike = {place: text for place, text in found.items() if not FORM.match(text)}
    # Files that put their messages together elsewhere.
    assert {place.split(":")[0] for place in unlike} <= {"non_finite.py", "checks.py"}, unlike


def test_values_are_shown_on_one_short_line() -> None:
    class Odd:
        def __repr__(self) -> str:
            return "odd\n" * 100

    class Worse:
        def __repr__(self) -> str:
            raise RuntimeError

    for value, text in (
        (tg.zeros((100, 100)), "Tensor of shape (100, 100) and dtype float32"),
        (np.zeros((2, 0)), "ndarray of shape (2, 0) and dtype float64"),
        ([np.zeros(2), 1], "[ndarray of shape (2,) and dtype float64, 1]"),
        (tuple(range(9)), "(0, 1, 2, 3, 4, 5, ...)"),
        ((1,), "(1,)"),
        ("a\nb", "'a\\nb'"),
        (np.float32(1.5), "np.float32(1.5)"),
        (10**5000, "some int"),
        (Worse(), "some Worse"),
    ):
        assert errors.shown(value) == text
    assert errors.shown(Odd()) == ("odd " * 100)[:60] + "..."
    assert len(errors.shown(10**400)) == 63


def test_errors_are_the_built_in_kinds_that_numpy_users_catch() -> None:
    assert issubclass(tg.ShapeError, ValueError)
    assert issubclass(tg.DTypeError, TypeError)
    assert issubclass(tg.DeviceError, RuntimeError)
    assert issubclass(tg.GraphError, RuntimeError)
    assert issubclass(tg.GradientError, AssertionError)
    assert issubclass(tg.ArgumentError, ValueError)
    assert issubclass(tg.LinAlgError, np.linalg.LinAlgError)


def test_no_half_made_state_is_left() -> None:
    def check(program: Program) -> None:
        with pytest.raises(tg.TensorgradError):
            program[0]()
        assert tg.is_recording()
        x = tg.ones((2,), dtype="float64", requires_grad=True)
        (x * x).sum().backward()
        np.testing.assert_array_equal(x.grad.numpy(), [2.0, 2.0])

    each(check, OF_SHAPES.items())


def test_a_non_finite_error_knows_where_it_was_made() -> None:
    problem = tg.NonFiniteError("log: ...", ("softmax", "log"), True, "train.py", 7)
    assert (problem.path, problem.is_backward, problem.file, problem.line) == (("softmax", "log"), True, "train.py", 7)
    assert str(problem) == "log: ..."
