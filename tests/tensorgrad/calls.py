"""The calls of public functions that the certificate's cases make: with these arguments each function works.

The oracle compares them with PyTorch, and the argument fuzz spoils them one argument at a time.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.tape import leaf
from tensorgrad.verify import cases
from tensorgrad.verify.case import Case


@dataclass(frozen=True)
class Call:
    """Positional and named arguments of one call, and the case that makes it."""

    case: str
    args: tuple[Any, ...]
    keywords: dict[str, Any]
    domain: str | tuple[str, ...] = "any"

    @property
    def count(self) -> int:
        """How many arguments it gives."""
        return len(self.args) + len(self.keywords)


class _Recorder(ModuleType):
    """`tensorgrad`, in which the calls of one function are noted."""

    def __init__(self) -> None:
        super().__init__("tensorgrad")
        self.op = ""
        self.found: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        function = getattr(tg, name)
        if name not in tg.ops.__all__:
            return function

        @functools.wraps(function)
        def noted(*args: Any, **keywords: Any) -> Any:
            if name == self.op:
                self.found.append((args, keywords))
            return function(*args, **keywords)

        return noted


def _copies(recorder: _Recorder) -> Iterator[Case]:
    """The cases once more, from copies of their files for which `tensorgrad` is the recorder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "tensorgrad", recorder)
        for part in cases.PARTS:
            assert part.__file__ is not None
            spec = importlib.util.spec_from_file_location(f"recorded.{part.__name__}", part.__file__)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            yield from module.table.cases


@functools.cache
def _recorder() -> tuple[_Recorder, dict[str, list[Case]]]:
    recorder, found = _Recorder(), dict[str, list[Case]]()
    for case in _copies(recorder):
        found.setdefault(case.op, []).append(case)
    return recorder, found


def calls(op: str, dtype: str = "float64") -> list[Call]:
    """The calls of `op` in its cases, on inputs of `dtype`."""
    recorder, copies = _recorder()
    found = []
    for case in copies.get(op, []):
        recorder.op, recorder.found = op, []
        with pytest.MonkeyPatch.context() as patch:
            if op == "getitem":  # written with brackets
                patch.setattr(tg.Tensor, "__getitem__", lambda x, index: recorder.getitem(x, index))
            case.f(*(leaf(x.astype(dtype)) for x in case.inputs()))
        found += [Call(case.name, args, keywords, case.domain) for args, keywords in recorder.found]
    return found


def mapped(f: Callable[[Any], Any], value: Any) -> Any:
    """The value with f of each tensor and array in it, inside lists, tuples and dicts too."""
    if isinstance(value, (tg.Tensor, np.ndarray)):
        return f(value)
    if isinstance(value, dict):
        return {key: mapped(f, part) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(mapped(f, part) for part in value)
    return value
