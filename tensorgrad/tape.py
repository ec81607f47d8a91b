"""The tape: who was computed from what, and how a gradient reaches each input.

Every op ends in `record`, which pairs its inputs with functions that carry a cotangent (the
gradient of some scalar with respect to the op's output) back to each of them:

    def multiply(x, y):
        a, b = operands("multiply", x, y)
        return record(a * b, (x, lambda g: multiply(g, y)), (y, lambda g: multiply(g, x)))

These vector-Jacobian products ("vjps") are written with ordinary ops. An op computes when it is
given arrays, and computes and records when it is given Tensors; so the same vjp serves every order:
a first-order backward hands it arrays, `create_graph=True` hands it Tensors.

Nodes point to nodes, never to tensors, and hold no values; what an op keeps for its gradient is
exactly what its vjps capture. (The one addition: a vjp that needs the op's own output takes it as
a second argument. A closure over the output would be a reference cycle.) There are no cycles
anywhere, so activations die by reference count while `backward.py` runs the tape back.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tensorgrad.arguments import as_flag, check_function
from tensorgrad.array import Array, is_array, module_of
from tensorgrad.errors import DTypeError, GraphError, shown
from tensorgrad.kernels import kernels_for
from tensorgrad.tensor import Tensor
from tensorgrad.writes import now

__all__ = [
    "Node",
    "Request",
    "Scatter",
    "data",
    "is_last_backward",
    "is_observed",
    "is_recording",
    "no_grad",
    "observed",
    "place_gradient",
    "record",
    "record_joint",
]

Vjp = Callable[..., Any]
Hook = Callable[[Tensor], "Tensor | None"]

FREED = ("freed",)  # the vjps of a node that a backward has been through


class Node:
    """One recorded value: its parents, and the vjps that reach them. A leaf has neither, but a `grad`."""

    __slots__ = (
        "__weakref__",
        "dtype",
        "grad",
        "grad_place",
        "hooks",
        "output",
        "parents",
        "serial",
        "shape",
        "vjps",
    )

    def __init__(self, parents: Sequence[Node], vjps: Any, out: Array, output: Array | None = None) -> None:
        self.parents = parents
        self.vjps = vjps  # a list, one per parent; or a Joint; None at a leaf; FREED
        self.shape = out.shape
        self.dtype = out.dtype
        self.serial = now()  # the order of creation
        self.output = output  # only where the vjps take it
        self.grad: Tensor | None = None  # only at leaves
        self.grad_place: Tensor | None = None  # that a leaf's grad is to be, whatever is in it before
        self.hooks: dict[int, Hook] | None = None

    @property
    def op(self) -> str:
        """The name of the function that recorded this node, without the underscore of a private one."""
        if self.vjps is None:
            return "leaf"
        if not self.parents:
            return "freed"
        vjp = self.vjps.vjp if type(self.vjps) is Joint else self.vjps[0]
        while isinstance(vjp, functools.partial):
            vjp = vjp.func
        return str(getattr(vjp, "__qualname__", type(vjp).__name__)).split(".")[0].lstrip("_")


class Request:
    """That somebody wants the cotangent of an input of a joint vjp; which may put it into `buffer`, if there is one."""

    __slots__ = ("accumulate", "buffer")

    def __init__(self, buffer: Array | None = None, *, accumulate: bool = True) -> None:
        self.buffer = buffer  # of the gradient of the input, a leaf
        self.accumulate = accumulate  # whether to add to what is in the buffer, or to write over it


class Joint:
    """A vjp that returns the cotangents of all of an op's inputs at once."""

    __slots__ = ("count", "kept", "selects", "vjp")

    def __init__(self, vjp: Vjp, kept: tuple[int, ...], count: int, selects: bool) -> None:
        self.vjp = vjp
        self.kept = kept  # which of the returned cotangents belong to the node's parents
        self.count = count  # how many are returned
        self.selects = selects  # whether the vjp is told which are wanted, as `record_joint` says

    def of_inputs(self, of_parents: Sequence[Request | None]) -> list[Request | None]:
        """What there is one of for each parent, at the place of its input; None at the others."""
        found: list[Request | None] = [None] * self.count
        for position, value in zip(self.kept, of_parents, strict=True):
            found[position] = value
        return found

    def separate(self, op: str, results: Sequence[Any], wanted: Sequence[Request | None]) -> list[Vjp | None]:
        """For each parent a vjp that has its result already; None for one whose result is in its buffer."""
        if not isinstance(results, (list, tuple)) or len(results) != self.count:
            raise GraphError(
                f"backward: expected the vjp of {op} to return a list of {self.count} cotangents, one for each input, "
                f"got {shown(results)}: "
                "return zeros for one without a gradient"
            )
        return [
            None
            if results[position] is None and (asked := wanted[position]) is not None and asked.buffer is not None
            else lambda _, result=results[position]: result
            for position in self.kept
        ]


class Scatter:
    """A cotangent that is zero but for `values` at `index`: what slices and look-ups send back.

    It is added into a buffer where one is there already, so k slices of one tensor cost one buffer
    and k writes, not k buffers. With `repeats` the index may name an element more than once; `order`
    is then its stable argsort, if that is known.
    """

    __slots__ = ("dtype", "index", "order", "repeats", "shape", "values")

    def __init__(
        self, shape: tuple[int, ...], index: Any, values: Array, *, repeats: bool, order: Array | None = None
    ) -> None:
        self.shape, self.dtype = shape, values.dtype
        self.index, self.values, self.repeats, self.order = index, values, repeats, order

    def add_to(self, buffer: Array) -> None:
        if self.repeats:
            kernels_for(buffer).scatter_add(buffer, self.index, self.values, self.order)
        else:
            buffer[self.index] += self.values

    def dense(self) -> Array:
        buffer: Array = module_of(self.values).zeros(self.shape, self.dtype)
        if self.repeats:
            self.add_to(buffer)
        else:
            buffer[self.index] = self.values
        return buffer


# --- recording ---------------------------------------------------------------------------------

RECORD, NO_GRAD, BARE = "record", "no_grad", "bare"


class _Thread(threading.local):
    mode = RECORD  # bare: inside a first-order backward, where ops return arrays
    is_last = False  # inside a backward that frees what it has been through
    is_observed = False  # inside `observed`


_thread = _Thread()
_ndarray, _new = np.ndarray, object.__new__


def data(x: Any) -> Any:
    """The array of a Tensor; anything else as it is."""
    return x.array if type(x) is Tensor else x


def record(out: Any, *edges: tuple[Any, Vjp], keep_output: bool = False) -> Tensor:
    """Make an op's result from its value, and remember how gradients reach its inputs.

    Args:
        out: the value, an array (a NumPy scalar is made one).
        edges: for each input that could have a gradient, (input, vjp). An input may be a Tensor, an
            array or a number; vjp maps the cotangent g of the result to the cotangent of the input,
            in the input's shape and dtype, by ops that have gradients themselves.
        keep_output: the vjps take the op's output as a second argument.
    Returns: a Tensor if any input is one, else the array.

    A custom op is written as the library's own are:

        def cube(x):
            a = x.array if isinstance(x, Tensor) else x
            return record(a**3, (x, lambda g: multiply(g, multiply(square(x), 3))))
    """
    if type(out) is not _ndarray:
        out = _value(out)
    mode = _thread.mode
    if mode is BARE:
        return out  # type: ignore[no-any-return]
    parents = []
    vjps = []
    try:
        for x, vjp in edges:
            if type(x) is Tensor:
                node = x.node
                if node is not None:
                    parents.append(node)
                    vjps.append(vjp)
    except (TypeError, ValueError):
        raise GraphError(
            f"record: expected pairs (input, vjp) after the value, got {shown(edges)}: "
            "write record(value, (x, vjp), ...)"
        ) from None
    if not parents or mode is NO_GRAD:
        return _unrecorded(out, [x for x, _ in edges])
    if len(parents) < len(edges):
        _note_operands(x for x, _ in edges)
    # In place of Node(...) and Tensor(...), two calls that every recorded op would wait for.
    node = _new(Node)
    node.parents = parents
    node.vjps = vjps
    node.shape = out.shape
    node.dtype = out.dtype
    node.serial = now()
    node.output = out if keep_output else None
    node.grad = node.grad_place = node.hooks = None
    result: Tensor = _new(Tensor)
    result.array = out
    result.node = node
    return result


def record_joint(out: Any, inputs: Sequence[Any], vjp: Vjp, *, selects: bool = False) -> Tensor:
    """`record` for an op whose gradients share their work: vjp returns one cotangent per input, in order.

    With `selects` it is called as vjp(g, wanted), with a list of as many: None for an input whose cotangent nobody
    asks for, in whose place it may return None; else a `Request`. The `buffer` of that is the gradient of an input that
    is a leaf and has one, or a place for it, else None: the vjp may add the cotangent to it, or write it as
    `accumulate` says, by itself or by other threads for later (`kernels.threads.run_later`), and return None.
    """
    if type(out) is not _ndarray:
        out = _value(out)
    if _thread.mode is BARE:
        return out  # type: ignore[no-any-return]
    if not isinstance(inputs, (list, tuple)):
        raise GraphError(
            f"record_joint: expected a list of inputs after the value, got {shown(inputs)}: "
            "write record_joint(value, [x, y], vjp)"
        )
    check_function("record_joint", vjp)
    selects = as_flag("record_joint", "selects", selects)
    kept = tuple(i for i, x in enumerate(inputs) if type(x) is Tensor and x.node is not None)
    if not kept or _thread.mode is NO_GRAD:
        return _unrecorded(out, inputs)
    if len(kept) < len(inputs):
        _note_operands(inputs)
    return Tensor(out, Node([inputs[i].node for i in kept], Joint(vjp, kept, len(inputs), selects), out))


def _value(out: Any) -> Any:
    """An op's result as an array: a NumPy scalar is made one. Raises DTypeError for what is none."""
    if isinstance(out, np.generic):
        return np.asarray(out)
    if not is_array(out):
        raise DTypeError(
            f"record: expected the value of an op to be an array, got {shown(out)}: "
            "make it with the functions of the operand's module"
        )
    return out


def _unrecorded(out: Any, inputs: Sequence[Any]) -> Tensor:
    """The result of an op that no gradient goes through: a Tensor if an input was one."""
    return Tensor(out) if any(type(x) is Tensor for x in inputs) else out


def _note_operands(inputs: Iterable[Any]) -> None:
    """Those without a gradient may be needed for that of another: who writes into them is to say so."""
    for x in inputs:
        if type(x) is Tensor and x.node is None:
            x.is_operand = True


def leaf(array: Array) -> Tensor:
    """A Tensor without history that collects a gradient."""
    return Tensor(array, Node((), None, array))


def place_gradient(x: Tensor, place: Tensor) -> None:
    """From now on, where leaf `x` has no gradient yet, the first is written to `place`, which then is `x.grad`.

    So `x.grad = None` starts a new sum without a pass over zeros. `place` is of the shape and dtype of x, without
    history; of a backward with create_graph, which records the gradient, nothing is written to it.
    """
    previous, x.grad = x.grad, place  # is checked so
    x.grad = previous
    x.node.grad_place = place  # type: ignore[union-attr]  # it is a leaf, or x.grad would have been refused


def is_recording() -> bool:
    """Whether ops on Tensors that need a gradient are being recorded in this thread."""
    return _thread.mode is RECORD


def is_last_backward() -> bool:
    """Whether the calling vjp runs for the last time and may overwrite arrays that it alone holds: never in `observed`."""
    return _thread.is_last and not _thread.is_observed


def is_observed() -> bool:
    """Whether a backward in this thread must let every cotangent be seen, as `observed` asks."""
    return _thread.is_observed


@contextmanager
def observed() -> Iterator[None]:
    """Within it, in this thread, a backward can be watched: vjps return every cotangent, and keep what they saved.

    Otherwise a joint vjp may add its result to a leaf's gradient by itself and return None, and the last backward
    through a node may overwrite the arrays that the node keeps.
    """
    previous, _thread.is_observed = _thread.is_observed, True
    try:
        yield
    finally:
        _thread.is_observed = previous


@contextmanager
def mode_set_to(mode: str, *, is_last: bool = False) -> Iterator[None]:
    """Within it this thread's ops record, or do not, or return bare arrays."""
    previous = _thread.mode, _thread.is_last
    _thread.mode, _thread.is_last = mode, is_last
    try:
        yield
    finally:
        _thread.mode, _thread.is_last = previous


@contextmanager
def no_grad() -> Iterator[None]:
    """Within it ops do not record, in this thread: results need no gradient. Also a decorator."""
    with mode_set_to(NO_GRAD if _thread.mode is not BARE else BARE):
        yield


@contextmanager
def recording() -> Iterator[None]:
    """Within it ops record again: for a vjp that differentiates, as `recompute`'s does."""
    with mode_set_to(RECORD):
        yield
