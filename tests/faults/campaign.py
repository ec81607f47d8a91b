"""Planting each fault and running the checks on it, cheapest first, two at a time.

A fault is planted in a fork of this process, which has imported the package and the tests' tools: the rewritten source
is compiled, and the function's code in memory is replaced by that of its wrong version. No file is touched, nothing is
imported again, and most faults are noticed within a tenth of a second.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any, NoReturn

import hypothesis  # noqa: F401  imported before the forks, once for all
import pytest

from tensorgrad.verify import certify_function, functions
from tensorgrad.verify.findings import Findings
from tests.faults.reach import mirrored_tests, nearest
from tests.faults.sources import PACKAGE, ROOT, Fault

__all__ = ["STAGES", "Outcome", "campaign", "check_the_checks", "plant"]

NEAREST = 3  # functions to certify first
MEMORY_BYTES = 16 << 30


@dataclass(frozen=True)
class Outcome:
    """The stage that noticed a fault, and the message or test that did; both are empty for a survivor."""

    fault: Fault
    stage: str
    by: str
    seconds: float

    @property
    def survived(self) -> bool:
        return not self.stage


def check_the_checks(faults: Sequence[Fault]) -> None:
    """Raise RuntimeError if tests fail without a fault: they would seem to notice every fault."""
    paths = sorted({path for fault in faults for path in mirrored_tests(fault)})
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        _quiet()
        try:
            found = _pytest(paths)
        except BaseException as problem:
            found = f"{type(problem).__name__}: {problem}"
        os.write(write, found.encode()[:1000])
        os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    if found := os.read(read, 1000).decode():
        raise RuntimeError(f"faults: expected tests that pass where nothing is planted, got {found}: mend them first")


def campaign(faults: Sequence[Fault], *, stages: Sequence[str], processes: int = 2) -> Iterator[Outcome]:
    """Yield the outcome of each fault as soon as it is known."""
    waiting = list(reversed(faults))
    busy: dict[int, tuple[Fault, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        while waiting or busy:
            while waiting and len(busy) < processes:
                fault = waiting.pop()
                nearest(fault)  # reads the sources once, before the forks
                pid = os.fork()
                if not pid:
                    _run(fault, stages, Path(folder))
                busy[pid] = fault, time.perf_counter()
            pid, status = os.wait()
            if pid in busy:
                fault, since = busy.pop(pid)
                report = Path(folder) / str(pid)
                stage, by = json.loads(report.read_text()) if status else ("", "")
                report.unlink(missing_ok=True)
                yield Outcome(fault, stage, by, time.perf_counter() - since)


def plant(fault: Fault) -> None:
    """Replace the code of the function that contains the fault, in this process."""
    name = fault.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    found: Any = importlib.import_module(f"tensorgrad.{name}")
    code = compile(fault.source, str(PACKAGE / fault.path), "exec")
    for part in fault.outermost:
        found = vars(found)[part]
        code = next(c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == part)
    inspect.unwrap(found).__code__ = code


def _run(fault: Fault, stages: Sequence[str], folder: Path) -> NoReturn:
    """In the fork: plant the fault and run each stage. Exit with 0 for a survivor, else with 1 and a report."""

    def report(stage: str, by: str) -> None:
        (folder / str(os.getpid())).write_text(json.dumps([stage, by.strip().splitlines()[0][:300]]))

    stage = "plant"
    try:
        _quiet()
        plant(fault)
        for stage in stages:
            check, seconds = STAGES[stage]
            signal.alarm(seconds)
            report(stage, "hangs")  # stays if the alarm ends this process
            if by := check(fault):
                report(stage, by)
                os._exit(1)
        os._exit(0)
    except BaseException as problem:
        report(stage, f"{type(problem).__name__}: {problem}")
        os._exit(1)


def _quiet() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.chdir(ROOT)
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


class _Noticed(BaseException):
    """Not an Exception: the certificate would record that and go on."""


def _certify(names: Sequence[str]) -> str:
    def noticed(self: Any, message: str) -> NoReturn:
        raise _Noticed(f"{self.op}: {message}")

    Findings.fail = noticed  # type: ignore[method-assign]
    for name in names:
        try:
            certify_function(name)
        except _Noticed as found:
            return str(found)
    return ""


def _certify_nearest(fault: Fault) -> str:
    return _certify([name for name in nearest(fault) if name in functions()][:NEAREST])


def _certify_all(fault: Fault) -> str:
    return _certify([*dict.fromkeys(name for name in [*nearest(fault), *functions()] if name in functions())][NEAREST:])


def _pytest(paths: Sequence[str]) -> str:
    class First:
        failed = ""

        def pytest_runtest_logreport(self, report: Any) -> None:
            if report.failed and not self.failed:
                self.failed = report.nodeid

    first = First()
    # hypothesis is imported before pytest can rewrite its asserts: a warning, and so an error.
    early = "-Wignore::pytest.PytestAssertRewriteWarning"
    options = ["-x", "-q", "-p", "no:cacheprovider", early, f"--rootdir={ROOT}"]
    code = pytest.main([*options, *paths], plugins=[first])
    return (
        "" if code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED) else first.failed or f"pytest: {code!r}"
    )


def _mirrored(fault: Fault) -> str:
    paths = mirrored_tests(fault)
    return _pytest(paths) if paths else ""


def _tests(fault: Fault) -> str:
    tests = ROOT / "tests" / "tensorgrad"
    return _pytest([str(tests), f"--ignore-glob={tests / 'verify' / 'test_certificate*.py'}"])


# The stages in order, each with the seconds after which a fault counts as hanging: ten times the usual time.
STAGES: dict[str, tuple[Callable[[Fault], str], int]] = {
    "nearest": (_certify_nearest, 300),
    "mirrored": (_mirrored, 300),
    "certificate": (_certify_all, 900),
    "tests": (_tests, 1200),
}
