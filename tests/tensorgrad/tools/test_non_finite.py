"""The first bad value: planted in every op, forward and backward, it is found with the right op and line."""

from __future__ import annotations

import functools
import math
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from gpt.config import ModelConfig
from gpt.model import GPT
from tensorgrad import tape
from tensorgrad.tree import named_tensors, replace_tensors
from tensorgrad.verify.case import Case
from tests.tensorgrad.each import CASES_OF, each_case


def here() -> int:
    """The line that this is called on."""
    return sys._getframe(1).f_lineno


def error_of(f: Callable[[], Any]) -> tg.NonFiniteError:
    with np.errstate(all="ignore"), tg.find_non_finite(), pytest.raises(tg.NonFiniteError) as caught:
        f()
    error: tg.NonFiniteError = caught.value
    assert Path(error.file) == Path(__file__) or error.path == ("leaf",)
    return error


# --- planted faults ----------------------------------------------------------------------------


def filled(x: Any, value: float) -> Any:
    """x with every element `value`, if it is of floats."""
    if type(x) is tg.Scatter:
        return tg.Scatter(x.shape, x.index, filled(x.values, value), repeats=x.repeats)
    if isinstance(x, (list, tuple)):
        return [filled(part, value) for part in x]
    return x if x is None or x.dtype.kind != "f" else np.full(x.shape, value, x.dtype)


def in_library(f: Any) -> Any:
    """f as if it were code of the library: what is planted is a fault of an op, not of the program."""
    return types.FunctionType(f.__code__, {**globals(), "__name__": "tensorgrad.planted"}, f.__name__)


class Plant:
    """The first floats that `op` records, itself or through ops that it is made of, become `value`."""

    def __init__(self, patch: pytest.MonkeyPatch, op: str, value: float, *, backward: bool) -> None:
        self.code = getattr(tg, op).__code__
        self.value = value
        self.backward = backward
        self.is_done = False
        modules = [module for name, module in sys.modules.items() if name.startswith("tensorgrad.")]
        for name in ("record", "record_joint"):
            original, planted = getattr(tape, name), functools.partial(in_library(getattr(Plant, name)), self)
            for module in modules:
                if module is not tape and getattr(module, name, None) is original:
                    patch.setattr(module, name, planted)

    def is_due(self, out: Any, inputs: Any) -> bool:
        if self.backward and not any(type(x) is tg.Tensor and x.requires_grad for x in inputs):
            return False
        frame: types.FrameType | None = sys._getframe()
        while frame is not None and frame.f_code is not self.code:
            frame = frame.f_back
        is_due = not self.is_done and frame is not None and out.dtype.kind == "f" and out.size > 0
        self.is_done |= is_due
        return is_due

    @staticmethod
    def spoiled(vjp: Callable[..., Any], value: float) -> Callable[..., Any]:
        return functools.wraps(vjp)(lambda *args: filled(vjp(*args), value))

    def record(self, out: Any, *edges: Any, **options: Any) -> Any:
        if self.is_due(np.asarray(out), [x for x, _ in edges]):
            if self.backward:
                edges = tuple((x, Plant.spoiled(vjp, self.value)) for x, vjp in edges)
            else:
                out = np.full_like(out, self.value)
        return tape.record(out, *edges, **options)

    def record_joint(self, out: Any, inputs: Any, vjp: Any, **options: Any) -> Any:
        if self.is_due(np.asarray(out), inputs):
            if self.backward:
                vjp = Plant.spoiled(vjp, self.value)
            else:
                out = np.full_like(out, self.value)
        return tape.record_joint(out, inputs, vjp, **options)


@contextmanager
def planted(op: str, value: float, *, backward: bool) -> Iterator[Plant]:
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        yield Plant(patch, op, value, backward=backward)


DIFFERENTIABLE = {op: found for op, cases in CASES_OF.items() if (found := [c for c in cases if c.is_differentiable])}


class Program:
    """A case's call, forward and if asked backward, which remembers its line."""

    def __init__(self, case: Case, *, backward: bool) -> None:
        self.case, self.backward = case, backward
        self.leaves = [tg.tensor(a, requires_grad=True) for a in case.inputs()]
        self.line = 0

    def __call__(self) -> list[np.ndarray]:
        """What a planted value should reach."""
        self.line = here() + 1
        out = self.case.f(*self.leaves)
        if not self.backward:
            results = out if isinstance(out, tuple) else (out,)
            return [x.numpy() for x in results if x.dtype.kind == "f"]
        return [g.numpy() for g in tg.grad(out, self.leaves, np.ones_like(out.numpy()))]


def is_caught(case: Case, value: float, *, backward: bool) -> bool:
    """Whether the value that is planted in the case's op raises the error, which must then be right."""
    program = Program(case, backward=backward)
    with planted(case.op, value, backward=backward):
        try:
            reaches_the_end = not all(np.isfinite(a).all() for a in program())
        except tg.LinAlgError:  # the op says itself what is wrong
            return False
    error = None
    with planted(case.op, value, backward=backward):
        try:
            with tg.find_non_finite():
                program()
        except tg.NonFiniteError as caught:
            error = caught
    if error is None:
        assert not reaches_the_end
        return False
    assert error.path[0] == case.op
    assert error.is_backward == backward
    assert (Path(error.file), error.line) == (Path(__file__), program.line)
    return True


BAD = (math.nan, math.inf, -math.inf)


@pytest.mark.untraced
@pytest.mark.parametrize("op", CASES_OF)
def test_planted_forward(op: str) -> None:
    each_case(lambda case: is_caught(case, BAD[len(case.name) % 3], backward=False), CASES_OF[op])


@pytest.mark.untraced
@pytest.mark.parametrize("op", DIFFERENTIABLE)
def test_planted_backward(op: str) -> None:
    each_case(lambda case: is_caught(case, BAD[len(case.name) % 3], backward=True), DIFFERENTIABLE[op])


# These divide by what they record first: an inf there gives a finite 0.
DIVIDE = ("normalize", "softsign")
# It records nothing.
NO_TENSOR = ("broadcast_shapes",)


@pytest.mark.parametrize("op", sorted(DIFFERENTIABLE.keys() - {*NO_TENSOR}))
def test_every_op_has_a_case_that_is_caught(op: str) -> None:
    """Without one the two tests above would prove nothing about the op."""
    for backward in (False, True):
        for value in BAD if backward or op not in DIVIDE else BAD[:1]:
            assert any(is_caught(case, value, backward=backward) for case in DIFFERENTIABLE[op]), (value, backward)


def passes(case: Case) -> None:
    leaves = [tg.tensor(a, requires_grad=True) for a in case.inputs()]
    with tg.find_non_finite():
        out = case.f(*leaves)
        if case.is_differentiable:
            for g in tg.grad(out, leaves, np.ones_like(out.numpy()), create_graph=True):
                if g.requires_grad:
                    tg.grad(g.sum(), leaves, keep_graph=True)


@pytest.mark.parametrize("op", CASES_OF)
def test_what_is_right_passes(op: str) -> None:
    each_case(passes, CASES_OF[op])


# --- programs ----------------------------------------------------------------------------------


def test_an_operand_that_is_bad_already_is_not_to_blame() -> None:
    x = tg.tensor([[0.0, 1.0], [2.0, 3.0]], requires_grad=True)
    mask = np.array([[0.0, -np.inf], [0.0, 0.0]], np.float32)
    with tg.find_non_finite():
        weights = tg.softmax(x + mask)
        (weights * tg.where(tg.tensor([True, False]), x, -np.inf)[:, :1]).sum().backward()
        tg.scaled_dot_product_attention(*[x[None, None]] * 3, mask=mask)


def test_a_nan_made_of_infs_is_to_blame() -> None:
    x = tg.tensor([1.0, 2.0])
    error = error_of(lambda: tg.softmax(tg.where(x < 0, x, -np.inf)))
    assert error.path == ("softmax",)


def test_the_gradient_of_a_branch_not_taken() -> None:
    """where() keeps the bad value out of the result, not out of the gradient: 0 / 0."""
    x = tg.tensor([0.0, 1.0], requires_grad=True)

    def f() -> None:
        root = tg.sqrt(x)
        tg.where(x > 0, root, 0.0).sum().backward()

    error = error_of(f)
    assert error.path == ("sqrt", "divide")
    assert error.is_backward
    assert error.line == f.__code__.co_firstlineno + 1


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("size", [2, 2000])  # a large sum is made in place of one of its terms
def test_gradients_that_are_finite_but_for_their_sum(size: int, create_graph: bool) -> None:
    x = tg.full((size,), 1e-3, requires_grad=True)

    def f() -> None:
        y = tg.negative(x)
        z = y * 2e38 + y * 2e38 + y * 1e38
        tg.grad(z, x, np.ones(size, np.float32), create_graph=create_graph)

    error = error_of(f)
    assert (error.path, error.is_backward) == (("negative",), True)
    assert error.line == f.__code__.co_firstlineno + 1
    assert "expected a finite sum of the gradients that reach it, got" in str(error)


def test_slices_whose_gradients_overflow_where_they_meet() -> None:
    x = tg.full((4,), 1e-3, requires_grad=True)
    error = error_of(lambda: (x[:3] * 3e38 + x[1:] * 3e38).sum().backward())
    assert (error.path, error.is_backward) == (("leaf",), True)


def test_an_op_inside_an_op_is_named() -> None:
    x = tg.ones((1, 1), requires_grad=True)
    weight, g = tg.tensor([[3e38], [-3e38]]), np.float32([[2, -2]])
    error = error_of(lambda: tg.linear(x, weight).backward(g, create_graph=True))
    assert error.path == ("linear", "matmul")


def test_ops_inside_count_only_if_the_result_is_bad() -> None:
    x = tg.tensor([-800.0, 800.0], dtype="float64", requires_grad=True)
    with tg.find_non_finite():
        tg.grad(tg.sigmoid(x).sum(), x, create_graph=True)[0].sum().backward()
        tg.recompute(tg.softmax)(x * 1e300).sum().backward()


def test_no_elements() -> None:
    assert error_of(lambda: tg.mean(tg.zeros((0,)))).path == ("mean",)


def test_an_op_of_the_program_itself() -> None:
    def cube(x: tg.Tensor) -> tg.Tensor:
        return tg.record(x.numpy() ** 3, (x, lambda g: g * x * x * 3 * math.inf))

    x = tg.tensor([1e30], requires_grad=True)
    line = here() + 1
    error = error_of(lambda: cube(x))
    assert (error.path, error.line, error.is_backward) == (("cube",), line, False)
    y = tg.tensor([2.0], requires_grad=True)
    line = here() + 1
    error = error_of(lambda: cube(y).backward())
    assert (error.path[0], error.line, error.is_backward) == ("cube", line, True)


def test_recomputed() -> None:
    x = tg.tensor([0.0], requires_grad=True)

    def root(x: tg.Tensor) -> tg.Tensor:
        return tg.sqrt(x)

    error = error_of(lambda: tg.recompute(root)(x).sum().backward())
    assert error.path == ("sqrt", "divide")
    assert error.line == root.__code__.co_firstlineno + 1


def test_recorded_before() -> None:
    y = tg.sqrt(tg.tensor([0.0], requires_grad=True))
    with np.errstate(all="ignore"), tg.find_non_finite(), pytest.raises(tg.NonFiniteError) as caught:
        y.backward()
    assert caught.value.path == ("sqrt", "divide")
    assert "recorded outside find_non_finite" in str(caught.value)


def test_the_message() -> None:
    x = tg.tensor([0.0, 0.5, 2.0], requires_grad=True)
    error = error_of(lambda: tg.divide(x, x - x))
    assert str(error) == (
        f"divide: expected a finite result, got 1 nan and 2 inf, called at {__file__}:{error.line}: "
        "look at its operands\n"
        "    x: float32 (3,), 0 .. 2\n"
        "    y: float32 (3,), 0 .. 0\n"
        "    result: float32 (3,), 1 nan, 2 inf"
    )
    error = error_of(lambda: tg.log(x + 0.0 * tg.exp(x)).sum())
    assert "    x: float32 (3,), 0 .. 2\n    result: float32 (3,), -0.693147 .. 0.693147, 1 inf" in str(error)


GPT2 = ModelConfig(
    num_layers=3,
    num_heads=2,
    model_dim=16,
    context_length=8,
    vocab_size=11,
    positions="learned",
    norm="layer_norm",
    activation="gelu",
    has_bias=True,
)
LLAMA = ModelConfig(num_layers=3, num_heads=2, model_dim=16, context_length=8, vocab_size=11, is_head_tied=False)
IDS_BT = np.arange(12).reshape(2, 6) % 11


@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_a_model_with_one_weight_too_large(config: ModelConfig) -> None:
    model = GPT.init(config, tg.Key(1))
    name = "blocks.1.mlp.up.weight" if config is GPT2 else "blocks.1.mlp.gate_up.weight"
    weight = named_tensors(model)[name].numpy().copy()
    weight[3, 5] = 3e38
    broken = replace_tensors(model, {name: tg.tensor(weight, requires_grad=True)})
    error = error_in_model(model, broken)
    assert (error.path, error.is_backward) == (("mlp",), False)
    assert Path(error.file).name == "mlp.py"


def test_a_model_whose_gradient_overflows() -> None:
    """Logits of a usual size, as the product of very large and very small weights; their gradients are added up."""
    model = GPT.init(LLAMA, tg.Key(1))
    signs_V1 = np.where(np.arange(11) % 2, 1, -1)[:, None]
    large_VC = (signs_V1 * np.full(16, 3e38)).astype(np.float32)
    broken = replace_tensors(
        model,
        {
            "head.weight": tg.tensor(large_VC, requires_grad=True),
            "norm.weight": tg.full((16,), 3e-38, requires_grad=True),
        },
    )
    error = error_in_model(model, broken)
    assert (error.path, error.is_backward) == (("linear_cross_entropy",), True)
    assert Path(error.file).name == "linear.py"


def error_in_model(model: GPT, broken: GPT) -> tg.NonFiniteError:
    """What the second model raises; the first one is to pass."""
    with np.errstate(all="ignore"), tg.find_non_finite():
        model.loss(IDS_BT, IDS_BT).backward()
        with pytest.raises(tg.NonFiniteError) as caught:
            broken.loss(IDS_BT, IDS_BT, reduction="sum").backward()
    error: tg.NonFiniteError = caught.value
    return error


def test_nothing_is_left_behind() -> None:
    x = tg.tensor([0.0], requires_grad=True)
    assert sys.getprofile() is None
    with tg.find_non_finite():
        assert sys.getprofile() is not None
    assert sys.getprofile() is None
    error_of(lambda: 1 / x)
    assert sys.getprofile() is None
    assert not hasattr((x * 2).node, "site")
