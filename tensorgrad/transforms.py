"""Functions of functions: derivatives of any order, and recomputation.

Each takes a function of Tensors, or of trees of Tensors (dataclasses, lists, tuples, dicts: a whole
model), that returns a Tensor or a tree of Tensors. No `.grad` changes. Inputs may also be arrays. They
are differentiated as fresh leaves, so what they were computed from plays no part, except under
`recompute`, and inside a function that is being transformed itself: transforms nest.

Anything but a float Tensor in a tree is a constant, and None in a tree of gradients. A Tensor that
appears at two places of a tree is one variable: its whole gradient appears at both.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

from tensorgrad.arguments import check_function
from tensorgrad.array import Array, is_array, module_of
from tensorgrad.backward import grad, run_back_to
from tensorgrad.cotangent import Request
from tensorgrad.dtype import is_float
from tensorgrad.errors import DTypeError, GraphError, shown
from tensorgrad.ops import reshape, stack
from tensorgrad.ops.common import float_operand
from tensorgrad.tape import Node, is_recording, leaf, record, record_joint, recording
from tensorgrad.tensor import Tensor
from tensorgrad.tree import map_tensors, named_tensors, replace_tensors, walk
from tensorgrad.writes import now

__all__ = ["hessian", "hvp", "jacobian", "jvp", "recompute", "value_and_grad", "vjp"]

Function = Callable[..., Any]
Tree = Any  # a Tensor, or a tree of them


def value_and_grad(f: Function) -> Callable[..., tuple[Tensor, tuple[Tree, ...]]]:
    """The function xs -> (f(*xs), the gradient with respect to each x), for f that returns one element."""
    check_function("value_and_grad", f)

    @functools.wraps(f)
    def with_gradient(*xs: Tree) -> tuple[Tensor, tuple[Tree, ...]]:
        inputs = _Inputs("value_and_grad", xs)
        out = inputs.passed_to(f)
        if type(out) is not Tensor:
            raise GraphError(
                f"value_and_grad: expected a function that returns one Tensor, got {shown(out)}: return the loss alone"
            )
        return inputs.results(out), inputs.like(inputs.grad(out))

    return with_gradient


def vjp(f: Function, *xs: Tree) -> tuple[Tree, Callable[[Tree], tuple[Tree, ...]]]:
    """f(*xs), and the function g -> the gradient of sum(f(*xs) * g), which may be called many times."""
    inputs = _Inputs("vjp", xs)
    out = inputs.passed_to(f)
    outputs = _Outputs("vjp", out)

    def pullback(g: Tree) -> tuple[Tree, ...]:
        gs = _matching("vjp", "cotangent", g, outputs.names)
        pairs = [(y, g) for y, g in zip(outputs.tensors, gs, strict=True) if y.requires_grad]
        if not pairs:
            return inputs.like([_zeros(x) for x in inputs.leaves])
        return inputs.like(inputs.grad([y for y, _ in pairs], [g for _, g in pairs], keep_graph=True))

    return inputs.results(out), pullback


def jvp(f: Function, xs: Sequence[Tree], ts: Sequence[Tree]) -> tuple[Tree, Tree]:
    """f(*xs), and its derivative along the direction `ts`, one tangent per x.

    A vjp is linear in its cotangent, so its own vjp is the jvp: two backwards make one forward mode
    (Townsend, "A new trick for calculating Jacobian vector products", 2017).
    """
    for what, given in (("inputs", xs), ("tangents", ts)):
        if not isinstance(given, (list, tuple)):
            raise GraphError(f"jvp: expected a list of {what}, got {shown(given)}: put it into a list")
    inputs = _Inputs("jvp", xs)
    if len(ts) != len(inputs.trees):
        raise GraphError(
            f"jvp: expected one tangent per input, got {len(ts)} for {len(inputs.trees)} inputs: "
            "give zeros for an input that does not move"
        )
    tangents = [
        t for given, names in zip(ts, inputs.names, strict=True) for t in _matching("jvp", "tangent", given, names)
    ]
    out = inputs.passed_to(f)
    outputs = _Outputs("jvp", out)
    cotangents = [leaf(_zeros(y).array) for y in outputs.tensors]
    recorded = [(y, c) for y, c in zip(outputs.tensors, cotangents, strict=True) if y.requires_grad]
    along = [_zeros(y) for y in outputs.tensors]
    if recorded:
        pulled = grad([y for y, _ in recorded], inputs.leaves, [c for _, c in recorded], create_graph=True)
        linear = [(x, t) for x, t in zip(pulled, tangents, strict=True) if x.requires_grad]
        if linear:
            tangents = [t for _, t in linear]
            along = list(grad([x for x, _ in linear], cotangents, tangents, create_graph=inputs.are_nested))
    return inputs.results(out), outputs.like(along)


def hvp(f: Function, x: Tree, v: Tree) -> Tree:
    """The Hessian of the scalar f at x, times v, without making the Hessian."""
    inputs = _Inputs("hvp", [x])
    vs = _matching("hvp", "direction", v, inputs.names[0])
    pairs = [(s, d) for s, d in zip(_slopes("hvp", f, inputs), vs, strict=True) if s.requires_grad]
    if not pairs:
        return inputs.like([_zeros(leaf) for leaf in inputs.leaves])[0]
    return inputs.like(inputs.grad([s for s, _ in pairs], [d for _, d in pairs]))[0]


def jacobian(f: Function, x: Tree) -> Tree:
    """Every derivative of every output: shape f(x).shape + x.shape, one backward per output element.

    For trees: a tree like f(x), with a tree like x in the place of each Tensor.
    """
    inputs = _Inputs("jacobian", [x])
    outputs = _Outputs("jacobian", inputs.passed_to(f))
    return outputs.like([inputs.like(_rows(y, inputs))[0] for y in outputs.tensors])


def hessian(f: Function, x: Tree) -> Tree:
    """Every second derivative of the scalar f: shape x.shape + x.shape; for a tree x, a tree of trees like x."""
    inputs = _Inputs("hessian", [x])
    return inputs.like([inputs.like(_rows(s, inputs))[0] for s in _slopes("hessian", f, inputs)])[0]


def _slopes(op: str, f: Function, inputs: _Inputs) -> tuple[Tensor, ...]:
    """The gradients of the scalar f, recorded; zeros where f does not depend on an input."""
    out = inputs.passed_to(f)
    if type(out) is not Tensor:
        raise GraphError(
            f"{op}: expected a function that returns one Tensor, got {shown(out)}: return one of them, or their sum"
        )
    if not out.requires_grad:
        return tuple(_zeros(x) for x in inputs.leaves)
    return grad(out, inputs.leaves, create_graph=True)


def _rows(out: Tensor, inputs: _Inputs) -> list[Tensor]:
    """The Jacobian of one output in each leaf."""
    xp = module_of(out.array)
    if not out.requires_grad or not out.size:
        return [Tensor(xp.zeros(out.shape + x.shape, x.dtype)) for x in inputs.leaves]
    rows = []
    for i in range(out.size):
        one_hot = xp.zeros(out.size, out.dtype)
        one_hot[i] = 1
        rows.append(inputs.grad(out, Tensor(one_hot.reshape(out.shape)), keep_graph=True))
    return [reshape(stack(column), out.shape + column[0].shape) for column in zip(*rows, strict=True)]


class _Thread(threading.local):
    depth = 0  # how many transformed functions are running: above 0, results must be differentiable again


_thread = _Thread()


class _Inputs:
    """The inputs of a function, with fresh leaves in place of their float Tensors.

    Inside a function that is being transformed itself, a Tensor with a history is replaced by a copy that
    continues this history, and every gradient is recorded.
    """

    def __init__(self, op: str, xs: Sequence[Tree]) -> None:
        self.op = op
        self.are_nested = False
        self.leaves: list[Tensor] = []
        self.names: list[list[str]] = []  # for each input, of its leaves
        self.trees: list[Tree] = []
        for x in xs:
            tree = x
            if type(x) is Tensor or is_array(x):
                tree = x if type(x) is Tensor and is_float(x.dtype) else Tensor(float_operand(op, x))
            found = {name: t for name, t in named_tensors(tree).items() if is_float(t.dtype)}
            if not found:
                raise DTypeError(
                    f"{op}: expected a float Tensor, an array or a tree of Tensors as input, got {shown(x)}: "
                    "make it with tensorgrad.tensor"
                )
            fresh = {name: self._fresh(t) for name, t in found.items()}
            self.leaves += fresh.values()
            self.names.append(list(fresh))
            self.trees.append(replace_tensors(tree, fresh))

    def _fresh(self, x: Tensor) -> Tensor:
        if not (_thread.depth and x.requires_grad and is_recording()):
            return leaf(x.array)
        self.are_nested = True
        return record(x.array, (x, lambda g: g))

    def passed_to(self, f: Function) -> Tree:
        """f of the inputs."""
        check_function(self.op, f)
        _thread.depth += 1
        try:
            return f(*self.trees)
        finally:
            _thread.depth -= 1

    def grad(self, outputs: Any, gradients: Any = None, *, keep_graph: bool = False) -> tuple[Tensor, ...]:
        """The gradients with respect to the leaves."""
        return grad(outputs, self.leaves, gradients, create_graph=self.are_nested, keep_graph=keep_graph)

    def results(self, out: Tree) -> Tree:
        """What the function returned, without history unless a transform around this one needs it."""
        return out if self.are_nested else map_tensors(Tensor.detach, out)

    def like(self, values: Sequence[Any]) -> tuple[Tree, ...]:
        """Trees like the inputs, with a value in place of each leaf and None in place of any other Tensor."""
        by_id = {id(x): value for x, value in zip(self.leaves, values, strict=True)}
        return tuple(map_tensors(lambda t: by_id.get(id(t)), tree) for tree in self.trees)


class _Outputs:
    """What a function returned: its distinct Tensors and their names."""

    def __init__(self, op: str, out: Tree) -> None:
        self.out = out
        named = named_tensors(out)
        self.names, self.tensors = list(named), list(named.values())
        if not named:
            raise GraphError(
                f"{op}: expected a function that returns a Tensor or a tree of Tensors, got {shown(out)}: "
                "return what you want to differentiate"
            )

    def like(self, values: Sequence[Any]) -> Tree:
        by_id = {id(y): value for y, value in zip(self.tensors, values, strict=True)}
        return map_tensors(lambda t: by_id[id(t)], self.out)


def _matching(op: str, what: str, tree: Tree, names: Sequence[str]) -> list[Tensor | Array]:
    """The Tensors of `tree` under `names`; a bare array counts as a Tensor."""
    given = {"": tree} if type(tree) is Tensor or is_array(tree) else dict(walk(tree))
    missing = [name for name in names if name not in given]
    if missing:
        raise GraphError(
            f"{op}: expected a {what} for each Tensor, in a tree of the same form, "
            f"got none for {missing[0] or 'it'!r}: give zeros where there is none"
        )
    return [given[name] for name in names]


def _zeros(x: Tensor) -> Tensor:
    return Tensor(module_of(x.array).zeros(x.shape, x.dtype))


def recompute(f: Function) -> Function:
    """f without keeping its activations: backward computes f once more (gradient checkpointing).

    Gradients reach the arguments and every other Tensor that f uses, such as a layer's parameters. f must
    return one Tensor, with the same values each time; random numbers drawn from a `Key` are the same.

    Source: Chen et al., "Training deep nets with sublinear memory cost", 2016.
    """

    check_function("recompute", f)

    @functools.wraps(f)
    def recomputed(*xs: Any) -> Any:
        if not is_recording():
            return f(*xs)
        first_serial = now()
        out = _one_output(f(*xs))
        if not out.requires_grad:
            return out
        sources = _sources(out, first_serial)
        # Only the nodes count here: the second computation has the values.
        inputs = [Tensor(out.array, node) for node in sources]
        out_array = out.array
        del out  # and with it the activations

        def vjp(g: Any, requests: list[Request | None]) -> list[Any]:
            with recording():
                again = _one_output(f(*xs))
            asked_for = [source for source, request in zip(sources, requests, strict=True) if request]
            found = iter(run_back_to(asked_for, [again], [g], create_graph=type(g) is Tensor, ends=sources))
            return [next(found) if request else None for request in requests]

        return record_joint(out_array, inputs, vjp, selects=True)

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


def _one_output(out: Any) -> Tensor:
    if type(out) is not Tensor:
        raise GraphError(
            f"recompute: expected a function that returns one Tensor, got {shown(out)}: recompute its parts one by one"
        )
    return out
