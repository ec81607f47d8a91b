"""Which public functions a place in the sources serves, the nearest first."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

from tests.faults.sources import PACKAGE, Fault

__all__ = ["mirrored_tests", "nearest"]

# What stands for the engine: sums of cotangents, scattered ones, joint vjps, recomputation, higher orders.
ENGINE = ("multiply", "getitem", "index_add", "recompute", "layer_norm", "hvp", "jacobian", "jvp", "grad", "vjp")
MOST = 40


def nearest(fault: Fault) -> list[str]:
    """The function with the fault and the functions that use it, in order of the number of calls between them."""
    ranked = [fault.function.split(".")[0]]
    for name in ranked:
        ranked += [user for user in sorted(_users().get(name, ())) if user not in ranked]
        if len(ranked) > MOST or _is_engine(fault):
            break
    return [*ranked, *(name for name in ENGINE if name not in ranked)]


@functools.cache
def _users() -> dict[str, set[str]]:
    """For each name, the functions that mention it."""
    users: dict[str, set[str]] = {}
    for path in [*PACKAGE.glob("ops/**/*.py"), *PACKAGE.glob("kernels/reference/*.py"), PACKAGE / "transforms.py"]:
        for function in ast.parse(path.read_text()).body:
            if isinstance(function, (ast.FunctionDef, ast.ClassDef)):
                for node in ast.walk(function):
                    used = getattr(node, "id", getattr(node, "attr", None))
                    users.setdefault(str(used), set()).add(function.name)
    return users


def _is_engine(fault: Fault) -> bool:
    return "/" not in fault.path


def mirrored_tests(fault: Fault) -> list[str]:
    """The test files that mirror the file with the fault, or its package."""
    tests = PACKAGE.parent / "tests" / "tensorgrad"
    path = Path(fault.path)
    found = [tests / path.parent / f"test_{path.stem}.py", *(tests / path.parent).glob(f"test_{path.stem}_*.py")]
    found += [tests / path.parent.parent / f"test_{path.parent.name}.py"] if len(path.parts) > 2 else []
    if _is_engine(fault):
        found += [tests / f"test_{name}.py" for name in ("graphs", "tape", "transforms", "tensor", "writes")]
    if path.parts[:2] in (("ops", "nn"), ("kernels", "reference")):
        names = (f"ops/nn/test_{path.stem}.py", "ops/nn/test_definitions.py", "test_accuracy.py")
        found += [tests / name for name in names]
    return [str(test) for test in dict.fromkeys(found) if test.exists()]
