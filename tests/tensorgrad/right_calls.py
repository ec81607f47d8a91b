"""A right call of every public function, and values that are wrong in the place of any argument."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

import tensorgrad as tg

Call = tuple[tuple[Any, ...], dict[str, Any]]

rng = np.random.default_rng(0)


def matrix(*shape: int) -> tg.Tensor:
    """A float32 leaf, no two elements alike."""
    return tg.tensor(rng.uniform(0.1, 0.9, shape).astype(np.float32), requires_grad=True)


def definite(n: int = 3) -> tg.Tensor:
    a = rng.normal(size=(n, n)).astype(np.float32)
    return tg.tensor(a @ a.T + n * np.eye(n, dtype=np.float32), requires_grad=True)


def integers(*shape: int) -> tg.Tensor:
    return tg.tensor(rng.integers(0, 2, shape))


def bools(*shape: int) -> tg.Tensor:
    return tg.tensor(rng.random(shape) < 0.5)


def call(*args: Any, **keywords: Any) -> Call:
    return args, keywords


# What an argument of this name is given where CALLS has nothing for the function: a call on matrices (2, 3).
# Others are given their default.
BY_NAME: dict[str, Callable[[], Any]] = {
    "x": lambda: matrix(2, 3),
    "y": lambda: matrix(2, 3),
    "x1": lambda: matrix(2, 3),
    "x2": lambda: matrix(2, 3),
    "target": lambda: matrix(2, 3),
    "axis": lambda: 1,
    "dtype": lambda: "float64",
    "device": lambda: "cpu",
    "shape": lambda: (2, 3),
    "fill_value": lambda: 2,
}

CALLS: dict[str, Callable[[], Call]] = {
    "reshape": lambda: call(matrix(2, 3), (3, 2)),
    "broadcast_shapes": lambda: call((2, 3), (3,)),
    "broadcast_arrays": lambda: call(matrix(2, 3), matrix(3)),
    "broadcast_to": lambda: call(matrix(2, 3), (4, 2, 3)),
    **{
        f"bitwise_{name}": lambda: call(integers(2, 3), integers(2, 3))
        for name in ("and", "or", "xor", "left_shift", "right_shift")
    },
    "bitwise_invert": lambda: call(integers(2, 3)),
    "astype": lambda: call(matrix(2, 3), "float64", copy=True, device="cpu"),
    "clip": lambda: call(matrix(2, 3), 0.2, matrix(3)),
    "nan_to_num": lambda: call(matrix(2, 3), nan=1.0, posinf=2.0, neginf=-2.0),
    "to_device": lambda: call(matrix(2, 3), "cpu"),
    "where": lambda: call(bools(2, 3), matrix(2, 3), matrix(3)),
    "embedding": lambda: call(matrix(4, 3), integers(2, 2), padding_idx=1),
    "getitem": lambda: call(matrix(2, 3), (0, slice(1, None))),
    "index_add": lambda: call(matrix(2, 3), (0, slice(1, None)), matrix(2)),
    "index_update": lambda: call(matrix(2, 3), (0, slice(1, None)), matrix(2)),
    "take": lambda: call(matrix(2, 3), integers(4), axis=1),
    "take_along_axis": lambda: call(matrix(2, 3), integers(2, 1), axis=1),
    "searchsorted": lambda: call(matrix(3), matrix(2)),
    "concat": lambda: call([matrix(2, 3), matrix(2, 1)], axis=1),
    "expand_dims": lambda: call(matrix(2, 3), axis=1),
    "moveaxis": lambda: call(matrix(2, 3), 0, 1),
    "permute_dims": lambda: call(matrix(2, 3), (1, 0)),
    "roll": lambda: call(matrix(2, 3), 1, axis=1),
    "split": lambda: call(matrix(2, 3), [1, 2], axis=1),
    "squeeze": lambda: call(matrix(2, 1), axis=1),
    "stack": lambda: call([matrix(2, 3), matrix(2, 3)], axis=1),
    "repeat": lambda: call(matrix(2, 3), 2, axis=1),
    "tile": lambda: call(matrix(2, 3), (2, 1)),
    "meshgrid": lambda: call(matrix(2), matrix(3)),
    "pad": lambda: call(matrix(2, 3), ((1, 0), (0, 2))),
    "topk": lambda: call(matrix(2, 3), 2, axis=1),
    "cross": lambda: call(matrix(2, 3), matrix(2, 3), axis=1),
    "kron": lambda: call(matrix(2, 3), matrix(2, 3)),
    "einsum": lambda: call("ij,kj->ik", matrix(2, 3), matrix(4, 3)),
    "linear": lambda: call(matrix(2, 3), matrix(4, 3), matrix(4)),
    "matmul": lambda: call(matrix(2, 3), matrix(3, 4)),
    "mlp": lambda: call(matrix(2, 3), matrix(4, 3), matrix(5, 4), matrix(4), matrix(5), activation="gelu"),
    "outer": lambda: call(matrix(2), matrix(3)),
    **{name: lambda: call(definite()) for name in ("inv", "det", "slogdet", "eigh", "eigvalsh")},
    "cholesky": lambda: call(definite(), upper=False),
    "solve": lambda: call(definite(), matrix(3, 2)),
    "matrix_power": lambda: call(definite(), 3),
    "matrix_norm": lambda: call(matrix(2, 3), ord="nuc", keepdims=False),
    "norm": lambda: call(matrix(2, 3), ord=2, axis=1, keepdims=False),
    "matrix_rank": lambda: call(matrix(2, 3), rtol=1e-3),
    "pinv": lambda: call(matrix(2, 3), rtol=1e-3),
    "qr": lambda: call(matrix(3, 2), mode="reduced"),
    "svd": lambda: call(matrix(3, 2), full_matrices=False),
    "tensordot": lambda: call(matrix(2, 3), matrix(3, 4), axes=((1,), (0,))),
    "conv1d": lambda: call(matrix(2, 4, 5), matrix(2, 2, 3), matrix(2), stride=2, padding=1, dilation=1, groups=2),
    "bilinear": lambda: call(matrix(5, 3), matrix(5, 2), matrix(4, 3, 2), matrix(4)),
    "binary_cross_entropy": lambda: call(matrix(2, 3), matrix(2, 3), weight=matrix(3), reduction="sum"),
    "binary_cross_entropy_with_logits": lambda: call(
        matrix(2, 3), matrix(2, 3), weight=matrix(3), pos_weight=matrix(3), reduction="sum"
    ),
    "cross_entropy": lambda: call(
        matrix(2, 3),
        integers(2),
        axis=1,
        weight=matrix(3).detach(),
        ignore_index=0,
        label_smoothing=0.1,
        z_loss=0.1,
        reduction="sum",
    ),
    "linear_cross_entropy": lambda: call(
        matrix(2, 3),
        matrix(4, 3),
        integers(2),
        ignore_index=0,
        label_smoothing=0.1,
        z_loss=0.1,
        reduction="sum",
    ),
    "nll_loss": lambda: call(
        matrix(2, 3), integers(2), axis=1, weight=matrix(3).detach(), ignore_index=0, reduction="sum"
    ),
    "dropout": lambda: call(matrix(2, 3), tg.Key(0), rate=0.5),
    "gelu": lambda: call(matrix(2, 3), approximate="tanh"),
    "group_norm": lambda: call(matrix(2, 4), 2, matrix(4), matrix(4), eps=1e-5),
    "huber_loss": lambda: call(matrix(2, 3), matrix(2, 3), delta=0.5),
    "smooth_l1_loss": lambda: call(matrix(2, 3), matrix(2, 3), beta=0.5),
    "layer_norm": lambda: call(matrix(2, 3), matrix(3), matrix(3), normalized_shape=(3,), eps=1e-5),
    "rms_norm": lambda: call(matrix(2, 3), matrix(3), normalized_shape=(3,), eps=1e-5),
    "one_hot": lambda: call(integers(2), 3),
    "rope": lambda: call(matrix(3, 4), matrix(3, 2).detach(), matrix(3, 2).detach()),
    "scaled_dot_product_attention": lambda: call(
        matrix(1, 2, 3, 2), matrix(1, 1, 4, 2), matrix(1, 1, 4, 3), mask=bools(3, 4), is_causal=True, scale=0.5
    ),
    "self_attention": lambda: call(matrix(1, 3, 4, 2), num_heads=2, is_causal=True, scale=0.5),
    "swiglu": lambda: call(matrix(2, 4)),
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

# Public names that take no argument, or functions only, or that the CPU has no answer to.
NOT_CALLED = {
    *("allow_tf32", "doctor", "find_non_finite", "is_recording", "memory_info"),
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
    args, keywords = ((), {}) if made is None else made()
    for position, parameter in enumerate(inspect.signature(f).parameters.values()):
        if position < len(args) or parameter.name in keywords:
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if made is None and parameter.name in BY_NAME:
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
    """No tensor, no number, no axis."""


# What programs hand over by mistake. Some of it is right in some places.
WRONG: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "text": lambda: "a",
    "empty text": lambda: "",
    "a dtype's name": lambda: "float32",
    "a device that is not there": lambda: "cuda:7",
    "bytes": lambda: b"a",
    "an object": lambda: Thing(),
    "a type": lambda: int,
    "a function": lambda: len,
    "a set": lambda: {1},
    "a dict": lambda: {"a": 1.0},
    "a list": lambda: [1.0],
    "an empty list": lambda: [],
    "a ragged list": lambda: [[1.0], [1.0, 2.0]],
    "a list of text": lambda: ["a"],
    "a list of None": lambda: [None],
    "a tuple": lambda: (1, 2),
    "an empty tuple": lambda: (),
    "a tuple of a float": lambda: (1.5,),
    "a repeated axis": lambda: (0, 0),
    "a negative size": lambda: (2, -3),
    "a long tuple": lambda: (1,) * 70,
    "a tuple of pairs": lambda: ((0, 1), (1, 0)),
    "a large tuple": lambda: (2**62, 2**62),
    "Ellipsis": lambda: ...,
    "a slice": lambda: slice(None),
    "a slice of text": lambda: slice("a"),
    "True": lambda: True,
    "False": lambda: False,
    "zero": lambda: 0,
    "one": lambda: 1,
    "minus one": lambda: -1,
    "three": lambda: 3,
    "seventy": lambda: 70,
    "a large int": lambda: 2**62,
    "a huge int": lambda: 10**400,
    "a huge negative int": lambda: -(10**400),
    "a float": lambda: 1.5,
    "minus": lambda: -0.5,
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "complex": lambda: 1j,
    "NumPy float32": lambda: np.float32(1.5),
    "NumPy float64": lambda: np.float64(1.5),
    "NumPy int": lambda: np.int64(1),
    "NumPy bool": lambda: np.bool_(True),
    "NumPy complex": lambda: np.complex64(1j),
    "NumPy text": lambda: np.str_("a"),
    "scalar": lambda: matrix(),
    "float vector": lambda: matrix(5),
    "float64": lambda: tg.tensor(np.ones((2, 3)), requires_grad=True),
    "float16": lambda: tg.tensor(np.ones((2, 3), np.float16)),
    "square": lambda: matrix(3, 3),
    "singular": lambda: tg.ones((3, 3), requires_grad=True),
    "one more axis": lambda: matrix(1, 2, 3),
    "other sizes": lambda: matrix(4, 5),
    "without rows": lambda: matrix(0, 3),
    "without columns": lambda: matrix(2, 0),
    "without elements": lambda: matrix(0),
    "nans": lambda: tg.tensor(np.full((3, 3), np.nan, np.float32), requires_grad=True),
    "constants": lambda: matrix(2, 3).detach(),
    "an array": lambda: np.ones((2, 3), np.float32),
    "integer tensor": lambda: integers(2, 3),
    "int8": lambda: tg.tensor(np.ones((2, 3), np.int8)),
    "uint64": lambda: tg.tensor(np.ones((2, 3), np.uint64)),
    "negative integers": lambda: -tg.ones((2, 3), dtype="int64"),
    "large integers": lambda: tg.full((2, 3), 2**62, dtype="int64"),
    "bool tensor": lambda: bools(2, 3),
    "scalar int": lambda: integers(),
    "scalar bool": lambda: bools(),
    "complex array": lambda: np.ones((2, 3), np.complex64),
    "text array": lambda: np.array(["a", "b"]),
    "object array": lambda: np.array([Thing(), None]),
    "date array": lambda: np.array(["2020-01-01"], "datetime64[D]"),
    "structured array": lambda: np.zeros(2, [("a", np.float32)]),
    "longdouble array": lambda: np.ones((2, 3), np.longdouble),
    "big-endian array": lambda: np.ones((2, 3), ">f4"),
    "tensors": lambda: [matrix(2, 3), matrix(2, 3)],
    "unlike tensors": lambda: (matrix(2, 3), matrix(3), integers(2)),
    "a key": lambda: tg.Key(1),
}
