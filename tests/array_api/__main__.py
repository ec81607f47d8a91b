"""python -m tests.array_api: see the package's description."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.record import ROOT, git, store
from tests import array_api
from tests.array_api import plugin

VERSION = "2024.12"


def run(suite: Path, examples: int, selection: str | None) -> dict[str, Any]:
    """Run the suite in a process of its own: the plugin's report."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        environment = {
            **os.environ,
            "ARRAY_API_TESTS_MODULE": "tensorgrad",
            "ARRAY_API_TESTS_VERSION": VERSION,
            "TENSORGRAD_ARRAY_API_RESULT": str(path),
            "PYTHONPATH": os.pathsep.join([str(suite), str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        command = [sys.executable, "-m", "pytest", "-q", "array_api_tests", "-p", "tests.array_api.plugin"]
        command += ["-p", "no:cacheprovider", "--disable-deadline", "--derandomize", f"--max-examples={examples}"]
        command += ["--tb=short", "--color=no", "--disable-warnings", "--continue-on-collection-errors"]
        command += ["-k", selection] if selection else []
        subprocess.run(command, cwd=suite, env=environment, check=False)
        return json.loads(path.read_text())


def summary(report: dict[str, Any]) -> dict[str, Any]:
    counts = Counter(report["outcomes"].values())
    ran = counts["passed"] + counts["failed"]
    named = {
        outcome: {name: report["messages"].get(name, "") for name, o in report["outcomes"].items() if o == outcome}
        for outcome in ("failed", "skipped")
    }
    return {
        "names_claimed": sum(map(len, report["claimed"].values())),
        "tests_run": ran,
        "passed": counts["passed"],
        "share": round(counts["passed"] / ran, 5) if ran else 0.0,
        "tests_that_invalid_inputs_raise": {
            name: outcome
            for name in report["refusals"]
            if (outcome := report["outcomes"].get(name, "skipped")) != "skipped"  # of a later standard
        },
        **named,
        "claimed": report["claimed"],
        "not_claimed": report["not_claimed"],
        "tests_left_out_with_them": len(report["left_out"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.array_api",
        description=array_api.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("suite", type=Path, help="a checkout of data-apis/array-api-tests with its submodule")
    parser.add_argument("--examples", type=int, default=50, help="hypothesis examples for each test")
    parser.add_argument("-k", dest="selection", help="run only the tests that match, and write no result")
    arguments = parser.parse_args()
    suite = arguments.suite.resolve()
    result = summary(run(suite, arguments.examples, arguments.selection))
    if arguments.selection is None:
        header = {
            "suite": "data-apis/array-api-tests",
            "suite_commit": git("-C", str(suite), "rev-parse", "HEAD"),
            "standard": VERSION,
            "examples_per_test": arguments.examples,
            "what_the_suite_is_told": plugin.__doc__,
        }
        path = store("array_api", {**header, **result}, ("numpy", "hypothesis", "pytest"))
        print(f"written to {path}")
    refusals = result["tests_that_invalid_inputs_raise"]
    for name, message in result["failed"].items():
        print(f"FAILED {name}: {message[:200]}")
    print(
        f"array API {VERSION}: {result['names_claimed']} names claimed, {result['tests_run']} tests run, "
        f"{result['passed']} passed, {100 * result['share']:.2f} %; of {len(refusals)} tests that invalid inputs raise "
        f"{sum(outcome == 'passed' for outcome in refusals.values())} passed"
    )


if __name__ == "__main__":
    main()
