"""`cupy.linalg`: NumPy's, whose failures are nan unless `cupyx.errstate(linalg="raise")` asks for an error."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tests.cupy_stand_in.array import call, ndarray, wrapped
from tests.cupy_stand_in.surface import SURFACE
from tests.cupy_stand_in.syncs import synchronised

__all__ = ["LINALG", "errstate"]

_linalg: contextvars.ContextVar[str] = contextvars.ContextVar("_linalg", default="ignore")


@contextmanager
def errstate(*, linalg: str | None = None) -> Iterator[None]:
    """`cupyx.errstate`: "raise" looks at every status, and so waits for the device."""
    token = _linalg.set(linalg or "ignore")
    try:
        yield
    finally:
        _linalg.reset(token)


def _function(name: str, parameters: list[str] | None) -> Callable[..., Any]:
    base = getattr(np.linalg, name)

    def function(*args: Any, **keywords: Any) -> Any:
        for keyword in keywords:
            if parameters is not None and keyword not in parameters:
                raise TypeError(f"{name}() got an unexpected keyword argument {keyword!r}")
        a = args[0]
        if type(a) is not ndarray:
            raise np.linalg.LinAlgError("cupy.linalg only supports cupy.ndarray")
        if a.dtype.itemsize == 2:
            raise TypeError("float16 is unsupported in linalg")
        if name == "solve" and a.shape[:-1] != args[1].shape[:-1]:
            raise ValueError("a must have (..., M, M) shape and b must have (..., M, K) for multidimensional b")
        is_checked = _linalg.get() == "raise"
        if is_checked:
            synchronised(f"the status of {name}")
        try:
            return call(base, *args, **keywords)
        except np.linalg.LinAlgError:
            if is_checked or a.shape[-1] != a.shape[-2]:
                raise
        poison = np.full(args[-1].shape if name == "solve" else a.shape, np.nan, a.dtype)
        if name in ("eigh", "svd"):
            raise AssertionError(f"{name}: cuSOLVER's result is undefined here; ask for its status")
        return wrapped(poison)

    function.__name__ = name
    return function


LINALG = {name: _function(name, parameters) for name, parameters in SURFACE["linalg"].items()}
