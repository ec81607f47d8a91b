"""Wrong programs: each gets one of this library's errors, which names the op and what was wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg

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

WRONG: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    # shapes
    "add": (lambda: f32(2, 3) + f32(2), tg.ShapeError, r"add: .*\(2, 3\) and \(2,\)"),
    "subtract": (lambda: f32(2) - f32(3), tg.ShapeError, "subtract: "),
    "multiply": (lambda: f32(2) * np.ones(3, np.float32), tg.ShapeError, r"multiply: .*\(2,\) and \(3,\)"),
    "divide": (lambda: f32(2) / f32(3), tg.ShapeError, "divide: "),
    "pow": (lambda: f32(2) ** f32(3), tg.ShapeError, "pow: "),
    "maximum": (lambda: tg.maximum(f32(2), f32(3)), tg.ShapeError, "maximum: "),
    "logaddexp": (lambda: tg.logaddexp(f32(2), f32(3)), tg.ShapeError, "logaddexp: "),
    "compare": (lambda: f32(2) < f32(3), tg.ShapeError, "less: "),
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
    "sum axis": (lambda: f32(2).sum(axis=1), tg.ShapeError, "sum: expected axis in -1 .. 0"),
    "sum axes": (lambda: f32(2, 2).sum(axis=(0, -2)), tg.ShapeError, "sum: expected each axis once"),
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
    "f32 @ f64": (lambda: f32(2, 2) @ np.ones((2, 2)), tg.DTypeError, "matmul: .*float32 and float64"),
    "int + 0.5": (lambda: i64(2) + 0.5, tg.DTypeError, "add: .*int64, got 0.5"),
    "int8 + 1000": (lambda: tg.tensor(np.zeros(2, np.int8)) + 1000, tg.DTypeError, "add: .*int8 and 1000"),
    "int ** -1": (lambda: i64(2) ** -1, tg.DTypeError, "pow: "),
    "bool - bool": (lambda: tg.tensor([True]) - tg.tensor([True]), tg.DTypeError, "subtract: .*bool"),
    "-bool": (lambda: -tg.tensor([True]), tg.DTypeError, "negative: .*bool"),
    "sign of bool": (lambda: tg.sign(tg.tensor([True])), tg.DTypeError, "sign: .*bool"),
    "tensor + text": (lambda: f32(2) + "a", tg.DTypeError, "add: .*str"),
    "tensor + None": (lambda: f32(2) + None, tg.DTypeError, "add: .*NoneType"),
    "tensor + list": (lambda: tg.add(f32(2), [1.0, 2.0]), tg.DTypeError, "add: .*list"),
    "tensor * complex": (lambda: f32(2) * 1j, tg.DTypeError, "multiply: .*complex"),
    "exp of integers": (lambda: tg.exp(i64(2)), tg.DTypeError, "exp: expected a float dtype, got int64"),
    "exp of number": (lambda: tg.exp(2.0), tg.DTypeError, "exp: .*float: make it with tensorgrad.tensor"),
    "mean of integers": (lambda: i64(2).mean(), tg.DTypeError, "mean: .*int64"),
    "softmax of integers": (lambda: tg.softmax(i64(2)), tg.DTypeError, "softmax: .*int64"),
    "gelu of integers": (lambda: tg.gelu(i64(2)), tg.DTypeError, "gelu: .*int64"),
    "attention of integers": (lambda: sdpa(*[i64(1, 1, 2, 2)] * 3), tg.DTypeError, f"{ATTENTION}: .*int64"),
    "attention of number": (
        lambda: sdpa(1.0, f32(1, 1, 2, 2), f32(1, 1, 2, 2)),
        tg.DTypeError,
        f"{ATTENTION}: .*float",
    ),
    "attention dtypes": (lambda: sdpa(f32(1, 1, 2, 2), f64(1, 1, 2, 2), f64(1, 1, 2, 2)), tg.DTypeError, ATTENTION),
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
    "einsum dtypes": (lambda: tg.einsum("i,i", f32(2), f64(2)), tg.DTypeError, "einsum: "),
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
    "complex array": (lambda: tg.exp(np.ones(2, complex)), tg.DTypeError, "exp: .*complex128"),
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


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_program_gets_a_clear_error(name: str) -> None:
    program, kind, message = WRONG[name]
    with pytest.raises(kind, match=message) as caught:
        program()
    if kind is not ValueError:
        assert isinstance(caught.value, tg.TensorgradError)
    text = str(caught.value)
    assert "\n" not in text
    assert "expected" in text
    assert "got" in text or "needs no gradient" in text or ": " in text


def test_errors_are_the_built_in_kinds_that_numpy_users_catch() -> None:
    assert issubclass(tg.ShapeError, ValueError)
    assert issubclass(tg.DTypeError, TypeError)
    assert issubclass(tg.DeviceError, RuntimeError)
    assert issubclass(tg.GraphError, RuntimeError)
    assert issubclass(tg.GradientError, AssertionError)


@pytest.mark.parametrize("name", [n for n, (_, kind, _) in WRONG.items() if kind in (tg.ShapeError, tg.DTypeError)])
def test_no_half_made_state_is_left(name: str) -> None:
    with pytest.raises(tg.TensorgradError):
        WRONG[name][0]()
    assert tg.is_recording()
    x = f64(2)
    (x * x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2.0, 2.0])
