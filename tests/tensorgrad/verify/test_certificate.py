"""The certificate: which functions it covers and what it prints. test_certificate_of_*.py check that it holds."""

from __future__ import annotations

import re
import runpy
import sys

import pytest

import tensorgrad as tg
from tensorgrad.verify import cases, certificate, certify, functions
from tensorgrad.verify.cases import CASES
from tensorgrad.verify.findings import LIMITS, Findings
from tests.tensorgrad.verify import test_certificate_of_arrays, test_certificate_of_matrices, test_certificate_of_nn


def test_every_public_function_is_in_it_and_no_other() -> None:
    public = set(tg.ops.__all__) | set(tg.transforms.__all__) | {"grad"}
    assert public == set(functions())
    with_cases = {case.op for case in CASES}
    assert not public - with_cases, f"{sorted(public - with_cases)}: add cases to tensorgrad/verify/cases"
    assert not with_cases - public, f"{sorted(with_cases - public)}: cases of no public function"


def test_every_part_of_the_cases_is_certified_by_one_file() -> None:
    certified = [*test_certificate_of_arrays.PARTS, *test_certificate_of_matrices.PARTS, *test_certificate_of_nn.PARTS]
    assert sorted(part.__name__ for part in certified) == sorted(part.__name__ for part in cases.PARTS)


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


def test_processes_share_the_work() -> None:
    alone, shared = (certify(["abs", "sign"], processes=n, report=lambda line: None) for n in (1, 2))
    assert [found.op for found in shared.findings] == ["abs", "sign"]
    assert [found.derivatives for found in shared.findings] == [found.derivatives for found in alone.findings]
    assert shared.holds


def test_of_many_failures_a_few_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        certificate, "certify_function", lambda name: Findings(name, failures=["a", "b", "c", "d", "e"])
    )
    lines: list[str] = []
    assert not certify(["sign"], report=lines.append).holds
    assert [line.strip() for line in lines[2:6]] == ["a", "b", "c", "and 2 more"]


@pytest.mark.parametrize(("name", "status"), [("sign", 0), ("no_such_function", 1)])
def test_the_command(
    name: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["verify", "--only", name, "--processes", "1"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("tensorgrad.verify", run_name="__main__")
    assert caught.value.code == status
    assert ("NOT certified" in capsys.readouterr().out) is bool(status)
