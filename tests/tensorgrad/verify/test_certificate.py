"""The certificate holds, function by function; and it says so, or not, in its last line."""

from __future__ import annotations

import re

import pytest

import tensorgrad as tg
from tensorgrad.verify import certify, certify_function, functions
from tensorgrad.verify.cases import CASES
from tensorgrad.verify.findings import DERIVATIVES, LIMITS


@pytest.mark.parametrize("name", functions())
def test_values_and_derivatives(name: str) -> None:
    found = certify_function(name)
    assert not found.failures, "\n".join(found.failures[:5])
    differentiable = any(case.is_differentiable for case in CASES if case.op == name)
    assert set(DERIVATIVES) <= set(found.worst) if differentiable else set(found.worst) == {"constant"}


def test_every_public_function_is_in_it_and_no_other() -> None:
    assert set(tg.ops.__all__) | set(tg.transforms.__all__) | {"grad"} == set(functions())
    assert {case.op for case in CASES} == set(functions())


def test_the_table_and_the_last_line() -> None:
    lines: list[str] = []
    certificate = certify(["multiply", "sign"], report=lines.append)
    assert certificate.holds
    assert [line.split()[0] for line in lines[1:3]] == ["multiply", "sign"]
    assert len({len(line) for line in lines[:3]}) == 1
    assert all(column in lines[0] for column in LIMITS)
    assert re.fullmatch(r"certified: 2 functions, [\d,]+ derivatives, worst \d\.\de-\d\d, \d+ s", lines[-1])


def test_a_function_without_a_case_is_not_certified() -> None:
    lines: list[str] = []
    certificate = certify(["sign", "no_such_function"], report=lines.append)
    assert not certificate.holds
    assert "no_such_function: no case: add one to tensorgrad.verify.cases" in lines[3]
    assert lines[-1] == "NOT certified: 1 of 2 functions: no_such_function"
