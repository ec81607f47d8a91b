"""Functions of functions: derivatives of any order, and recomputation.

Each takes a function of Tensors that returns one Tensor, and leaves every `.grad` alone. Inputs may
be Tensors or arrays; they are differentiated as fresh leaves, so what they were computed from plays
no part, except under `recompute`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from tensorgrad.array import Array, module_of
from tensorgrad.backward import grad, run_back_to
from tensorgrad.errors import GraphError
from tensorgrad.ops import reshape, stack
from tensorgrad.ops.common import float_operand
from tensorgrad.tape import (
    Node,
    is_recording,
    leaf,
    new_serial,
    record_joint,
    recording,
)
from tensorgrad.tensor import Tensor

__all__ = ["hessian", "hvp", "jacobian", "jvp", "recompute", "value_and_grad", "vjp"]

Function = Callable[..., Tensor]


def value_and_grad(f: Function) -> Callable[..., tuple[Tensor, tuple[Tensor, ...]]]:
    """The function xs -> (f(*xs), its gradient with respect to each x); f returns one element."""

    @functools.wraps(f)
    def with_gradient(*xs: Tensor | Array) -> tuple[Tensor, tuple[Tensor, ...]]:
        leaves = _leaves(xs)
        value = _output(f(*leaves))
        return value.detach(), grad(value, leaves)

    return with_gradient


def vjp(f: Function, *xs: Tensor | Array) -> tuple[Tensor, Callable[[Tensor | Array], tuple[Tensor, ...]]]:
    """f(*xs), and the function g -> the gradient of sum(f(*xs) * g), which may be called again and again."""
    leaves = _leaves(xs)
    out = _output(f(*leaves))

    def pullback(g: Tensor | Array) -> tuple[Tensor, ...]:
        return grad(out, leaves, g, keep_graph=True)

    return out.detach(), pullback


def jvp(f: Function, xs: Sequence[Tensor | Array], ts: Sequence[Tensor | Array]) -> tuple[Tensor, Tensor]:
    """f(*xs), and its derivative along the direction `ts`, one tangent per x.

    A vjp is linear in its cotangent, so its own vjp is the jvp: two backwards make one forward mode
    (Townsend, "A new trick for calculating Jacobian vector products", 2017).
    """
    leaves = _leaves(xs)
    out = _output(f(*leaves))
    if len(ts) != len(leaves):
        raise GraphError(f"jvp: expected one tangent per input, got {len(ts)} for {len(leaves)} inputs")
    if not out.requires_grad:
        return out, Tensor(module_of(out.data).zeros(out.shape, out.dtype))
    cotangent = leaf(module_of(out.data).zeros(out.shape, out.dtype))
    pulled = grad(out, leaves, cotangent, create_graph=True)
    linear = [(x, t) for x, t in zip(pulled, ts, strict=True) if x.requires_grad]
    if not linear:
        return out.detach(), Tensor(module_of(out.data).zeros(out.shape, out.dtype))
    (tangent,) = grad([x for x, _ in linear], cotangent, [t for _, t in linear])
    return out.detach(), tangent


def hvp(f: Function, x: Tensor | Array, v: Tensor | Array) -> Tensor:
    """The Hessian of the scalar f at x, times v, without making the Hessian."""
    (x,) = _leaves([x])
    slope = _slope(f, x)
    if not slope.requires_grad:
        return Tensor(module_of(x.data).zeros(x.shape, x.dtype))
    return grad(slope, x, v)[0]


def jacobian(f: Function, x: Tensor | Array) -> Tensor:
    """Every derivative of every output: shape f(x).shape + x.shape, one backward per output element."""
    (x,) = _leaves([x])
    return _rows(_output(f(x)), x)


def hessian(f: Function, x: Tensor | Array) -> Tensor:
    """Every second derivative of the scalar f: shape x.shape + x.shape."""
    (x,) = _leaves([x])
    return _rows(_slope(f, x), x)


def _slope(f: Function, x: Tensor) -> Tensor:
    """The gradient of the scalar f at x, recorded; zeros where f does not depend on x."""
    out = _output(f(x))
    if not out.requires_grad:
        return Tensor(module_of(x.data).zeros(x.shape, x.dtype))
    return grad(out, x, create_graph=True)[0]


def _rows(out: Tensor, x: Tensor) -> Tensor:
    xp = module_of(out.data)
    if not out.requires_grad or not out.data.size:
        return Tensor(xp.zeros(out.shape + x.shape, x.dtype))
    rows = []
    for i in range(out.data.size):
        one_hot = xp.zeros(out.data.size, out.dtype)
        one_hot[i] = 1
        rows.append(grad(out, x, Tensor(one_hot.reshape(out.shape)), keep_graph=True)[0])
    return reshape(stack(rows), out.shape + x.shape)


def recompute(f: Function) -> Function:
    """f, but keeping none of its activations: backward computes f once more (gradient checkpointing).

    Gradients reach the arguments and every Tensor that f uses besides them, such as a layer's
    parameters. f must return one Tensor, and the same one each time: random numbers by `Key` are.

    Source: Chen et al., "Training deep nets with sublinear memory cost", 2016.
    """

    @functools.wraps(f)
    def recomputed(*xs: Any) -> Any:
        if not is_recording():
            return f(*xs)
        first_serial = new_serial()
        out = _output(f(*xs))
        if not out.requires_grad:
            return out
        sources = _sources(out, first_serial)
        # Only the nodes count here: which values they belong to, the second computation knows.
        inputs = [Tensor(out.data, node) for node in sources]
        out_array = out.data
        del out  # and with it the activations

        def vjp(g: Any) -> Any:
            with recording():
                again = _output(f(*xs))
            return run_back_to(sources, [again], [g], create_graph=type(g) is Tensor, stop_there=True)

        return record_joint(out_array, inputs, vjp)

    return recomputed


def _sources(out: Tensor, first_serial: int) -> list[Node]:
    """The nodes older than `first_serial`, and the leaves, that `out` was computed from."""
    found: dict[Node, None] = {}
    seen: set[Node] = set()
    stack = [out.node]
    while stack:
        node = stack.pop()
        assert node is not None
        if node in seen:
            continue
        seen.add(node)
        if node.serial < first_serial or node.vjps is None:
            found[node] = None
        else:
            stack.extend(node.parents)
    return list(found)


def _leaves(xs: Sequence[Tensor | Array]) -> list[Tensor]:
    return [leaf(float_operand("gradient", x)) for x in xs]


def _output(out: Any) -> Tensor:
    if type(out) is not Tensor:
        raise GraphError(f"expected a function that returns one Tensor, got {type(out).__name__}")
    return out
