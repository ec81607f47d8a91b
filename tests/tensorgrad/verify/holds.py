"""What the certificate must say about one function."""

from __future__ import annotations

from types import ModuleType

from tensorgrad.verify import certify_function
from tensorgrad.verify.cases import CASES
from tensorgrad.verify.findings import DERIVATIVES


def names(parts: tuple[ModuleType, ...]) -> list[str]:
    """The functions whose cases stand in these files."""
    return sorted({case.op for part in parts for case in part.table.cases})


def holds(name: str) -> None:
    """No value or derivative of the function fails, and each kind of derivative that it has was checked."""
    found = certify_function(name)
    assert not found.failures, "\n".join(found.failures[:5])
    differentiable = any(case.is_differentiable for case in CASES if case.op == name)
    assert set(DERIVATIVES) <= set(found.worst) if differentiable else set(found.worst) == {"constant"}
