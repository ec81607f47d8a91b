"""Wrong programs: each with the error that it gets and what the message says.

test_wrong_arguments.py tries two more kinds with every op: a value that is no tensor, and two dtypes.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.random import RowKeys

Program = tuple[Callable[[], Any], type[Exception], str]

# The form of every message: the op, what was expected, what it got, and what to do.
FORM = re.compile(r"^[\w. ]+: .*expected .+, (got|but) .+: .+")

ATTENTION = "scaled_dot_product_attention"


def f32(*shape: int) -> tg.Tensor:
    return tg.ones(shape, requires_grad=True)


def f64(*shape: int) -> tg.Tensor:
    return tg.ones(shape, dtype="float64", requires_grad=True)


def i64(*shape: int) -> tg.Tensor:
    return tg.ones(shape, dtype="int64")


def sdpa(q: Any, k: Any, v: Any, **options: Any) -> Any:
    return tg.scaled_dot_product_attention(q, k, v, **options)


BAD_GRAD = tg.ones((2,), requires_grad=True)

WRONG: dict[str, Program] = {
    # shapes
    "add": (lambda: f32(2, 3) + f32(2), tg.ShapeError, r"add: .*\(2, 3\) and \(2,\)"),
    "multiply": (lambda: f32(2) * np.ones(3, np.float32), tg.ShapeError, r"multiply: .*\(2,\) and \(3,\)"),
    "where": (lambda: tg.where(np.ones(2, bool), f32(2), f32(3)), tg.ShapeError, r"where: .*\(2,\), \(2,\) and \(3,\)"),
    "matmul": (lambda: f32(2, 3) @ f32(2, 3), tg.ShapeError, r"matmul: .*\(2, 3\) and \(2, 3\)"),
    "matmul scalar": (lambda: f32() @ f32(2), tg.ShapeError, "matmul: .*scalar"),
    "matmul number": (lambda: f32(2) @ 2.0, tg.ShapeError, "matmul: "),
    "linear": (lambda: tg.linear(f32(2, 3), f32(3, 2)), tg.ShapeError, r"linear: .*\(2, 3\) and \(3, 2\)"),
    "linear bias": (lambda: tg.linear(f32(2, 3), f32(4, 3), f32(3)), tg.ShapeError, r"linear: .*bias of shape \(4,\)"),
    "einsum": (lambda: tg.einsum("ij,jk->ik", f32(2, 3), f32(2, 3)), tg.ShapeError, "einsum: .*'ij,jk->ik'"),
    "einsum axes": (lambda: tg.einsum("ijk->i", f32(2, 3)), tg.ShapeError, "einsum: expected 3 axes"),
    "einsum count": (lambda: tg.einsum("ij,jk", f32(2, 3)), tg.ShapeError, "einsum: expected 2 operands"),
    "einsum output": (lambda: tg.einsum("ij->iz", f32(2, 3)), tg.ShapeError, "einsum: .*output"),
    "einsum twice": (lambda: tg.einsum("ij->ii", f32(2, 3)), tg.ShapeError, "einsum: .*distinct"),
    "reshape": (lambda: f32(2, 3).reshape(4), tg.ShapeError, r"reshape: .*6 elements.*\(2, 3\)"),
    "reshape float": (lambda: f32(2).reshape(2.0), tg.ShapeError, "reshape: "),
    "broadcast_to": (lambda: tg.broadcast_to(f32(2), (3,)), tg.ShapeError, r"broadcast_to: .*\(2,\)"),
    "broadcast_to integer": (lambda: tg.broadcast_to(f32(1), 3), tg.ShapeError, "broadcast_to: "),
    "permute_dims": (
        lambda: tg.permute_dims(f32(2, 3), (0, 0)),
        tg.ShapeError,
        "permute_dims: expected each axis once",
    ),
    "permute_dims few": (lambda: tg.permute_dims(f32(2, 3), (0,)), tg.ShapeError, "permute_dims: expected each of 2"),
    "matrix_transpose": (lambda: f32(2).mT, tg.ShapeError, "matrix_transpose: "),
    "T": (lambda: f32(2, 3, 4).T, tg.ShapeError, r"T: .*\(2, 3, 4\)"),
    "squeeze": (lambda: f32(2, 3).squeeze(0), tg.ShapeError, "squeeze: .*size 1"),
    "expand_dims": (lambda: tg.expand_dims(f32(2), axis=3), tg.ShapeError, "expand_dims: expected axis in -2 .. 1"),
    "concat": (lambda: tg.concat([f32(2, 3), f32(2, 4)]), tg.ShapeError, r"concat: .*\(2, 3\), \(2, 4\)"),
    "concat nothing": (lambda: tg.concat([]), tg.ShapeError, "concat: .*at least one"),
    "concat one": (lambda: tg.concat(f32(2)), tg.ShapeError, "concat: expected a list"),
    "concat generator": (lambda: tg.concat(x for x in [f32(2)]), tg.ShapeError, "concat: .*generator"),
    "stack": (lambda: tg.stack([f32(2), f32(3)]), tg.ShapeError, "concat|stack"),
    "split": (lambda: tg.split(f32(5), 2), tg.ShapeError, "split: .*divides 5, got 2"),
    "split zero": (lambda: tg.split(f32(5), 0), tg.ShapeError, "split: "),
    "split floats": (lambda: tg.split(f32(4), [1.5, 2.5]), tg.ShapeError, "split: "),
    "split negative": (lambda: tg.split(f32(4), [-1, 5]), tg.ShapeError, "split: .*>= 0"),
    "roll": (lambda: tg.roll(f32(4), 1.5, axis=0), tg.ShapeError, "roll: .*shift"),
    "tril": (lambda: tg.tril(f32(4)), tg.ShapeError, "tril: .*two axes"),
    "mean axis": (lambda: f32(2).mean(axis="x"), tg.ShapeError, "mean: expected axis to be an integer"),
    "max of nothing": (lambda: f32(0).max(), tg.ShapeError, "max: .*at least one"),
    "argmax of nothing": (lambda: f32(2, 0).argmax(axis=1), tg.ShapeError, "argmax: .*at least one"),
    "argmax axes": (lambda: tg.argmax(f32(2, 2), axis=(0, 1)), tg.ShapeError, "argmax: expected axis to be an integer"),
    "softmax of nothing": (lambda: tg.softmax(f32(2, 0)), tg.ShapeError, "softmax: .*at least one"),
    "softmax scalar": (lambda: tg.softmax(f32()), tg.ShapeError, "softmax: expected axis"),
    "cumulative_sum": (lambda: tg.cumulative_sum(f32(2, 2), axis=None), tg.ShapeError, "cumulative_sum: expected axis"),
    "getitem": (lambda: f32(2, 3)[2], tg.ShapeError, r"getitem: .*\(2, 3\)"),
    "getitem axes": (lambda: f32(2)[0, 0], tg.ShapeError, "getitem: "),
    "getitem step": (lambda: f32(2)[::0], tg.ShapeError, "getitem: .*step"),
    "getitem slice": (lambda: f32(2)["a":], tg.ShapeError, "getitem: "),
    "getitem mask": (lambda: f32(2)[np.ones(3, bool)], tg.ShapeError, "getitem: "),
    "getitem ragged": (lambda: f32(2)[[[0], [0, 1]]], tg.ShapeError, "getitem: .*ragged"),
    "getitem string": (lambda: f32(2)["a"], tg.DTypeError, "getitem: "),
    "take": (lambda: tg.take(f32(2), [2], axis=0), tg.ShapeError, "getitem|take"),
    "take_along_axis": (
        lambda: tg.take_along_axis(f32(2, 3), np.array([0]), axis=1),
        tg.ShapeError,
        "take_along_axis: ",
    ),
    "index_add": (lambda: tg.index_add(f32(3), [0, 1], f32(3)), tg.ShapeError, "index_add: "),
    "index_update": (lambda: tg.index_update(f32(3), 5, 1.0), tg.ShapeError, "index_update: "),
    "embedding": (lambda: tg.embedding(f32(3, 2), [0, 3]), tg.ShapeError, "embedding: expected ids in 0 .. 2, got 3"),
    "embedding negative": (lambda: tg.embedding(f32(3, 2), [-1]), tg.ShapeError, "embedding: .*got -1"),
    "embedding weight": (lambda: tg.embedding(f32(3), [0]), tg.ShapeError, r"embedding: .*\(V, C\)"),
    "layer_norm": (lambda: tg.layer_norm(f32(2, 3), f32(2)), tg.ShapeError, r"layer_norm: .*\(2, 3\) and \(2,\)"),
    "layer_norm width": (lambda: tg.layer_norm(f32(2, 0), f32(0)), tg.ShapeError, "layer_norm: .*C > 0"),
    "layer_norm bias": (lambda: tg.layer_norm(f32(2, 3), f32(3), f32(2)), tg.ShapeError, "layer_norm: .*bias"),
    "rms_norm": (lambda: tg.rms_norm(f32(), f32()), tg.ShapeError, "rms_norm: "),
    "mlp": (lambda: tg.mlp(f32(2, 3), f32(3, 4), f32(3, 4)), tg.ShapeError, r"mlp: .*\(2, 3\), \(3, 4\) and \(3, 4\)"),
    "mlp swiglu": (
        lambda: tg.mlp(f32(2, 3), f32(4, 3), f32(3, 4), activation="swiglu"),
        tg.ShapeError,
        r"mlp: expected .*\(2 F, C\).*\(4, 3\)",
    ),
    "mlp bias": (
        lambda: tg.mlp(f32(2, 3), f32(4, 3), f32(3, 4), None, f32(4)),
        tg.ShapeError,
        r"mlp: .*down_bias.*\(3,\)",
    ),
    "mlp of integers": (lambda: tg.mlp(i64(2, 3), f32(4, 3), f32(3, 4)), tg.DTypeError, "mlp: expected a float dtype"),
    "swiglu": (lambda: tg.swiglu(f32(2, 3)), tg.ShapeError, "swiglu: .*even"),
    "rope": (
        lambda: tg.rope(f32(3, 4), np.ones((2, 2), np.float32), np.ones((3, 2), np.float32)),
        tg.ShapeError,
        "rope: ",
    ),
    "attention axes": (lambda: sdpa(f32(2, 3), f32(2, 3), f32(2, 3)), tg.ShapeError, f"{ATTENTION}: "),
    "attention heads": (
        lambda: sdpa(f32(1, 3, 2, 2), f32(1, 2, 2, 2), f32(1, 2, 2, 2)),
        tg.ShapeError,
        "H a multiple of K",
    ),
    "attention mask": (
        lambda: sdpa(*[f32(1, 1, 2, 2)] * 3, mask=np.ones((3, 2), bool)),
        tg.ShapeError,
        r"mask that broadcasts to \(1, 1, 2, 2\), got \(3, 2\)",
    ),
    "cross_entropy": (
        lambda: tg.cross_entropy(f32(2, 3), i64(3)),
        tg.ShapeError,
        r"cross_entropy: .*\(2, 3\) and \(3,\)",
    ),
    "linear_cross_entropy": (
        lambda: tg.linear_cross_entropy(f32(2, 3), f32(4, 3), i64(3)),
        tg.ShapeError,
        r"linear_cross_entropy: .*\(2, 4\) and \(3,\)",
    ),
    "cross_entropy class": (lambda: tg.cross_entropy(f32(2, 3), np.array([0, 3])), tg.ShapeError, "in 0 .. 2"),
    "cross_entropy classes": (lambda: tg.cross_entropy(f32(0, 0), i64(0)), tg.ShapeError, "at least one class"),
    "item": (lambda: f32(2).item(), tg.ShapeError, r"item: .*\(2,\)"),
    "truth": (lambda: bool(f32(2) == 1.0), tg.ShapeError, "item: "),
    "ragged": (lambda: tg.tensor([[1.0], [1.0, 2.0]]), tg.ShapeError, "tensor: .*ragged"),
    "zeros": (lambda: tg.zeros(3.0), tg.ShapeError, "zeros: expected a shape"),
    "ones": (lambda: tg.ones((2, -1)), tg.ShapeError, "sizes >= 0"),
    "eye": (lambda: tg.eye(-1), tg.ShapeError, "eye: "),
    "arange": (lambda: tg.arange(0, 3, 0), tg.ShapeError, "arange: .*step"),
    "grad shape": (lambda: setattr(f32(2), "grad", f32(3)), tg.ShapeError, "grad: "),
    # dtypes
    "f32 + f64": (lambda: f32(2) + f64(2), tg.DTypeError, "add: .*float32 and float64.*astype"),
    "f32 + int64": (lambda: f32(2) + i64(2), tg.DTypeError, "add: .*float32 and int64"),
    "int + 0.5": (lambda: i64(2) + 0.5, tg.DTypeError, "add: .*int64, got 0.5"),
    "int8 + 1000": (lambda: tg.tensor(np.zeros(2, np.int8)) + 1000, tg.DTypeError, "add: .*int8 and 1000"),
    "int ** -1": (lambda: i64(2) ** -1, tg.DTypeError, "pow: "),
    "bool - bool": (lambda: tg.tensor([True]) - tg.tensor([True]), tg.DTypeError, "subtract: .*bool"),
    "-bool": (lambda: -tg.tensor([True]), tg.DTypeError, "negative: .*bool"),
    "sign of bool": (lambda: tg.sign(tg.tensor([True])), tg.DTypeError, "sign: .*bool"),
    "tensor + text": (lambda: f32(2) + "a", tg.DTypeError, "add: .*str"),
    "tensor + None": (lambda: f32(2) + None, tg.DTypeError, "add: .*NoneType"),
    "tensor * complex": (lambda: f32(2) * 1j, tg.DTypeError, "multiply: .*complex"),
    "exp of number": (lambda: tg.exp(2.0), tg.DTypeError, "exp: .*float: make it with tensorgrad.tensor"),
    "attention of integers": (lambda: sdpa(*[i64(1, 1, 2, 2)] * 3), tg.DTypeError, f"{ATTENTION}: .*int64"),
    "attention of number": (
        lambda: sdpa(1.0, f32(1, 1, 2, 2), f32(1, 1, 2, 2)),
        tg.DTypeError,
        f"{ATTENTION}: .*float",
    ),
    "attention mask dtype": (
        lambda: sdpa(*[f32(1, 1, 2, 2)] * 3, mask=np.ones((2, 2))),
        tg.DTypeError,
        "mask of bool or",
    ),
    "attention dropout": (
        lambda: sdpa(*[f32(1, 1, 2, 2)] * 3, dropout_rate=0.1),
        tg.DTypeError,
        f"{ATTENTION}: expected a Key, got NoneType",
    ),
    "layer_norm dtypes": (lambda: tg.layer_norm(f32(2, 3), f64(3)), tg.DTypeError, "layer_norm: "),
    "rope dtypes": (lambda: tg.rope(f32(1, 2), np.ones((1, 1)), np.ones((1, 1))), tg.DTypeError, "rope: .*float64"),
    "rope lists": (lambda: tg.rope(f32(1, 2), [[1.0]], [[1.0]]), tg.DTypeError, "rope: .*list"),
    "concat dtypes": (lambda: tg.concat([f32(2), f64(2)]), tg.DTypeError, "concat: .*float32, float64"),
    "where condition": (lambda: tg.where(f32(2), f32(2), f32(2)), tg.DTypeError, "where: .*bool"),
    "clip bound": (lambda: tg.clip(f32(2), f64(2)), tg.DTypeError, "clip: .*float32 and float64"),
    "take floats": (lambda: tg.take(f32(2), [0.0], axis=0), tg.DTypeError, "take: .*float64"),
    "index floats": (lambda: f32(2)[np.array([0.0])], tg.DTypeError, "getitem: .*float64"),
    "embedding floats": (lambda: tg.embedding(f32(3, 2), f32(2)), tg.DTypeError, "embedding: .*float32"),
    "targets": (lambda: tg.cross_entropy(f32(2, 3), f32(2)), tg.DTypeError, "cross_entropy: .*float32"),
    "targets list": (lambda: tg.cross_entropy(f32(2, 3), [0, 1]), tg.DTypeError, "cross_entropy: .*list"),
    "dropout key": (lambda: tg.dropout(f32(2), 3, rate=0.5), tg.DTypeError, "dropout: .*Key, got int"),
    "complex": (lambda: tg.tensor([1j]), tg.DTypeError, r"tensor: .*\[1j\]"),
    "text": (lambda: tg.tensor(["a"]), tg.DTypeError, r"tensor: .*\['a'\]"),
    "astype": (lambda: f32(2).astype("float31"), tg.DTypeError, "dtype: .*'float31'"),
    "integer gradient": (lambda: tg.tensor([1, 2], requires_grad=True), tg.DTypeError, "float dtype.*int64"),
    "jacobian of integers": (
        lambda: tg.jacobian(lambda x: x * x, np.arange(2)),
        tg.DTypeError,
        "float dtype, got int64",
    ),
    "check_grads of number": (lambda: tg.check_grads(lambda x: x, 3.0), tg.DTypeError, "check_grads: "),
    "grad is an array": (lambda: setattr(f32(2), "grad", np.ones(2)), tg.DTypeError, "grad: .*ndarray"),
    "full": (lambda: tg.full((2,), "a"), tg.DTypeError, "full: .*got .a."),
    "arange text": (lambda: tg.arange("a"), tg.DTypeError, "arange: "),
    "from_dlpack": (lambda: tg.from_dlpack(3), tg.DTypeError, "from_dlpack: .*got 3"),
    # graphs
    "backward of constant": (lambda: tg.ones(()).backward(), tg.GraphError, "backward: .*without history"),
    "backward of many": (lambda: (f32(2) * 2.0).backward(), tg.GraphError, r"backward: .*\(2,\), got none"),
    "grad of constant": (lambda: tg.grad(f32(2).sum(), tg.ones((2,))), tg.GraphError, "grad: .*requires_grad=True"),
    "grad count": (lambda: tg.grad([f32(2), f32(2)], BAD_GRAD, [None]), tg.GraphError, "one gradient per output"),
    "tensor of tensor": (lambda: tg.tensor(f32(2) * 2.0), tg.GraphError, "tensor: .*detach"),
    "list of tensors": (lambda: tg.tensor([f32(), f32()]), tg.GraphError, "needs no gradient"),
    "not a leaf": (lambda: setattr(f32(2) * 2.0, "grad", None), tg.GraphError, "grad: expected a leaf"),
    "jvp tangents": (lambda: tg.jvp(lambda x, y: x * y, [f32(2), f32(2)], [f32(2)]), tg.GraphError, "jvp: .*1 for 2"),
    "function of nothing": (
        lambda: tg.vjp(lambda x: None, f32(2)),
        tg.GraphError,
        "returns a Tensor or a tree of Tensors, got None",
    ),
    # devices
    "no such device": (lambda: tg.zeros((2,), device="gpu"), tg.DeviceError, "device: .*'gpu'"),
    "device number": (lambda: f32(2).to("cuda:x"), tg.DeviceError, "cuda:N"),
    # values
    "gelu": (lambda: tg.gelu(f32(2), approximate="erf"), ValueError, "gelu: .*'erf'"),
    "reduction": (lambda: tg.cross_entropy(f32(2, 3), i64(2), reduction="avg"), ValueError, "cross_entropy: .*'avg'"),
    "dropout rate": (lambda: tg.dropout(f32(2), tg.Key(0), rate=1.0), ValueError, "dropout: .*got 1.0"),
}

# --- more of each kind -------------------------------------------------------------------------


def custom(bad: Any) -> Any:
    """Run the backward of a custom op on two float32 numbers whose vjp returns `bad`."""
    x = f32(2)
    return tg.record(x.numpy() * 2, (x, lambda g: bad)).sum().backward()


def joint(bad: Any) -> Any:
    """Run the backward of a custom op of two inputs whose vjp returns `bad`."""
    x, y = f32(2), f32(2)
    return tg.record_joint(x.numpy() * y.numpy(), [x, y], lambda g: bad).sum().backward()


def hooked(bad: Any) -> Any:
    """Run the backward of a sum whose hook returns `bad`."""
    x = f32(2)
    x.register_hook(lambda g: bad)
    return x.sum().backward()


def twice() -> Any:
    loss = tg.square(f32(2)).sum()
    loss.backward()
    loss.backward()


def grad_twice() -> Any:
    x = f32(2)
    h = tg.square(x)
    tg.grad(h.sum(), x)
    tg.grad(h.sum(), x)


def second_order_of_first() -> Any:
    x = f32(2)
    (g,) = tg.grad((x**3).sum(), x)
    return g.sum().backward()


def written(write: Callable[[tg.Tensor], Any]) -> Any:
    x = f32(2)
    loss = tg.square(x).sum()
    write(x)
    return loss.backward()


def under_no_grad() -> Any:
    x = f32(2)
    with tg.no_grad():
        loss = tg.square(x).sum()
    return loss.backward()


def put(x: tg.Tensor, index: Any, value: Any) -> None:
    x[index] = value


def with_data(x: tg.Tensor, value: Any) -> None:
    x.data = value


I8 = tg.tensor(np.ones(2, np.int8))
BOOL = tg.tensor([True, False])
NAN = np.full((2, 2), np.nan)
SINGULAR = np.ones((2, 2))
KEY = tg.Key(0)
FUNCTION = tg.square

WRONG |= {
    # shapes
    "clip shape": (lambda: tg.clip(f32(2), f32(3)), tg.ShapeError, r"clip: .*\(2,\) and \(3,\)"),
    "solve": (lambda: tg.solve(f64(2, 2), f64(3)), tg.ShapeError, r"solve: .*got \(2, 2\) and \(3,\)"),
    "inv": (lambda: tg.inv(f64(2, 3)), tg.ShapeError, r"inv: expected square .*\(2, 3\): use pinv"),
    "det": (lambda: tg.det(f64(2)), tg.ShapeError, r"det: expected matrices .*\(2,\)"),
    "cholesky": (lambda: tg.cholesky(f64(2, 3)), tg.ShapeError, "cholesky: expected square"),
    "eigh": (lambda: tg.eigh(f64(2, 3)), tg.ShapeError, "eigh: expected square"),
    "matrix_power": (lambda: tg.matrix_power(f64(2, 3), 2), tg.ShapeError, "matrix_power: expected square"),
    "matrix_power float": (lambda: tg.matrix_power(f64(2, 2), 1.5), tg.ShapeError, "matrix_power: expected n to be an"),
    "outer": (lambda: tg.outer(f32(2, 2), f32(2)), tg.ShapeError, r"outer: .*\(2, 2\)"),
    "cross": (lambda: tg.cross(f32(2), f32(2)), tg.ShapeError, r"cross: expected three elements .*\(2,\)"),
    "vecdot": (lambda: tg.vecdot(f32(2), f32(3)), tg.ShapeError, r"vecdot: .*\(2,\) and \(3,\)"),
    "tensordot": (lambda: tg.tensordot(f32(2, 3), f32(2, 3), axes=1), tg.ShapeError, "tensordot: expected equal sizes"),
    "tensordot count": (
        lambda: tg.tensordot(f32(2), f32(2), axes=2),
        tg.ShapeError,
        "tensordot: expected axes in 0 .. 1",
    ),
    "tensordot text": (lambda: tg.tensordot(f32(2), f32(2), axes="ab"), tg.ShapeError, "tensordot: expected axes"),
    "diagonal": (lambda: tg.diagonal(f32(2)), tg.ShapeError, r"diagonal: expected matrices .*\(2,\)"),
    "trace": (lambda: tg.trace(f32(2)), tg.ShapeError, r"trace: expected matrices .*\(2,\)"),
    "norm": (lambda: tg.norm(f64(2, 2, 2), ord=2), tg.ShapeError, "norm: expected a vector or a matrix for ord=2"),
    "norm axes": (lambda: tg.norm(f64(2, 2, 2), axis=(0, 1, 2)), tg.ShapeError, r"norm: .*got \(0, 1, 2\): use vector"),
    "vector_norm of nothing": (lambda: tg.vector_norm(f64(0), ord=np.inf), tg.ShapeError, "vector_norm: .*ord=inf"),
    "einsum letters": (lambda: tg.einsum("i1->i", f32(2, 2)), tg.ShapeError, "einsum: expected subscripts of letters"),
    "einsum without text": (lambda: tg.einsum(f32(2), "i"), tg.ShapeError, "einsum: .*Tensor: put the operands after"),
    "einsum without operands": (lambda: tg.einsum("ij->i"), tg.ShapeError, "einsum: expected 1 operands .*got 0"),
    "einsum diagonal": (lambda: tg.einsum("ii->i", f32(2, 3)), tg.ShapeError, r"einsum: expected one size .*\(2, 3\)"),
    "einsum arrows": (lambda: tg.einsum("i->i->i", f32(2)), tg.ShapeError, "einsum: expected subscripts"),
    "stack shapes": (lambda: tg.stack([f32(2), f32(3)]), tg.ShapeError, r"stack: .*got \(2,\), \(3,\): pad"),
    "unstack": (lambda: tg.unstack(f32()), tg.ShapeError, "unstack: expected axis"),
    "moveaxis": (lambda: tg.moveaxis(f32(2, 3), (0, 1), 0), tg.ShapeError, r"moveaxis: .*got \(0, 1\) and 0"),
    "squeeze twice": (
        lambda: tg.squeeze(f32(1, 2), (0, 0)),
        tg.ShapeError,
        r"squeeze: expected each axis once, .*\(0, 0\)",
    ),
    "flip": (
        lambda: tg.flip(f32(2), axis=1),
        tg.ShapeError,
        r"flip: expected axis in -1 .. 0 for 1 axes, got 1: count",
    ),
    "repeat": (lambda: tg.repeat(f32(2), -1), tg.ShapeError, "repeat: expected repeats >= 0, got -1"),
    "repeat too often": (lambda: tg.repeat(f32(2), [2**62, 2**62]), tg.ShapeError, "repeat: .*fit into memory"),
    "repeat each": (lambda: tg.repeat(f32(2), [1, 2, 3]), tg.ShapeError, "repeat: expected 2 repeats"),
    "tile": (lambda: tg.tile(f32(2), (-1,)), tg.ShapeError, r"tile: expected sizes >= 0 .*\(-1,\)"),
    "meshgrid": (lambda: tg.meshgrid(f32(2, 2)), tg.ShapeError, r"meshgrid: expected vectors, got shapes \(2, 2\)"),
    "pad": (
        lambda: tg.pad(f32(2), ((1, 1), (1, 1))),
        tg.ShapeError,
        r"pad: .*each of 1 axes, got \(\(1, 1\), \(1, 1\)\)",
    ),
    "pad negative": (lambda: tg.pad(f32(2), -1), tg.ShapeError, r"pad: .*got \(\(-1, -1\),\)"),
    "pad reflect": (lambda: tg.pad(f32(2), 2, mode="reflect"), tg.ShapeError, "pad: expected widths that reflect can"),
    "pad too far": (lambda: tg.pad(f32(2), 2**60), tg.ShapeError, "pad: .*fits into memory"),
    "topk": (lambda: tg.topk(f32(2), 3), tg.ShapeError, r"topk: expected k in 0 .. 2 for axis 0 of \(2,\), got 3"),
    "searchsorted": (lambda: tg.searchsorted(f32(2, 2), f32(2)), tg.ShapeError, r"searchsorted: .*vector.*\(2, 2\)"),
    "sorter": (
        lambda: tg.searchsorted(f32(2), f32(2), sorter=np.array([0, 7])),
        tg.ShapeError,
        "searchsorted: .*sorter",
    ),
    "cumulative_prod": (lambda: tg.cumulative_prod(f32(2), axis=1), tg.ShapeError, "cumulative_prod: expected axis in"),
    "diff": (lambda: tg.diff(f32(2), n=-1), tg.ShapeError, "diff: expected n >= 0, got -1"),
    "nonzero": (lambda: tg.nonzero(f32()), tg.ShapeError, "nonzero: .*at least one axis"),
    "min of nothing": (lambda: tg.min(f32(0)), tg.ShapeError, r"min: expected at least one element .*\(0,\)"),
    "log_softmax of nothing": (lambda: tg.log_softmax(f32(0)), tg.ShapeError, "log_softmax: .*at least one"),
    "axis as a float": (
        lambda: tg.sum(f32(2), axis=1.5),
        tg.ShapeError,
        "sum: expected axis to be an integer, got 1.5",
    ),
    "axis as True": (
        lambda: tg.sum(f32(2, 2), axis=True),
        tg.ShapeError,
        "sum: expected axis to be an integer, got True",
    ),
    "axis as a list": (lambda: tg.sum(f32(2, 2), axis=[0]), tg.ShapeError, r"sum: .*integer, got \[0\]"),
    "axis beyond int64": (lambda: tg.sum(f32(2), axis=2**70), tg.ShapeError, "sum: expected axis to be an integer"),
    "shape of text": (lambda: f32(2).reshape("ab"), tg.ShapeError, "reshape: .*got 'ab'"),
    "two unknown sizes": (lambda: f32(4).reshape(-1, -1), tg.ShapeError, r"reshape: .*got \(-1, -1\)"),
    "reshape view": (lambda: tg.reshape(f32(2, 3).T, (6,), copy=False), tg.ShapeError, "reshape: .*copy=False"),
    "zeros too large": (lambda: tg.zeros((2**40, 2**40)), tg.ShapeError, "zeros: .*fit into memory.*: make it smaller"),
    "ones too large": (lambda: tg.ones(2**62), tg.ShapeError, "ones: .*fit into memory"),
    "too many axes": (lambda: tg.zeros((1,) * 65), tg.ShapeError, "zeros: expected at most 64 axes, got 65"),
    "arange too long": (lambda: tg.arange(2**62), tg.ShapeError, "arange: .*fit into memory"),
    "arange to nan": (lambda: tg.arange(0.0, np.nan), tg.ShapeError, "arange: "),
    "linspace": (lambda: tg.linspace(0, 1, -2), tg.ShapeError, r"linspace: expected sizes >= 0"),
    "linspace float": (lambda: tg.linspace(0, 1, 2.5), tg.ShapeError, "linspace: expected a shape"),
    "full text shape": (lambda: tg.full("ab", 1), tg.ShapeError, "full: expected a shape.*'ab'"),
    "no copy": (lambda: tg.asarray([1.0], copy=False), tg.ShapeError, "asarray: .*copy=False, got list"),
    "data of another shape": (
        lambda: with_data(f32(2), np.ones(3, np.float32)),
        tg.ShapeError,
        r"data: .*\(2,\).*\(3,\)",
    ),
    "one_hot": (lambda: tg.one_hot(np.array([3]), 2), tg.ShapeError, "one_hot: expected ids in 0 .. 1, got 3 .. 3"),
    "one_hot of nothing": (lambda: tg.one_hot(np.array([], int)), tg.ShapeError, "one_hot: .*at least one id"),
    "padding_idx": (lambda: tg.embedding(f32(2, 2), [0], padding_idx=2), tg.ShapeError, "embedding: .*-2 .. 1, got 2"),
    "bilinear": (lambda: tg.bilinear(f32(2), f32(3), f32(1, 3, 2)), tg.ShapeError, r"bilinear: .*\(1, 3, 2\)"),
    "conv1d": (lambda: tg.conv1d(f32(2, 3, 5), f32(1, 2, 2)), tg.ShapeError, r"conv1d: .*\(2, 3, 5\), \(1, 2, 2\)"),
    "conv1d short": (lambda: tg.conv1d(f32(1, 1, 2), f32(1, 1, 3)), tg.ShapeError, "conv1d: .*as long as the kernel"),
    "group_norm": (lambda: tg.group_norm(f32(2, 3), 2), tg.ShapeError, r"group_norm: .*\(2, 3\) and 2 groups"),
    "mse_loss": (lambda: tg.mse_loss(f32(2), f32(3)), tg.ShapeError, r"mse_loss: .*\(2,\) and \(3,\): reshape"),
    "loss weight": (
        lambda: tg.binary_cross_entropy(f32(2), f32(2), weight=f32(3)),
        tg.ShapeError,
        r"binary_cross_entropy: expected weight to broadcast to the shape of x, \(2,\), got \(3,\)",
    ),
    "class weight": (lambda: tg.cross_entropy(f32(2, 3), i64(2), weight=f32(2)), tg.ShapeError, "weight for each of 3"),
    "probabilities": (lambda: tg.cross_entropy(f32(2, 3), f32(2, 4)), tg.ShapeError, r"cross_entropy: .*\(2, 4\)"),
    "nll_loss": (lambda: tg.nll_loss(f32(2, 3), np.array([0, 9])), tg.ShapeError, "nll_loss: .*0 .. 2.*got 9"),
    "cdist": (lambda: tg.cdist(f32(2, 3), f32(2, 4)), tg.ShapeError, r"cdist: .*\(2, 3\) and \(2, 4\)"),
    "cosine_similarity": (lambda: tg.cosine_similarity(f32(2, 3), f32(2, 4)), tg.ShapeError, "cosine_similarity: "),
    "normalize": (lambda: tg.normalize(f32(2)), tg.ShapeError, "normalize: expected axis in -1 .. 0 for 1 axes, got 1"),
    "setitem": (lambda: put(tg.ones((2,)), 0, [1.0, 2.0]), tg.ShapeError, r"setitem: .*\(2,\)"),
    "setitem place": (lambda: put(tg.ones((2,)), 5, 1.0), tg.ShapeError, r"setitem: .*\(2,\), got 5"),
    "setitem ragged": (lambda: put(tg.ones((2,)), 0, [[1.0], [1.0, 2.0]]), tg.ShapeError, "setitem: .*ragged"),
    "uniform": (lambda: KEY.uniform((2, -1)), tg.ShapeError, r"uniform: .*\(2, -1\)"),
    "uniform number": (lambda: KEY.uniform(3), tg.ShapeError, "uniform: expected a shape.*got 3"),
    "bits": (lambda: KEY.bits(-1), tg.ShapeError, "bits: expected count >= 0, got -1"),
    "float of many": (lambda: float(f32(2)), tg.ShapeError, r"item: .*\(2,\)"),
    # dtypes
    "a matrix": (lambda: tg.multiply(np.ones((1, 1)).view(np.matrix), 2.0), tg.DTypeError, "multiply: .*got matrix"),
    "a masked array": (lambda: tg.sum(np.ma.array([1.0], mask=[True])), tg.DTypeError, "sum: .*got MaskedArray"),
    "a tensor of masked": (lambda: tg.tensor(np.ma.array([1.0], mask=[True])), tg.DTypeError, "tensor: .*masked one"),
    "tensor of None": (lambda: tg.tensor(None), tg.DTypeError, "tensor: .*got None"),
    "tensor of objects": (lambda: tg.tensor([object()]), tg.DTypeError, "tensor: expected real numbers"),
    "tensor of a dict": (lambda: tg.tensor({"a": 1.0}), tg.DTypeError, "tensor: expected real numbers"),
    "int8 of 300": (lambda: tg.tensor([300], dtype="int8"), tg.DTypeError, r"tensor: .*int8 can hold, got \[300\]"),
    "uint8 of -1": (lambda: tg.full((2,), -1, dtype="uint8"), tg.DTypeError, "full: .*uint8 can hold, got -1"),
    "int of 1.5": (lambda: tg.full((2,), 1.5, dtype="int64"), tg.DTypeError, "full: .*int64 can hold, got 1.5"),
    "int of nan": (lambda: tg.tensor([np.nan], dtype="int64"), tg.DTypeError, r"tensor: .*int64 can hold, got \[nan\]"),
    "int beyond int64": (lambda: tg.tensor(10**30), tg.DTypeError, "tensor: .*got 1000"),
    "int8 + 300": (lambda: I8 + 300, tg.DTypeError, "add: .*int8 and 300"),
    "uint8 - 1000": (lambda: tg.tensor(np.ones(2, np.uint8)) * 1000, tg.DTypeError, "multiply: .*uint8 and 1000"),
    "float + 10**400": (lambda: f32(2) + 10**400, tg.DTypeError, "add: .*float32 and 1000"),
    "bool + 2": (lambda: BOOL + 2, tg.DTypeError, "add: .*bool, got 2"),
    "bool + bool": (lambda: BOOL * 1.5, tg.DTypeError, "multiply: .*bool, got 1.5"),
    "int / and float": (lambda: i64(2) / 2.5, tg.DTypeError, "divide: .*int64, got 2.5"),
    "int @ float": (lambda: i64(2, 2) @ f64(2, 2), tg.DTypeError, "matmul: .*int64 and float64"),
    "bits of floats": (lambda: f32(2) & f32(2), tg.DTypeError, "bitwise_and: expected integers or bools.*float32"),
    "inverse of floats": (lambda: ~f32(2), tg.DTypeError, "bitwise_invert: .*float32"),
    "shift of bools": (lambda: BOOL << BOOL, tg.DTypeError, "bitwise_left_shift: expected integers, got dtype bool"),
    "square of bool": (lambda: tg.square(BOOL), tg.DTypeError, "square: .*bool"),
    "compare kinds": (lambda: f32(2) < i64(2), tg.DTypeError, "less: .*float32 and int64"),
    "equal to text": (lambda: f32(2) == "a", tg.DTypeError, "equal: .*got str"),
    "inv of float16": (lambda: tg.inv(np.ones((2, 2), np.float16)), tg.DTypeError, "inv: .*float16"),
    "rtol": (lambda: tg.pinv(f64(2, 2), rtol="a"), tg.DTypeError, "pinv: expected rtol to be a Python number, got 'a'"),
    "var correction": (lambda: tg.var(f32(2), correction=None), tg.DTypeError, "var: expected correction .*got None"),
    "requires_grad": (
        lambda: tg.ones((2,), requires_grad=1),
        tg.DTypeError,
        ": expected requires_grad to be True or F",
    ),
    "is_causal": (lambda: sdpa(*[f32(1, 1, 2, 2)] * 3, is_causal=None), tg.DTypeError, f"{ATTENTION}: .*is_causal"),
    "eps": (lambda: tg.layer_norm(f32(2), eps="small"), tg.DTypeError, "layer_norm: expected eps .*got 'small'"),
    "delta": (lambda: tg.huber_loss(f32(2), f32(2), delta=None), tg.DTypeError, "huber_loss: expected delta .*None"),
    "repeat floats": (lambda: tg.repeat(f32(2), [1.0, 2.0]), tg.DTypeError, "repeat: expected integers.*float64"),
    "one_hot floats": (lambda: tg.one_hot(f32(2)), tg.DTypeError, "one_hot: .*float32"),
    "index text": (lambda: f32(2)[["a"]], tg.DTypeError, "getitem: .*<U1"),
    "stack kinds": (lambda: tg.stack([f32(2), i64(2)]), tg.DTypeError, "stack: .*float32, int64"),
    "meshgrid kinds": (lambda: tg.meshgrid(f32(2), i64(2)), tg.DTypeError, "meshgrid: .*float32, int64"),
    "pad value": (lambda: tg.pad(I8, 1, value=300), tg.DTypeError, "pad: expected a value that int8 can hold, got 300"),
    "setitem floats": (lambda: put(i64(2), 0, [1.5]), tg.DTypeError, r"setitem: .*int64 can hold, got \[1.5\]"),
    "setitem int8": (lambda: put(tg.tensor(np.ones(2, np.int8)), 0, [300]), tg.DTypeError, "setitem: .*int8 can hold"),
    "row keys": (lambda: RowKeys([KEY]), tg.DTypeError, r"RowKeys: expected a tuple of Keys, got \[Key"),  # type: ignore[arg-type]
    "recomputed pair": (
        lambda: tg.recompute(lambda x: (x, x))(f32(2)),
        tg.GraphError,
        "recompute: expected a function that returns one Tensor",
    ),
    "setitem kinds": (lambda: put(tg.ones((2,)), 0, f64().detach()), tg.DTypeError, "setitem: .*float32 and float64"),
    "data of text": (lambda: with_data(f32(2), "a"), tg.DTypeError, "data: expected an array, got 'a'"),
    "dtype None": (lambda: f32(2).astype(None), tg.DTypeError, "dtype: .*got None"),
    "dtype complex": (lambda: f32(2).astype(complex), tg.DTypeError, "dtype: .*got <class 'complex'>"),
    "dtype object": (lambda: tg.zeros((2,), dtype=object), tg.DTypeError, "dtype: .*object"),
    "finfo": (lambda: tg.finfo("int64"), tg.DTypeError, "finfo: .*int64: use iinfo"),
    "iinfo": (lambda: tg.iinfo("float32"), tg.DTypeError, "iinfo: .*float32: use finfo"),
    "result_type": (lambda: tg.result_type("int64", "float32"), tg.DTypeError, "result_type: .*int64 and float32"),
    "isdtype": (lambda: tg.isdtype("float32", "floaty"), tg.DTypeError, "dtype: .*'floaty'"),
    "normal of integers": (lambda: KEY.normal((2,), dtype="int64"), tg.DTypeError, "normal: .*int64"),
    "uniform of float16": (lambda: KEY.uniform((2,), dtype="float16"), tg.DTypeError, "uniform: .*float16"),
    "a key of text": (lambda: tg.dropout(f32(2), "key", rate=0.5), tg.DTypeError, "dropout: .*Key, got str"),
    "check_grads key": (lambda: tg.check_grads(FUNCTION, f64(2), key=3), tg.DTypeError, "check_grads: .*Key, got 3"),
    "no function": (lambda: tg.vjp(3, f64(2)), tg.DTypeError, "vjp: expected a function, got 3"),
    "recompute": (lambda: tg.recompute(None), tg.DTypeError, "recompute: expected a function, got None"),
    "index of a float": (lambda: range(tg.ones(())), tg.DTypeError, "index: .*float32"),
    # graphs
    "second backward": (twice, tg.GraphError, "backward: .*freed by an earlier backward: pass create_graph=True"),
    "second grad": (grad_twice, tg.GraphError, "backward: .*freed"),
    "gradient without a graph": (second_order_of_first, tg.GraphError, "backward: .*without history"),
    "no_grad": (under_no_grad, tg.GraphError, "backward: .*without history: was it computed under no_grad"),
    "backward of an array": (
        lambda: tg.grad(np.ones(()), f32()),
        tg.GraphError,
        "grad: expected outputs to be a Tensor",
    ),
    "grad of nothing": (lambda: tg.grad([], f32()), tg.GraphError, r"grad: expected outputs .*got \[\]"),
    "grad in an array": (
        lambda: tg.grad(f32().sum(), np.ones(2)),
        tg.GraphError,
        "grad: expected inputs to be a Tensor",
    ),
    "vjp shape": (lambda: custom(np.ones(3, np.float32)), tg.ShapeError, r"the vjp of custom .*\(2,\).*\(3,\)"),
    "vjp dtype": (lambda: custom(np.ones(2)), tg.DTypeError, "the vjp of custom .*float32, got .*float64"),
    "vjp None": (lambda: custom(None), tg.DTypeError, "the vjp of custom to be a Tensor or an array, got None"),
    "vjp list": (lambda: custom([1.0, 1.0]), tg.DTypeError, r"the vjp of custom .*got \[1.0, 1.0\]"),
    "vjp count": (lambda: joint([np.ones(2, np.float32)]), tg.GraphError, "the vjp of joint .*2 cotangents"),
    "vjp of one": (lambda: joint(np.ones(2, np.float32)), tg.GraphError, "the vjp of joint .*2 cotangents.*ndarray"),
    "vjp of Nones": (
        lambda: joint([None, None]),
        tg.DTypeError,
        "the vjp of joint to be a Tensor or an array, got None",
    ),
    "value of a number": (lambda: tg.record(2.0, (f32(), FUNCTION)), tg.DTypeError, "record: .*array, got 2.0"),
    "edges": (lambda: tg.record(np.ones(2), f32(2), FUNCTION), tg.GraphError, r"record: expected pairs \(input, vjp\)"),
    "joint inputs": (lambda: tg.record_joint(np.ones(2), f32(2), FUNCTION), tg.GraphError, "record_joint: .*list of"),
    "hook shape": (lambda: hooked(tg.ones((3,))), tg.ShapeError, r"the result of a gradient hook .*\(2,\).*\(3,\)"),
    "hook dtype": (lambda: hooked(f64(2)), tg.DTypeError, "the result of a gradient hook .*float32, got .*float64"),
    "hook array": (lambda: hooked(np.ones(2, np.float32)), tg.DTypeError, "hook: .*got ndarray of shape"),
    "hook of constant": (
        lambda: tg.ones((2,)).register_hook(FUNCTION),
        tg.GraphError,
        "register_hook: .*requires_grad",
    ),
    "no hook": (lambda: f32(2).register_hook(3), tg.DTypeError, "register_hook: expected a function, got 3"),
    "seed shape": (lambda: tg.square(f32(2)).backward(tg.ones((3,))), tg.ShapeError, r"the gradient given .*\(3,\)"),
    "seed dtype": (lambda: tg.square(f32(2)).backward(f64(2)), tg.DTypeError, "the gradient given .*float64"),
    "seed text": (lambda: tg.square(f32(2)).backward("a"), tg.DTypeError, "the gradient given .*got 'a'"),
    "seed list": (lambda: tg.square(f32(2)).backward([1.0, 1.0]), tg.DTypeError, r"the gradient given .*\[1.0, 1.0\]"),
    "create_graph": (
        lambda: f32().sum().backward(create_graph="yes"),
        tg.DTypeError,
        "backward: expected create_graph",
    ),
    "write in place": (
        lambda: written(lambda x: np.add(x.data, 1, out=x.data)),
        tg.GraphError,
        "values that square was",
    ),
    "write through data": (
        lambda: written(lambda x: x.data.fill(3)),
        tg.GraphError,
        "square .*use tensorgrad.index_update",
    ),
    "write a result": (lambda: put(tg.ones((2,)), 0, f32() * 2.0), tg.GraphError, "setitem: .*index_update"),
    "write to a leaf": (lambda: put(f32(2), 0, 1.0), tg.GraphError, "setitem: .*leaf made with requires_grad=True"),
    "write to a result": (lambda: put(f32(2) * 2.0, 0, 1.0), tg.GraphError, "setitem: .*result of multiply: use"),
    "write to a view": (
        lambda: put(tg.broadcast_to(tg.ones((1,)), (2,)), 0, 1.0),
        tg.GraphError,
        "setitem: .*read-only",
    ),
    "NumPy of a leaf": (lambda: np.asarray(f32(2)), tg.GraphError, "numpy: .*got the leaf.*detach"),
    "NumPy's function": (lambda: np.fft.fft(f32(2)), tg.GraphError, r"numpy.fft: .*use tensorgrad's functions"),
    "dlpack of a leaf": (lambda: np.from_dlpack(f32(2)), tg.GraphError, "dlpack: .*detach"),
    "deepcopy": (lambda: copy.deepcopy(f32(2) * 2.0), tg.GraphError, "deepcopy: .*result of multiply: copy x.detach"),
    "weight with a gradient": (
        lambda: tg.cross_entropy(f32(2, 3), i64(2), weight=f32(3)),
        tg.GraphError,
        "cross_entropy: .*needs no gradient, got .*: detach it",
    ),
    "jvp without a list": (
        lambda: tg.jvp(FUNCTION, f32(2), f32(2)),
        tg.GraphError,
        "jvp: expected a list of inputs, got T",
    ),
    "vjp cotangent": (lambda: tg.vjp(FUNCTION, f32(2))[1](None), tg.GraphError, "vjp: expected a cotangent .*got none"),
    "hvp direction": (lambda: tg.hvp(lambda x: x.sum(), f32(2), None), tg.GraphError, "hvp: expected a direction"),
    "hessian of a vector": (lambda: tg.hessian(FUNCTION, f32(2)), tg.GraphError, r"backward: .*\(2,\), got none"),
    "graph of a constant": (lambda: tg.graph(tg.ones((2,))), tg.GraphError, "graph: .*requires_grad=True"),
    "wrong gradient": (
        lambda: tg.check_grads(lambda x: tg.record(x.numpy() ** 2, (x, lambda g: g)), np.array([0.7])),
        tg.GradientError,
        "check_grads: expected the derivative that differences give, order 1",
    ),
    # values
    "mode": (lambda: tg.pad(f32(2), 1, mode="edge"), tg.ArgumentError, 'pad: .*"constant", "replicate".*got \'edge\''),
    "indexing": (lambda: tg.meshgrid(f32(2), indexing="yx"), tg.ArgumentError, "meshgrid: .*'yx': choose one"),
    "side": (lambda: tg.searchsorted(f32(2), f32(2), side="up"), tg.ArgumentError, "searchsorted: expected side"),
    "qr mode": (lambda: tg.qr(f64(2, 2), mode="full"), tg.ArgumentError, 'qr: .*"reduced", "complete", got \'full\''),
    "norm ord": (lambda: tg.norm(f64(2, 2), ord=3, axis=(0, 1)), tg.ArgumentError, 'norm: expected ord "fro".*got 3'),
    "reduction None": (lambda: tg.mse_loss(f32(2), f32(2), reduction=None), tg.ArgumentError, "mse_loss: .*got None"),
    "batchmean": (
        lambda: tg.l1_loss(f32(2), f32(2), reduction="batchmean"),
        tg.ArgumentError,
        "l1_loss: .*'batchmean'",
    ),
    "smoothing": (
        lambda: tg.cross_entropy(f32(2, 3), i64(2), label_smoothing=2.0),
        tg.ArgumentError,
        "0 .. 1, got 2.0",
    ),
    "huber delta": (
        lambda: tg.huber_loss(f32(2), f32(2), delta=0.0),
        tg.ArgumentError,
        "huber_loss: expected delta > 0",
    ),
    "beta": (
        lambda: tg.smooth_l1_loss(f32(2), f32(2), beta=-1.0),
        tg.ArgumentError,
        "smooth_l1_loss: expected beta >= 0",
    ),
    "logits as probabilities": (
        lambda: tg.binary_cross_entropy(tg.full((2,), 2.0), f32(2)),
        tg.ArgumentError,
        "binary_cross_entropy: expected x in 0 .. 1, got 2.0 .. 2.0: are they logits",
    ),
    "hardtanh": (lambda: tg.hardtanh(f32(2), min_val=1.0, max_val=0.0), tg.ArgumentError, "hardtanh: .*1.0 and 0.0"),
    "softplus": (lambda: tg.softplus(f32(2), beta=0.0), tg.ArgumentError, "softplus: expected beta > 0, got 0.0"),
    "celu": (lambda: tg.celu(f32(2), alpha=0.0), tg.ArgumentError, "celu: expected alpha other than 0"),
    "cdist p": (lambda: tg.cdist(f32(2, 2), f32(2, 2), p=-1), tg.ArgumentError, "cdist: expected p >= 0, got -1"),
    "conv1d padding": (
        lambda: tg.conv1d(f32(1, 1, 3), f32(1, 1, 1), padding="full"),
        tg.ArgumentError,
        "conv1d: .*'full'",
    ),
    "rate": (lambda: tg.dropout(f32(2), KEY, rate=-0.1), tg.ArgumentError, "dropout: .*got -0.1"),
    "seed": (lambda: tg.Key(-1), tg.ArgumentError, r"Key: expected seed in 0 .. 2\*\*64 - 1, got -1"),
    "seed of text": (lambda: tg.Key("a"), tg.ArgumentError, "Key: expected seed .*got 'a'"),
    "fold_in": (lambda: KEY.fold_in(-1), tg.ArgumentError, "fold_in: .*got -1"),
    "integers": (lambda: KEY.integers(3, 3), tg.ArgumentError, r"integers: expected low < high, got \[3, 3\)"),
    "threads": (lambda: tg.threads(0).__enter__(), tg.ArgumentError, "threads: expected 1 or more, got 0"),
    "namespace": (
        lambda: f32(2).__array_namespace__(api_version="1999"),
        tg.ArgumentError,
        "up to 2024.12, got '1999'",
    ),
    # matrices
    "singular solve": (
        lambda: tg.solve(SINGULAR, np.ones(2)),
        tg.LinAlgError,
        r"solve: expected invertible .*\(2, 2\)",
    ),
    "singular inv": (
        lambda: tg.inv(SINGULAR),
        tg.LinAlgError,
        "inv: expected invertible .*add a multiple of the identity",
    ),
    "singular power": (lambda: tg.matrix_power(SINGULAR, -1), tg.LinAlgError, "inv: expected invertible"),
    "singular slogdet": (
        lambda: tg.slogdet(tg.tensor(SINGULAR, requires_grad=True)).logabsdet.backward(),
        tg.LinAlgError,
        "slogdet: expected invertible matrices to differentiate",
    ),
    "indefinite": (lambda: tg.cholesky(-SINGULAR), tg.LinAlgError, "cholesky: expected positive definite"),
    "nan svd": (lambda: tg.svd(NAN), tg.LinAlgError, "svd: expected finite .*look for nan and inf"),
    "nan pinv": (lambda: tg.pinv(NAN), tg.LinAlgError, "pinv: expected finite"),
    "one of a stack": (
        lambda: tg.inv(np.stack([np.eye(2), SINGULAR])),
        tg.LinAlgError,
        r"inv: .*\(2, 2, 2\), whose matrix at \(1,\) is not",
    ),
    # devices
    "device of bytes": (lambda: tg.zeros((2,), device=b"cpu"), tg.DeviceError, "device: .*got b'cpu'"),
    "device None": (lambda: f32(2).to_device(None), tg.DeviceError, "device: .*got None"),
    "stream": (lambda: f32(2).to_device("cpu", stream=1), tg.DeviceError, "to_device: expected no stream"),
}

# --- what holds of many functions alike --------------------------------------------------------

UNARY_FLOAT = (
    *(
        "exp",
        "exp2",
        "expm1",
        "log",
        "log1p",
        "log2",
        "log10",
        "sqrt",
        "rsqrt",
        "sin",
        "cos",
        "tan",
        "sinh",
        "cosh",
        "tanh",
    ),
    *("asin", "acos", "atan", "asinh", "acosh", "atanh", "erf", "sigmoid", "reciprocal", "relu", "relu6", "leaky_relu"),
    *(
        "elu",
        "selu",
        "celu",
        "gelu",
        "silu",
        "mish",
        "softplus",
        "softsign",
        "logsigmoid",
        "hardtanh",
        "mean",
        "var",
        "std",
    ),
    *("logsumexp", "softmax", "log_softmax", "normalize", "vector_norm", "det", "inv", "cholesky", "qr", "svd", "eigh"),
)
BINARY = (
    *(
        "add",
        "subtract",
        "multiply",
        "divide",
        "floor_divide",
        "remainder",
        "pow",
        "atan2",
        "hypot",
        "logaddexp",
        "copysign",
    ),
    *("maximum", "minimum", "nextafter", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
)
REDUCTIONS = ("sum", "mean", "var", "std", "max", "min", "prod", "any", "all", "count_nonzero", "logsumexp")
LOSSES = ("mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss", "kl_div", "binary_cross_entropy")

for op in UNARY_FLOAT:
    f = getattr(tg, op)
    WRONG[f"{op} of int64"] = (lambda f=f: f(i64(2, 2)), tg.DTypeError, f"^{op}: expected a float dtype, got int64")
for op in BINARY:
    f = getattr(tg, op)
    WRONG[f"{op} of two shapes"] = (
        lambda f=f: f(f32(2, 3), f32(2)),
        tg.ShapeError,
        rf"^{op}: expected shapes that broadcast, got \(2, 3\) and \(2,\)",
    )
for op in REDUCTIONS:
    f = getattr(tg, op)
    WRONG[f"{op} over axis 2"] = (
        lambda f=f: f(f32(2, 2), axis=2),
        tg.ShapeError,
        rf"^{op}: expected axis in -2 \.\. 1 for 2 axes, got 2",
    )
    WRONG[f"{op} over an axis twice"] = (
        lambda f=f: f(f32(2, 2), axis=(0, -2)),
        tg.ShapeError,
        rf"^{op}: expected each axis once, got axis=\(0, -2\)",
    )
    WRONG[f"{op} keeping text"] = (
        lambda f=f: f(f32(2), keepdims="no"),
        tg.DTypeError,
        f"^{op}: expected keepdims to be",
    )
for op in LOSSES:
    f = getattr(tg, op)
    WRONG[f"{op} by average"] = (
        lambda f=f: f(f32(2), f32(2), reduction="average"),
        tg.ArgumentError,
        f'^{op}: expected reduction to be one of "mean", .*got .average.',
    )
    WRONG[f"{op} of two sizes"] = (lambda f=f: f(f32(2), f32(3)), tg.ShapeError, rf"^{op}: .*\(2,\) and \(3,\)")
