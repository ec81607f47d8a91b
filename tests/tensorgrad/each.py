"""One test over many cases: every case is checked, and the failure names each case that failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import pytest

import tensorgrad as tg
from tensorgrad.verify.case import Case
from tensorgrad.verify.cases import CASES

T = TypeVar("T")

MOST_LINES = 12

# The certificate's cases of each op.
CASES_OF: dict[str, list[Case]] = {op: [case for case in CASES if case.op == op] for op in tg.ops.__all__}


def each(check: Callable[[T], None], items: Iterable[tuple[str, T]]) -> None:
    """Call `check` on every (name, item); raise one AssertionError that lists the names with what went wrong."""
    failed: list[tuple[str, BaseException]] = []
    for name, item in items:
        try:
            check(item)
        except (Exception, pytest.fail.Exception) as problem:
            failed.append((name, problem))
    if failed:
        lines = [f"{name}: {type(problem).__name__}: {problem}" for name, problem in failed[:MOST_LINES]]
        left = [f"and {len(failed) - MOST_LINES} more"] if len(failed) > MOST_LINES else []
        raise AssertionError("\n".join([f"{len(failed)} failed", *lines, *left])) from failed[0][1]


def each_case(check: Callable[[Case], None], cases: Iterable[Case]) -> None:
    """`each` over cases of the certificate."""
    each(check, ((case.name, case) for case in cases))
