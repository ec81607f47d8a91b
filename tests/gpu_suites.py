"""Runs the tests that need a GPU, in suites of a few minutes each, and writes their outcomes to a JSON file.

    python -m tests.gpu_suites training
    python -m tests.gpu_suites kernels --sanitizer memcheck
    python -m tests.gpu_suites training --device cpu      # a rehearsal: a few tests that need no GPU

With a sanitizer (memcheck, racecheck, initcheck, synccheck) the tests of our own kernels run under NVIDIA's
compute-sanitizer, if it is installed. The run fails if it finds something or takes too long. The results are
benchmarks/results/gpu_tests_*.json.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.machine import Machine
from benchmarks.record import RESULTS, ROOT

SUITES = {
    "kernels": ["tests/tensorgrad/kernels"],
    "engine": ["tests/tensorgrad", "--ignore=tests/tensorgrad/kernels"],
    "training": ["tests/gpt"],
}
REHEARSAL = ["tests/gpt/test_device.py", "-k", "stand-in and whole_model"]
# Only our own kernels: a sanitizer slows each one down a hundred times, and libraries test theirs.
SANITIZED = ["tests/tensorgrad/kernels/cuda", "-k", "not cudnn"]
SANITIZER_LIMIT_S = 510  # a part of benchmarks/gpu.sh may take nine minutes
_FOUND = 99  # compute-sanitizer's exit status if it finds something


class Outcomes:
    """A pytest plugin that collects the outcome of each test, and what the test recorded."""

    def __init__(self) -> None:
        self.tests: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.tests[report.nodeid] = {"outcome": report.outcome, "seconds": round(report.duration, 2)}
            if report.user_properties:
                self.tests[report.nodeid]["recorded"] = dict(report.user_properties)
            if report.failed:
                self.tests[report.nodeid]["problem"] = str(report.longrepr)[-2000:]


def sanitized(tool: str, arguments: list[str]) -> dict[str, Any]:
    """Run the suite in a process under compute-sanitizer: its exit status and the end of its output."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        return {"skipped": "compute-sanitizer is not installed"}
    command = [program, "--tool", tool, "--error-exitcode", str(_FOUND), sys.executable, "-m", "pytest", *arguments]
    try:
        done = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SANITIZER_LIMIT_S, check=False
        )
        status, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired as late:
        status, output = f"none within {SANITIZER_LIMIT_S} seconds", late.output or b""
    end = output.decode(errors="replace")[-4000:]
    print(end, flush=True)
    return {"command": command, "exit_status": status, "output_end": end}


def main() -> None:
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("--sanitizer", choices=("memcheck", "racecheck", "initcheck", "synccheck"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--small",
        action="store_true",
        help="for benchmarks/gpu.sh: a rehearsal is always small",
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    is_rehearsal = options.device == "cpu"
    arguments = ["-q", "-p", "no:cacheprovider"]
    suite = SANITIZED if options.sanitizer else SUITES[options.suite]
    arguments += REHEARSAL if is_rehearsal else ["-m", "gpu", *suite]
    machine = Machine(options.device, is_small=is_rehearsal)
    name = f"gpu_tests_{options.suite}"
    if options.sanitizer:
        result = sanitized(options.sanitizer, arguments)
        machine.store(f"{name}_{options.sanitizer}", result, options.results)
        sys.exit(1 if result.get("exit_status") else 0)
    outcomes = Outcomes()
    status = pytest.main([*arguments, f"--rootdir={ROOT}"], plugins=[outcomes])
    counts: dict[str, int] = {}
    for test in outcomes.tests.values():
        counts[test["outcome"]] = counts.get(test["outcome"], 0) + 1
    machine.store(name, {"arguments": arguments, "counts": counts, "tests": outcomes.tests}, options.results)
    sys.exit(int(status))


if __name__ == "__main__":
    main()
