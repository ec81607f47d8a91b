"""Planted faults: a sample of them is noticed, and each fault changes what it says it changes."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys

import pytest

from tests.faults.equivalent import EQUIVALENT
from tests.faults.reach import mirrored_tests, nearest
from tests.faults.sources import PACKAGE, ROOT, enumerate_faults

FAULTS = enumerate_faults()
SAMPLE = 20


@pytest.mark.faults
def test_a_sample_of_planted_faults_is_noticed() -> None:
    command = [sys.executable, "-m", "tests.faults", "--sample", str(SAMPLE), "--stages", "nearest", "mirrored"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    noticed = re.search(r"^(\d+) of (\d+) faults noticed", result.stdout, re.MULTILINE)
    assert noticed, result.stdout + result.stderr
    assert noticed[1] == noticed[2], result.stdout
    assert int(noticed[2]) > SAMPLE / 2


def test_there_are_many_and_of_every_kind_in_every_file_that_has_gradients() -> None:
    assert len(FAULTS) >= 200
    assert len({fault.id for fault in FAULTS}) == len({fault.source for fault in FAULTS}) == len(FAULTS)
    assert {
        "sign",
        "factor or offset",
        "dropped term",
        "dropped factor",
        "missing un-broadcast",
        "swapped operands",
        "transposed",
        "wrong axis",
        "wrong dtype",
        "wrong comparison",
        "wrong branch",
        "keepdims",
        "order reversed",
        "output for input",
        "lost history",
    } == {fault.kind for fault in FAULTS}
    with_gradients = {
        path.relative_to(PACKAGE).as_posix() for path in PACKAGE.glob("ops/**/*.py") if "lambda g" in path.read_text()
    }
    assert with_gradients <= {fault.path for fault in FAULTS}


def test_each_is_a_program_that_differs_in_one_place() -> None:
    for fault in FAULTS[:: len(FAULTS) // 100]:
        ast.parse(fault.source)
        original = (PACKAGE / fault.path).read_text().splitlines()
        wrong = fault.source.splitlines()
        changed = [i for i, (a, b) in enumerate(zip(original, wrong, strict=False), 1) if a != b]
        assert changed[0] >= fault.line
        assert original[: fault.line - 1] == wrong[: fault.line - 1]


def test_the_nearest_functions_are_those_that_use_the_place() -> None:
    by_place = {(fault.path, fault.function): fault for fault in FAULTS}
    assert nearest(by_place["ops/elementwise/arithmetic.py", "multiply.<lambda>"])[0] == "multiply"
    assert "gelu" in nearest(by_place["kernels/reference/activation.py", "gelu_gradient"])[:5]
    assert "recompute" in nearest(by_place["backward.py", "_step_back"])
    (tests,) = mirrored_tests(by_place["ops/index.py", "getitem.<lambda>"])
    assert tests.endswith("tests/tensorgrad/ops/test_index.py")


def test_what_is_called_equivalent_is_still_there_and_has_a_reason() -> None:
    assert set(EQUIVALENT) <= {fault.id for fault in FAULTS}
    assert all(len(reason) > 20 for reason in EQUIVALENT.values())


def test_the_last_campaign_noticed_nearly_all() -> None:
    result = json.loads((ROOT / "benchmarks" / "results" / "faults.json").read_text())
    assert result["faults"] >= 200
    assert result["noticed"] >= 0.98 * result["faults"]
    assert len(result["survivors"]) == result["faults"] - result["noticed"]
