"""A pytest plugin that tells array-api-tests how tensorgrad differs from what the suite expects.

- There are no complex dtypes.
- Operands have one dtype. Where the suite draws operands of different dtypes that promote to each other, the plugin
  draws one dtype for all of them: tensorgrad refuses mixed ones on purpose (DTypeError). `result_type` and `can_cast`
  take dtypes instead of operands and are tested with all pairs. test_nan_propagation writes a nan of the default dtype
  into its arrays; the plugin converts it to their dtype.
- The suite's reference for `vecdot` calls `conj` on real numbers too; there it is the identity.
- Two dtypes without a promotion must promote to something other than `None`: NumPy's float64 equals `None`
  (test_can_cast).
- Names that tensorgrad does not claim are not tested; NOT_CLAIMED gives the reason for each.
"""

from __future__ import annotations

import builtins
import importlib.util
import inspect
import json
import os
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

import tensorgrad

COMPLEX = "a library of real numbers"
NOT_CLAIMED = {
    **dict.fromkeys(("conj", "imag", "real", "complex64", "complex128"), COMPLEX),
    "fft": "an extension that nothing here needs",
}


def prepare() -> None:
    """Import the suite's modules one by one and change them before pytest makes tests of them."""
    os.environ["ARRAY_API_TESTS_SKIP_DTYPES"] = "complex64,complex128"
    # dtype_helpers takes the `max` of the complex dtypes, and there are none: give it a `max` with a default.
    import array_api_tests

    name = "array_api_tests.dtype_helpers"
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    helpers: Any = importlib.util.module_from_spec(spec)
    helpers.max = lambda items, **rest: builtins.max(items, default=(None, 0), **rest)
    sys.modules[name] = array_api_tests.dtype_helpers = helpers
    spec.loader.exec_module(helpers)
    del helpers.max
    table, nothing = helpers.promotion_table, object()
    table.get = lambda pair: table[pair] if pair in table else nothing  # noqa: SIM401

    # Import the tests of result_type before the next change: they keep all pairs of dtypes.
    import array_api_tests.test_data_type_functions
    from array_api_tests import _array_module, hypothesis_helpers

    def one_dtype(max_size: int | None = 2, *, dtypes: Any = helpers.all_dtypes) -> Any:
        sizes = st.just(2) if max_size == 2 else st.integers(2, max_size or 6)
        return st.builds(lambda dtype, n: (dtype,) * n, st.sampled_from(list(dtypes)), sizes)

    hypothesis_helpers.mutually_promotable_dtypes = one_dtype
    _array_module.conj = lambda x: x


def converting() -> Any:
    """tensorgrad with a `where` that converts its second operand to the third's dtype."""
    module: Any = types.ModuleType("tensorgrad")
    module.__getattr__ = lambda name: getattr(tensorgrad, name)
    module.where = lambda condition, x, y: tensorgrad.where(condition, x.astype(y.dtype), y)
    return module


class Claims:
    """The names in the standard, and the names that a test is about."""

    def __init__(self) -> None:
        from array_api_tests import stubs

        self.functions = {f.__name__ for funcs in stubs.category_to_funcs.values() for f in funcs}
        self.linalg = {f.__name__ for f in stubs.extension_to_funcs["linalg"]}
        self.array = {f.__name__ for f in stubs.array_methods} | set(stubs.array_attributes)
        self.info = {f.__name__ for f in stubs.info_funcs}
        self.known = self.functions | self.linalg | self.array | self.info | NOT_CLAIMED.keys()

    def claimed(self) -> dict[str, list[str]]:
        kinds = {"functions": self.functions, "linalg": self.linalg, "array methods and attributes": self.array}
        return {kind: sorted(names - NOT_CLAIMED.keys()) for kind, names in kinds.items()}

    def names(self, item: Any) -> set[str]:
        """The standard's names in a test's parameters or, if they have none, in its own name."""
        if item.path.name == "test_fft.py":
            return {"fft"}
        if re.search(r"\b(real|imag)\(x|_conj$", item.nodeid):  # for complex numbers only
            return {"complex64"}
        found = set()
        for value in getattr(item, "callspec", item).__dict__.get("params", {}).values():
            for part in (value, getattr(value, "func_name", None), getattr(value, "__name__", None)):
                if isinstance(part, str):
                    found.add(part.split("(")[0])
        found &= self.known
        if not found:
            words = item.originalname.removeprefix("test_").split("_")
            tries = ("_".join(words[:n]) for n in range(len(words), 0, -1))
            found = {name for t in tries for name in (t, f"__{t}__") if name in self.known}
        return found


class Plugin:
    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}
        self.messages: dict[str, str] = {}
        self.left_out: list[str] = []
        self.refusals: list[str] = []  # tests that invalid inputs raise

    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        self.claims = Claims()
        kept, left_out = [], []
        for item in items:
            if item.originalname == "test_nan_propagation":
                item.module.xp = converting()
            (left_out if self.claims.names(item) & NOT_CLAIMED.keys() else kept).append(item)
        items[:] = kept
        self.refusals = [item.nodeid for item in kept if "raises(" in inspect.getsource(item.function)]
        self.left_out = [item.nodeid for item in left_out]
        config.hook.pytest_deselected(items=left_out)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.outcomes[report.nodeid], self.messages[report.nodeid] = "failed", str(report.longrepr)[-600:]

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.nodeid] = report.outcome
            if report.failed:
                text = str(report.longrepr)
                lines = [line[2:].strip() for line in text.splitlines() if line.startswith("E  ")]
                self.messages[report.nodeid] = " | ".join(lines)[:600] or text[-600:]
            elif report.skipped and isinstance(report.longrepr, tuple):
                self.messages[report.nodeid] = report.longrepr[2]

    def pytest_sessionfinish(self) -> None:
        result = {
            "claimed": self.claims.claimed(),
            "not_claimed": NOT_CLAIMED,
            "outcomes": self.outcomes,
            "messages": self.messages,
            "left_out": self.left_out,
            "refusals": self.refusals,
        }
        Path(os.environ["TENSORGRAD_ARRAY_API_RESULT"]).write_text(json.dumps(result))


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: Any) -> None:
    prepare()  # before the suite's conftest imports the rest
    early_config.pluginmanager.register(Plugin(), "tensorgrad-claims")
