"""The certificate: the checks of all public functions, as a table and a last line."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tensorgrad import ops, transforms
from tensorgrad.verify.cases import CASES
from tensorgrad.verify.checks import devices, examine
from tensorgrad.verify.findings import DERIVATIVES, LIMITS, Findings

__all__ = ["Certificate", "certify", "certify_function", "functions"]


@dataclass(frozen=True)
class Certificate:
    """The findings for each function, and how long they took."""

    findings: list[Findings]
    seconds: float

    @property
    def failed(self) -> list[Findings]:
        return [found for found in self.findings if found.failures]

    @property
    def holds(self) -> bool:
        return not self.failed

    @property
    def summary(self) -> str:
        """The last line."""
        if self.failed:
            names = ", ".join(found.op for found in self.failed)
            return f"NOT certified: {len(self.failed)} of {len(self.findings)} functions: {names}"
        worst = max((found.worst.get(column, 0.0) for found in self.findings for column in DERIVATIVES), default=0.0)
        count = sum(found.derivatives for found in self.findings)
        return (
            f"certified: {len(self.findings)} functions, {count:,} derivatives, worst {worst:.1e}, {self.seconds:.0f} s"
        )


def functions() -> list[str]:
    """The public functions that need a certificate: every op, and every function that differentiates."""
    return sorted({*ops.__all__, *transforms.__all__, "grad"})


def certify_function(name: str) -> Findings:
    """Check one function by all its cases. A function without a case fails."""
    found = examine(name, (case for case in CASES if case.op == name))
    if not found.cases:
        found.fail("no case: add one to tensorgrad.verify.cases, also for a function without derivatives")
    return found


def certify(
    names: Sequence[str] | None = None, *, processes: int = 1, report: Callable[[str], None] = print
) -> Certificate:
    """Check the functions `names`, by default all public ones, and report the findings as a table, line by line.

    With more than one process each imports the calling program: it needs `if __name__ == "__main__":`.
    """
    start = time.perf_counter()
    names = functions() if names is None else names
    report(f"{'function':34} {'cases':>6} {'derivatives':>12}" + "".join(f"{column:>9}" for column in LIMITS))
    findings = []
    for found in _examined(names, processes):
        findings.append(found)
        report(_row(found))
        for failure in found.failures[:3]:
            report(f"    {failure}")
        if len(found.failures) > 3:
            report(f"    and {len(found.failures) - 3} more")
    certificate = Certificate(findings, time.perf_counter() - start)
    report(f"devices: {', '.join(devices())}; errors are relative; of narrow dtypes, a share of what rounding explains")
    report(certificate.summary)
    return certificate


def _examined(names: Sequence[str], processes: int) -> Iterator[Findings]:
    if processes == 1:
        yield from map(certify_function, names)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(certify_function, names)


def _row(found: Findings) -> str:
    errors = "".join(f"{found.worst[c]:9.1e}" if c in found.worst else f"{'-':>9}" for c in LIMITS)
    return f"{found.op:34} {found.cases:6} {found.derivatives:12,}{errors}" + ("  FAILED" if found.failures else "")
