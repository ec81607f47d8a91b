"""Importing costs NumPy and little more."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("tokenizers", "safetensors", "tyro", "rich", "matplotlib", "torch", "cupy", "scipy", "numba", "ml_dtypes")
PACKAGES = [name for name in ("tensorgrad", "gpt") if (ROOT / name / "__init__.py").exists()]

PROBE = """
import json, sys, time
start = time.process_time()
import numpy
numpy_s = time.process_time() - start
before, options = set(sys.modules), numpy.get_printoptions()
start = time.process_time()
import PACKAGE
package_s = time.process_time() - start
assert numpy.get_printoptions() == options
print(json.dumps({"numpy_s": numpy_s, "package_s": package_s, "modules": sorted(set(sys.modules) - before)}))
"""


def probe(package: str) -> dict:
    code = PROBE.replace("PACKAGE", package)
    # If Python writes no bytecode each import compiles the sources again, for which no user waits.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.mark.parametrize("package", PACKAGES)
def test_import_loads_nothing_heavier_than_numpy(package: str) -> None:
    loaded = {name.split(".")[0] for name in probe(package)["modules"]}
    assert loaded.isdisjoint(HEAVY)
    third_party = loaded - set(sys.stdlib_module_names) - {"tensorgrad", "gpt", "numpy"}
    assert third_party == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_import_is_quick(package: str) -> None:
    """Medians of five: 0.3 s with NumPy, or on a slow machine no longer than NumPy alone takes."""
    probe(package)  # the first run writes the bytecode
    runs = [probe(package) for _ in range(5)]
    numpy_s = statistics.median(run["numpy_s"] for run in runs)
    package_s = statistics.median(run["package_s"] for run in runs)
    assert numpy_s + package_s < 0.3 or package_s < numpy_s
