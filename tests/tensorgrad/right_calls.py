"""A right call of every public function, and wrong values to put in the place of any argument."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

import tensorgrad as tg
from tests.tensorgrad.calls import Call as Found
from tests.tensorgrad.calls import calls, mapped

Call = tuple[tuple[Any, ...], dict[str, Any]]

rng = np.random.default_rng(0)


def matrix(*shape: int) -> tg.Tensor:
    """A float32 leaf, no two elements alike."""
    return tg.tensor(rng.uniform(0.1, 0.9, shape).astype(np.float32), requires_grad=True)


def integers(*shape: int) -> tg.Tensor:
    return tg.tensor(rng.integers(0, 2, shape))


def bools(*shape: int) -> tg.Tensor:
    return tg.tensor(rng.random(shape) < 0.5)


def call(*args: Any, **keywords: Any) -> Call:
    return args, keywords


@functools.cache
def certified(op: str) -> Call:
    """The call of an op with the most arguments that the certificate's cases make, none of them empty."""

    def rank(found: Found) -> tuple[bool, int]:
        sizes: list[int] = []
        mapped(lambda x: sizes.append(x.size), (found.args, found.keywords))
        return 0 not in sizes, found.count

    found = calls(op, "float32")
    assert found, f"{op}: add cases to tensorgrad/verify/cases"
    best = max(found, key=rank)
    return best.args, best.keywords


def fresh(x: Any) -> Any:
    """A tensor of the same values without history."""
    return tg.tensor(x.detach().numpy(), requires_grad=x.requires_grad) if isinstance(x, tg.Tensor) else x


# What an argument of this name is given in a call that names no value for it; others are given their default.
BY_NAME: dict[str, Callable[[], Any]] = {
    "x": lambda: matrix(2, 3),
    "dtype": lambda: "float64",
    "device": lambda: "cpu",
    "shape": lambda: (2, 3),
    "fill_value": lambda: 2,
}

# Functions that are no ops: they have no cases.
CALLS: dict[str, Callable[[], Call]] = {
    # --- creation
    "arange": lambda: call(0, 3, 1, dtype="float64", device="cpu"),
    "asarray": lambda: call([[1.0, 2.0]], dtype="float64", device="cpu", copy=None, requires_grad=True),
    "tensor": lambda: call([[1.0, 2.0]], dtype="float64", device="cpu", requires_grad=True),
    "from_dlpack": lambda: call(np.ones(2), device="cpu", copy=None),
    "eye": lambda: call(2, 3, k=1, dtype="float64", device="cpu"),
    "linspace": lambda: call(0.0, 1.0, 3, dtype="float64", device="cpu", endpoint=True),
    # --- of dtypes
    "can_cast": lambda: call(matrix(2), "float64"),
    "finfo": lambda: call(matrix(2)),
    "iinfo": lambda: call(integers(2)),
    "isdtype": lambda: call("float32", ("integral", "float32")),
    "result_type": lambda: call(matrix(2), "float64", 1),
    # --- gradients
    "grad": lambda: call((x := matrix(2, 3)).sum() * 2.0, x, tg.ones(()), create_graph=True),
    "vjp": lambda: call(lambda x: x * 2.0, matrix(2, 3)),
    "jvp": lambda: call(lambda x: x * 2.0, [matrix(2, 3)], [matrix(2, 3)]),
    "hvp": lambda: call(lambda x: (x * x).sum(), matrix(2, 3), matrix(2, 3)),
    "jacobian": lambda: call(lambda x: x * 2.0, matrix(2, 3)),
    "hessian": lambda: call(lambda x: (x * x).sum(), matrix(2, 3)),
    "check_grads": lambda: call(lambda x: x * 2.0, matrix(2, 3), order=1, tolerance=1e-5, key=tg.Key(1)),
    "graph": lambda: call(matrix(2, 3) * 2.0),
    "record": lambda: call(np.ones(2, np.float32), (matrix(2), lambda g: g), keep_output=False),
    "record_joint": lambda: call(np.ones(2, np.float32), [matrix(2)], lambda g: [g], selects=False),
}

# Public names that take no argument, that take functions only, or that need a GPU.
NOT_CALLED = {
    *("allow_tf32", "allow_unordered", "doctor", "find_non_finite", "is_recording", "memory_info"),
    *("no_grad", "recompute", "threads", "value_and_grad"),
}

METHODS: dict[str, Callable[[], Call]] = {
    "sum": lambda: call(matrix(2, 3), axis=1, keepdims=True),
    "mean": lambda: call(matrix(2, 3), axis=1, keepdims=True),
    "var": lambda: call(matrix(2, 3), axis=1, correction=1, keepdims=True),
    "max": lambda: call(matrix(2, 3), axis=1, keepdims=True),
    "min": lambda: call(matrix(2, 3), axis=1, keepdims=True),
    "argmax": lambda: call(matrix(2, 3), axis=1, keepdims=True),
    "reshape": lambda: call(matrix(2, 3), 3, 2),
    "permute_dims": lambda: call(matrix(2, 3), 1, 0),
    "squeeze": lambda: call(matrix(2, 1), 1),
    "astype": lambda: call(matrix(2, 3), "float64"),
    "to": lambda: call(matrix(2, 3), "cpu"),
    "to_device": lambda: call(matrix(2, 3), "cpu", stream=None),
    "backward": lambda: call(matrix(2, 3) * 2.0, tg.ones((2, 3)), create_graph=False),
    "register_hook": lambda: call(matrix(2, 3), lambda g: g),
    "__getitem__": lambda: call(matrix(2, 3), (0, slice(1, None))),
    "__setitem__": lambda: call(matrix(2, 3).detach(), (0, slice(1, None)), matrix(2).detach()),
    "__contains__": lambda: call(matrix(2, 3), 0.5),
    "__format__": lambda: call(matrix(1), ".3f"),
    "__matmul__": lambda: call(matrix(2, 3), matrix(3, 2)),
    "__rmatmul__": lambda: call(matrix(2, 3), matrix(3, 2)),
    **{
        f"__{side}{name}__": lambda: call(matrix(2, 3), matrix(3))
        for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")
        for side in ("", "r")
    },
    **{f"__{name}__": lambda: call(matrix(2, 3), matrix(3)) for name in ("lt", "le", "gt", "ge", "eq", "ne")},
    **{
        f"__{side}{name}__": lambda: call(integers(2, 3), integers(3))
        for name in ("and", "or", "xor", "lshift", "rshift")
        for side in ("", "r")
    },
}


KEYS: dict[str, Callable[[], Call]] = {
    "fold_in": lambda: call(tg.Key(1), 3),
    "split": lambda: call(tg.Key(1), 3),
    "bits": lambda: call(tg.Key(1), 3, start=1),
    "uniform": lambda: call(tg.Key(1), (2, 3), start=1, dtype="float64", device="cpu"),
    "normal": lambda: call(tg.Key(1), (2, 3), dtype="float64", device="cpu"),
    "integers": lambda: call(tg.Key(1), 0, 3, (2, 3)),
    "permutation": lambda: call(tg.Key(1), 3),
}


def public_functions() -> dict[str, Callable[..., Any]]:
    found = {name: getattr(tg, name) for name in tg.__all__}
    functions = {name: f for name, f in found.items() if inspect.isfunction(f) and name not in NOT_CALLED}
    methods = {f"Tensor.{name}": getattr(tg.Tensor, name) for name in METHODS}
    return functions | methods | {f"Key.{name}": getattr(tg.Key, name) for name in KEYS}


def right_call(name: str, f: Callable[..., Any]) -> Call:
    """Positional and named arguments with which f works."""
    owner, _, method = name.rpartition(".")
    made = {"": CALLS, "Tensor": METHODS, "Key": KEYS}[owner].get(method)
    if name in tg.ops.__all__:
        args, keywords = mapped(fresh, certified(name))
        keywords = dict(keywords)
    else:
        args, keywords = ((), {}) if made is None else made()
    for position, parameter in enumerate(inspect.signature(f).parameters.values()):
        if position < len(args) or parameter.name in keywords:
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if made is None and name not in tg.ops.__all__ and parameter.name in BY_NAME:
            value = BY_NAME[parameter.name]()
        elif parameter.default is not parameter.empty:
            value = parameter.default
        else:
            raise AssertionError(f"{name}: add a right call of it to CALLS")
        if parameter.kind is parameter.KEYWORD_ONLY:
            keywords[parameter.name] = value
        else:
            args = (*args, value)
    return args, keywords


class Thing:
    """An object that is no valid argument anywhere."""


# Values that programs pass by mistake; some are right in some places. Each is made for a shape: the shape of the
# tensor that it replaces.
WRONG: dict[str, Callable[[tuple[int, ...]], Any]] = {
    "None": lambda s: None,
    "text": lambda s: "a",
    "empty text": lambda s: "",
    "a dtype's name": lambda s: "float32",
    "a device that is not there": lambda s: "cuda:7",
    "bytes": lambda s: b"a",
    "an object": lambda s: Thing(),
    "a type": lambda s: int,
    "a function": lambda s: len,
    "a set": lambda s: {1},
    "a dict": lambda s: {"a": 1.0},
    "a list": lambda s: [1.0],
    "an empty list": lambda s: [],
    "a ragged list": lambda s: [[1.0], [1.0, 2.0]],
    "a list of text": lambda s: ["a"],
    "a list of None": lambda s: [None],
    "a tuple": lambda s: (1, 2),
    "an empty tuple": lambda s: (),
    "a tuple of a float": lambda s: (1.5,),
    "a repeated axis": lambda s: (0, 0),
    "a negative size": lambda s: (2, -3),
    "a long tuple": lambda s: (1,) * 70,
    "a tuple of pairs": lambda s: ((0, 1), (1, 0)),
    "a large tuple": lambda s: (2**62, 2**62),
    "Ellipsis": lambda s: ...,
    "a slice": lambda s: slice(None),
    "a slice of text": lambda s: slice("a"),
    "True": lambda s: True,
    "False": lambda s: False,
    "zero": lambda s: 0,
    "one": lambda s: 1,
    "minus one": lambda s: -1,
    "three": lambda s: 3,
    "seventy": lambda s: 70,
    "a large int": lambda s: 2**62,
    "a huge int": lambda s: 10**400,
    "a huge negative int": lambda s: -(10**400),
    "a float": lambda s: 1.5,
    "minus": lambda s: -0.5,
    "nan": lambda s: math.nan,
    "inf": lambda s: math.inf,
    "complex": lambda s: 1j,
    "NumPy float32": lambda s: np.float32(1.5),
    "NumPy float64": lambda s: np.float64(1.5),
    "NumPy int": lambda s: np.int64(1),
    "NumPy bool": lambda s: np.bool_(True),
    "NumPy complex": lambda s: np.complex64(1j),
    "NumPy text": lambda s: np.str_("a"),
    "scalar": lambda s: matrix(),
    "float vector": lambda s: matrix(5),
    "float64": lambda s: tg.tensor(np.ones(s), requires_grad=True),
    "float16": lambda s: tg.tensor(np.ones(s, np.float16)),
    "square": lambda s: matrix(3, 3),
    "singular": lambda s: tg.ones((3, 3), requires_grad=True),
    "one more axis": lambda s: matrix(1, *s),
    "other sizes": lambda s: matrix(4, 5),
    "without rows": lambda s: matrix(0, 3),
    "without columns": lambda s: matrix(2, 0),
    "without elements": lambda s: matrix(0),
    "nans": lambda s: tg.tensor(np.full((3, 3), np.nan, np.float32), requires_grad=True),
    "constants": lambda s: matrix(*s).detach(),
    "an array": lambda s: np.ones(s, np.float32),
    "integer tensor": lambda s: integers(*s),
    "int8": lambda s: tg.tensor(np.ones(s, np.int8)),
    "uint64": lambda s: tg.tensor(np.ones(s, np.uint64)),
    "negative integers": lambda s: -tg.ones(s, dtype="int64"),
    "large integers": lambda s: tg.full(s, 2**62, dtype="int64"),
    "bool tensor": lambda s: bools(*s),
    "scalar int": lambda s: integers(),
    "scalar bool": lambda s: bools(),
    "complex array": lambda s: np.ones(s, np.complex64),
    "text array": lambda s: np.array(["a", "b"]),
    "object array": lambda s: np.array([Thing(), None]),
    "date array": lambda s: np.array(["2020-01-01"], "datetime64[D]"),
    "structured array": lambda s: np.zeros(2, [("a", np.float32)]),
    "longdouble array": lambda s: np.ones(s, np.longdouble),
    "big-endian array": lambda s: np.ones(s, ">f4"),
    "tensors": lambda s: [matrix(2, 3), matrix(2, 3)],
    "unlike tensors": lambda s: (matrix(2, 3), matrix(3), integers(2)),
    "a key": lambda s: tg.Key(1),
}
