"""The certificate refuses wrong ops, in messages that name op, case, input and element."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.tape import data
from tensorgrad.verify import checks
from tensorgrad.verify.case import Table, draw
from tensorgrad.verify.checks import examine
from tensorgrad.verify.findings import DERIVATIVES, Findings, elements

SHAPES = "2x3 3"


def findings(f: Callable[..., Any], expected: Callable[..., Any] = np.multiply, **options: Any) -> Findings:
    table = Table()
    table.case("wrong", f, expected, options.pop("shapes", SHAPES), **options)
    return examine("wrong", table.cases)


def times(vjp_x: Callable[..., Any], vjp_y: Callable[..., Any] | None = None) -> Callable[..., tg.Tensor]:
    """x * y with planted gradients."""

    def wrong(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        back = right_y if vjp_y is None else vjp_y
        return tg.record(x.data * y.data, (x, lambda g: vjp_x(g, x, y)), (y, lambda g: back(g, x, y)))

    return wrong


def right_x(g: Any, x: Any, y: Any) -> Any:
    return g * y


def right_y(g: Any, x: Any, y: Any) -> Any:
    return tg.sum(g * x, axis=0)


def test_what_is_right_passes() -> None:
    found = findings(times(right_x))
    assert not found.failures
    assert all(found.worst[column] < 1e-10 for column in DERIVATIVES)
    # Each of five layouts compares the Jacobian twice, the gradient twice, the second and the third order.
    assert found.derivatives == 5 * (2 * 6 * 9 + 2 * 9 + 9 * 9 + 9)


def at_one_element(g: Any, x: Any, y: Any) -> Any:
    factor = np.ones((2, 3), g.dtype)
    factor[1, 2] += 1e-6
    return g * y * factor


def where_small(g: Any, x: Any, y: Any) -> Any:
    """Wrong in one element that is a millionth of the others."""
    factor = np.ones((2, 3), g.dtype)
    factor[0, 0] = 1.001
    return g * y * factor


ORDERS = {
    "sign": (lambda g, x, y: -g * y, None, "an error of 2 where 1e-07 is allowed"),
    "factor": (lambda g, x, y: g * y * (1 + 1e-6), None, "vjp: output"),
    "offset": (lambda g, x, y: g * y + 1e-6, None, "vjp: output"),
    "missing un-broadcast": (right_x, lambda g, x, y: g * x, "ShapeError"),
    "un-broadcast by a choice": (right_x, lambda g, x, y: (g * x)[0], "vjp: output[1, 0] by input 1[0]"),
    "transposed": (lambda g, x, y: tg.reshape(tg.permute_dims(g * y, (1, 0)), (2, 3)), None, "vjp: output"),
    "reversed": (lambda g, x, y: tg.flip(g * y, axis=1), None, "vjp: output"),
    "one element": (at_one_element, None, "vjp: output[1, 2] by input 0[1, 2]"),
    "not a number": (lambda g, x, y: g * y * math.nan, None, "an error of inf"),
    "not linear": (lambda g, x, y: g * g * y, None, "gradient: input 0["),
    "without history": (lambda g, x, y: g * data(y), None, "second order: input 0[0, 0] by input 1[0]"),
    "recorded only": (
        lambda g, x, y: g * y * (1.5 if type(g) is tg.Tensor else 1.0),
        None,
        "gradient with create_graph: input 0",
    ),
    "a cotangent's history": (lambda g, x, y: data(g) * y, None, "jvp: output[0, 0] by input 0[0, 0]"),
}


@pytest.mark.parametrize(("vjp_x", "vjp_y", "message"), ORDERS.values(), ids=ORDERS)
def test_refuses_a_gradient_that_is_wrong(vjp_x: Any, vjp_y: Any, message: str) -> None:
    failures = findings(times(vjp_x, vjp_y)).failures
    assert failures[0].startswith("wrong: case wrong:2x3-3, contiguous")
    assert message in "\n".join(failures)


def test_a_small_wrong_element_does_not_hide_behind_a_large_right_one() -> None:
    def wrong(x: tg.Tensor) -> tg.Tensor:
        sizes = np.array([1.0, 1e6, 1e-6]).astype(x.dtype)
        return tg.record(x.data * sizes, (x, lambda g: g * (sizes * np.array([1, 1, 1.1]).astype(x.dtype))))

    failures = findings(wrong, lambda x: x * np.array([1.0, 1e6, 1e-6]), shapes="3").failures
    assert "vjp: output[2] by input[2]: expected 1e-06, got 1.1e-06" in failures[0]


def wrong_at_order(order: int, factor: float, x: Any) -> Any:
    """exp(x) with the derivative of one order off by a factor."""
    scale = factor if order == 0 else 1.0
    return tg.record(np.exp(data(x)) * scale, (x, lambda g: g * wrong_at_order(order - 1, factor, x)))


@pytest.mark.parametrize(("order", "name"), [(1, "vjp"), (2, "second order"), (3, "third order")])
def test_refuses_what_is_wrong_only_at_one_order(order: int, name: str) -> None:
    assert not findings(lambda x: wrong_at_order(order, 1.0, x), np.exp, shapes="3").failures
    failures = findings(lambda x: wrong_at_order(order, 1 + 1e-5, x), np.exp, shapes="3").failures
    assert f"contiguous float64 on cpu, {name}: " in failures[0]
    earlier = {2: ("vjp:", "jvp:", "gradient:"), 3: ("vjp:", "jvp:", "gradient:", "second order:")}.get(order, ())
    assert not any(word in failure for failure in failures for word in earlier)


def test_refuses_a_linear_function_whose_gradient_has_no_gradient() -> None:
    def double(x: Any) -> Any:
        return tg.record(data(x) * 2, (x, lambda g: halfway(g)))

    def halfway(g: Any) -> Any:
        return tg.record(data(g) * 2, (g, lambda h: data(h) * 2))

    failures = findings(double, lambda x: 2 * x, shapes="3").failures
    assert "third order: input[" in failures[0]


def test_refuses_what_is_wrong_only_where_memory_is_not_contiguous() -> None:
    def in_memory_order(g: Any, x: Any, y: Any) -> Any:
        return g * tg.sum(y) if not data(y).flags.c_contiguous else g * y

    failures = findings(times(in_memory_order)).failures
    assert failures
    assert "wrong: case wrong:2x3-3, reversed float64 on cpu, vjp: output[" in failures[0]
    assert not any("contiguous" in failure for failure in failures)
    # The cotangent's own memory counts as well.
    failures = findings(times(lambda g, x, y: g * y if data(g).flags.c_contiguous else -g * y)).failures
    assert any("expanded float64 on cpu, gradient: input 0[" in f for f in failures)


@pytest.mark.parametrize("column", ["value", "gradient"])
def test_refuses_a_float32_that_is_less_exact_than_it_could_be(column: str) -> None:
    def wrong(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        off = 1 + (3e-5 if x.dtype == np.float32 else 0)
        scales = (off, 1) if column == "value" else (1, off)
        return tg.record(x.data * y.data * scales[0], (x, lambda g: g * y * scales[1]), (y, lambda g: right_y(g, x, y)))

    failures = findings(wrong).failures
    assert failures
    assert f"contiguous float32 on cpu, {column}: " in failures[0]
    assert all("float32 on cpu" in failure for failure in failures)


def test_refuses_a_float32_of_another_dtype() -> None:
    def wide(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        return tg.record((x.data * y.data).astype(np.float64), (x, lambda g: g * y), (y, lambda g: right_y(g, x, y)))

    failures = findings(wide).failures
    assert "contiguous float32 on cpu: expected a result of dtype float32, got float64" in failures[0]
    failures = findings(times(lambda g, x, y: (g * y).astype(np.float64))).failures
    assert "contiguous float32 on cpu: raised DTypeError: backward: expected the vjp of times" in failures[0]


def test_refuses_a_value_that_is_wrong() -> None:
    failures = findings(lambda x, y: x * y + 1e-9).failures
    assert "float64 on cpu, value: output[" in failures[0]
    assert "1e-10 is allowed" in failures[0]
    failures = findings(lambda x, y: tg.reshape(x * y, (3, 2))).failures
    assert (
        "contiguous: raised GradientError: expected a Tensor of shape (2, 3) that needs a gradient, got" in failures[0]
    )
    failures = findings(lambda x, y: tg.asarray(x.data * y.data)).failures
    assert "expected a Tensor of shape (2, 3) that needs a gradient" in failures[0]


def test_refuses_one_tensor_as_every_input_where_that_is_wrong() -> None:
    def wrong(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        return x * y if x is not y else x * tg.asarray(y.data)

    assert not findings(wrong, shapes="2 2").failures
    failures = findings(wrong, shapes="2 2", same="2").failures
    assert failures[0].startswith("wrong: case wrong:2-2 of one tensor, contiguous float64 on cpu, vjp: output[")


def test_refuses_an_input_that_is_written_to() -> None:
    def wrong(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        out = x * y
        if x.dtype == np.float32:
            x.data[0, 0] = 3
        return out

    assert any(failure.endswith("float32 on cpu: an input was written to") for failure in findings(wrong).failures)


def test_refuses_a_warning() -> None:
    failures = findings(lambda x, y: x * y + tg.asarray(np.zeros((), x.dtype) / np.zeros((), x.dtype)) * 0).failures
    assert "raised RuntimeWarning: invalid value" in failures[0]


def test_a_constant_must_be_one_and_be_exact() -> None:
    def check(f: Callable[[tg.Tensor], Any]) -> list[str]:
        return findings(f, np.sign, shapes="3", is_differentiable=False).failures

    assert not check(tg.sign)
    assert "expected a Tensor of shape (3,) that is a constant" in check(lambda x: x * 0 + tg.sign(x))[0]
    assert "value: output[0]" in check(lambda x: tg.sign(x) + 1e-6)[0]
    assert "expected a Tensor of shape (3,) that is a constant, got ndarray" in check(lambda x: np.sign(x.data))[0]


def test_another_device_is_compared_with_the_truth_and_with_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere(str):
        """The CPU under another name: `to_device` takes it for the CPU, the checks for another device."""

        __slots__ = ()

        def partition(self, separator: str) -> tuple[str, str, str]:
            return "cpu", "", ""

    monkeypatch.setattr(checks, "devices", lambda: ["cpu", Elsewhere("elsewhere")])
    calls = 0

    def unsteady(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        nonlocal calls
        calls += 1
        return x * y * (1 + 1e-9 * calls)

    assert findings(tg.multiply).worst["device"] == 0.0
    failures = findings(unsteady, lambda x, y: x * y).failures
    assert any("on elsewhere, value against the cpu: element[" in failure for failure in failures)


def test_a_refused_dtype_is_a_finding_unless_it_is_narrow() -> None:
    def refusing(*names: str) -> list[str]:
        def f(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
            if x.dtype.name in names:
                raise tg.DTypeError("no")
            return x * y

        return findings(f).failures

    assert not refusing("float16")
    assert any("float32 on cpu: raised DTypeError: no" in failure for failure in refusing("float32"))


def test_a_cuda_device_is_one_to_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "cuda_module", lambda: None)
    assert checks.devices() == ["cpu", "cuda"]


def test_derivatives_of_another_shape_are_a_finding() -> None:
    found = Findings("op")
    found.compare("vjp", "here", np.zeros((2, 3)), np.zeros((2, 2)), np.ones((2, 2)))
    assert found.failures == ["op: here: expected (2, 2) elements, got (2, 3)"]
    assert not found.derivatives


def test_elements_are_named() -> None:
    name = elements("input", (2,), (), (1, 2))
    assert [name(i) for i in range(5)] == ["input 0[0]", "input 0[1]", "input 1", "input 2[0, 0]", "input 2[0, 1]"]
    with pytest.raises(IndexError):
        name(5)


def test_an_unknown_domain_is_refused() -> None:
    with pytest.raises(ValueError, match="case: no domain 'rational'"):
        draw("rational", (2,), np.random.default_rng(0))


def test_ties_are_measured_too() -> None:
    """Where differences do not see a tie broken, the truth is the same numbers in plain memory."""
    options: dict[str, Any] = {"shapes": "2x3", "domain": "distinct"}

    def largest(x: tg.Tensor, wrong: float) -> tg.Tensor:
        a = data(x)
        is_largest = np.arange(3) == a.argmax(axis=1)[:, None]
        factor = wrong if 0 in a.strides else 1.0
        return tg.record(
            a.max(axis=1), (x, lambda g: tg.expand_dims(g, axis=1) * (factor * is_largest).astype(a.dtype))
        )

    assert not findings(lambda x: largest(x, 1.0), lambda x: x.max(axis=1), **options).failures
    failures = findings(lambda x: largest(x, 1.01), lambda x: x.max(axis=1), **options).failures
    assert failures
    assert all("expanded" in failure for failure in failures)


def test_an_input_that_changes_nothing_has_derivatives_of_zero() -> None:
    for found in (
        findings(lambda x, y: x * 2.0, lambda x, y: x * 2.0),
        findings(lambda x: tg.matrix_power(x, 0), lambda x: np.eye(2), shapes="2x2"),
    ):
        assert not found.failures
        assert all(found.worst[column] < 1e-9 for column in DERIVATIVES)
