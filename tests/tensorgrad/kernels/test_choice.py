"""Which kernels compute: the choice by what is installed and by the environment, and its description."""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from typing import Any

import numpy as np
import pytest

from tensorgrad import kernels
from tensorgrad.errors import ArgumentError, DeviceError
from tensorgrad.kernels import Kernels, cuda, reference

choose = kernels.cpu_kernels.__wrapped__  # anew: its result is kept for the process


@pytest.fixture
def without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python raises the same error for a module that is None as for one that is missing."""
    for name in [name for name in sys.modules if name.startswith("tensorgrad.kernels.compiled")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(kernels, "compiled", raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)


@pytest.mark.parametrize("variable", ["", "compiled"])
def test_compiled_kernels_where_numba_is(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    compiled = pytest.importorskip("tensorgrad.kernels.compiled", exc_type=ImportError)
    monkeypatch.setenv("TENSORGRAD_KERNELS", variable)
    found, description = choose()
    assert found is compiled
    assert re.fullmatch(r"numba [\d.]+\w*", description)


def test_the_reference_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSORGRAD_KERNELS", "reference")
    assert choose() == (reference, "NumPy, as TENSORGRAD_KERNELS asks for")


@pytest.mark.usefixtures("without_numba")
def test_the_reference_where_numba_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TENSORGRAD_KERNELS", raising=False)
    found, description = choose()
    assert found is reference
    assert description.startswith("NumPy (numba: import of numba halted")
    monkeypatch.setenv("TENSORGRAD_KERNELS", "compiled")
    with pytest.raises(ArgumentError, match=r"KERNELS: expected numba for the compiled kernels, got none that works"):
        choose()


def test_the_reference_where_a_kernel_is_wrong_or_none_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = pytest.importorskip("tensorgrad.kernels.compiled", exc_type=ImportError)
    monkeypatch.delenv("TENSORGRAD_KERNELS", raising=False)

    def failing(x: np.ndarray) -> np.ndarray:
        raise RuntimeError("no linker")

    for silu, reason in ((np.negative, "a kernel computed something wrong"), (failing, "does not compile: no linker")):
        monkeypatch.setattr(compiled, "silu", silu)
        monkeypatch.setattr(compiled, "problem", compiled.problem.__wrapped__)
        found, description = choose()
        assert found is reference
        assert reason in description
        monkeypatch.undo()


def test_another_value_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSORGRAD_KERNELS", "numba")
    with pytest.raises(ArgumentError, match=r"KERNELS: expected reference or compiled, got 'numba': unset it"):
        choose()


def test_one_line_names_what_computes() -> None:
    assert re.fullmatch(r"kernels: (numba|NumPy).*; products: (oneDNN [\d.]+|NumPy \(.+\))", kernels.implementations())


@pytest.mark.parametrize("name", ["reference", "compiled", "cuda"])
def test_every_set_has_every_kernel_and_its_own_before_the_reference_s(name: str) -> None:
    found = pytest.importorskip(f"tensorgrad.kernels.{name}", exc_type=ImportError)
    kernels = [kernel for kernel in vars(Kernels) if not kernel.startswith("_")]
    assert all(callable(getattr(found, kernel, None)) for kernel in kernels)
    for file in pkgutil.iter_modules(found.__path__):
        module = importlib.import_module(f"tensorgrad.kernels.{name}.{file.name}")
        for kernel in set(kernels) & set(vars(module).get("__all__", ())):
            assert getattr(found, kernel) is getattr(module, kernel)


def test_cuda_kernels_that_compute_wrongly_are_not_used(cupy_kernels: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernels.cuda_kernels() is cuda
    monkeypatch.setattr(cuda, "softmax", lambda x: x)
    with pytest.raises(DeviceError, match="softmax of known numbers"):
        kernels._tried_cuda()
