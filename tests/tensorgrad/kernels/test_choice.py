"""Who computes the kernels: by what is installed, by what the environment asks for, and said in words."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROGRAM = """
import sys
import numpy as np
if MISSING:
    sys.modules["numba"] = None  # what Python then raises for an import of it is what it raises without it
from tensorgrad.kernels import kernels_for, providers
print(kernels_for(np.ones(1)).__name__, providers(), sep="\\n")
"""


def chosen(variable: str | None, *, missing: bool = False) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TENSORGRAD_KERNELS"}
    environment |= {} if variable is None else {"TENSORGRAD_KERNELS": variable}
    program = PROGRAM.replace("MISSING", str(missing))
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("variable", [None, "compiled"])
def test_compiled_kernels_where_numba_is(variable: str | None) -> None:
    pytest.importorskip("numba")
    module, line = chosen(variable).stdout.splitlines()
    assert module == "tensorgrad.kernels.compiled"
    assert re.fullmatch(r"kernels: numba [\d.]+; products: (oneDNN [\d.]+|NumPy \(.+\))", line)


def test_the_reference_where_it_is_asked_for_or_numba_is_missing() -> None:
    module, line = chosen("reference").stdout.splitlines()
    assert module == "tensorgrad.kernels.reference"
    assert line.startswith("kernels: NumPy, as TENSORGRAD_KERNELS asks for; products: ")
    module, line = chosen(None, missing=True).stdout.splitlines()
    assert module == "tensorgrad.kernels.reference"
    assert line.startswith("kernels: NumPy (numba: import of numba halted")


def test_what_cannot_be_had_is_an_error() -> None:
    message = chosen("numba").stderr.splitlines()[-1]
    assert "ArgumentError: TENSORGRAD_KERNELS: expected reference or compiled, got 'numba': unset it" in message
    message = chosen("compiled", missing=True).stderr.splitlines()[-1]
    assert "TENSORGRAD_KERNELS: expected numba for the compiled kernels, got none that works" in message
