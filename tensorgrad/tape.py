"""The tape: which value was computed from which, and how a gradient reaches each input.

Every op ends in `record`, which pairs its inputs with functions that carry a cotangent (the
gradient of some scalar with respect to the op's output) back to each of them:

    def multiply(x, y):
        a, b = operands("multiply", x, y)
        return record(a * b, (x, lambda g: multiply(g, y)), (y, lambda g: multiply(g, x)))

These vector-Jacobian products ("vjps") are written with ordinary ops. Given arrays an op computes;
given Tensors it computes and records. So the same vjp serves every order: a first-order backward
hands it arrays, `create_graph=True` hands it Tensors.

Nodes point to nodes, never to tensors, and hold no values: an op keeps for its gradient exactly what
its vjps capture. One exception: a vjp that needs the op's own output takes it as a second argument,
because a closure over the output would be a reference cycle. There are no cycles anywhere, so
activations die by reference count while `backward.py` runs the tape back.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tensorgrad.arguments import as_flag, check_function
from tensorgrad.array import Array, is_array
from tensorgrad.cotangent import Joint, Vjp
from tensorgrad.errors import DTypeError, GraphError, shown
from tensorgrad.tensor import Tensor
from tensorgrad.writes import now

__all__ = ["Node", "data", "is_last_backward", "is_observed", "is_recording", "no_grad", "observed"]
__all__ += ["place_gradient", "record", "record_joint"]

Hook = Callable[[Tensor], "Tensor | None"]

FREED = ("freed",)  # in the place of a node's vjps, once a backward has freed it


class Node:
    """One recorded value: its parents, and the vjps that reach them. A leaf has neither, but has a `grad`.

    `grad_place`, which only leaves have, is the Tensor that becomes `grad` when there is none yet: the first cotangent
    overwrites it, so that a new sum starts without a pass that fills it with zeros (`place_gradient`).
    """

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
        self.output = output  # only if the vjps take it
        self.grad: Tensor | None = None  # only at leaves
        self.grad_place: Tensor | None = None
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


# --- recording ---------------------------------------------------------------------------------

RECORD, NO_GRAD, BARE = "record", "no_grad", "bare"


class _Thread(threading.local):
    mode = RECORD  # BARE inside a first-order backward, where ops return arrays
    is_last = False  # inside a backward that frees the graph it runs through
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

    A custom op is written like the library's own:

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
        _mark_constants(x for x, _ in edges)
    # Written out in place of Node(...) and Tensor(...): every recorded op would wait for those two calls.
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

    With `selects` the vjp is called as vjp(g, requests), with one entry per input: None if nothing needs that input's
    cotangent, so the vjp may return None for it; else a `Request`. If the input is a leaf with a gradient, or with a
    place for one, the request may have a `buffer`: the vjp may write the cotangent there as `accumulate` says, at once
    or later in other threads (`kernels.threads.run_later`), and return None.
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
        _mark_constants(inputs)
    return Tensor(out, Node([inputs[i].node for i in kept], Joint(vjp, kept, len(inputs), selects), out))


def _value(out: Any) -> Any:
    """An op's result as an array; a NumPy scalar is made one. Raises DTypeError for anything else."""
    if isinstance(out, np.generic):
        return np.asarray(out)
    if not is_array(out):
        raise DTypeError(
            f"record: expected the value of an op to be an array, got {shown(out)}: "
            "make it with the functions of the operand's module"
        )
    return out


def _unrecorded(out: Any, inputs: Sequence[Any]) -> Tensor:
    """The result of an op that carries no gradient: a Tensor if an input was one."""
    return Tensor(out) if any(type(x) is Tensor for x in inputs) else out


def _mark_constants(inputs: Iterable[Any]) -> None:
    """Mark constant operands: another operand's gradient may read them, so later writes must be reported."""
    for x in inputs:
        if type(x) is Tensor and x.node is None:
            x.is_operand = True


def leaf(array: Array) -> Tensor:
    """A Tensor without history that collects a gradient."""
    return Tensor(array, Node((), None, array))


def place_gradient(x: Tensor, place: Tensor) -> None:
    """From now on, whenever leaf `x` has no gradient, the next one is written to `place`, which becomes `x.grad`.

    So `x.grad = None` starts a new sum without a pass that fills it with zeros. `place` has the shape and dtype of x
    and no history. A backward with create_graph does not use it: it records the gradient. Raises as `x.grad = place`.
    """
    previous, x.grad = x.grad, place  # checks x and place
    x.grad = previous
    x.node.grad_place = place  # type: ignore[union-attr]  # a leaf has a node


# --- modes, of this thread ---------------------------------------------------------------------


def is_recording() -> bool:
    """Whether ops on Tensors that need a gradient are recorded, in this thread."""
    return _thread.mode is RECORD


def is_last_backward() -> bool:
    """Whether the calling vjp runs for the last time and may overwrite arrays that it alone holds."""
    return _thread.is_last and not _thread.is_observed


def is_observed() -> bool:
    """Whether this thread is inside `observed`."""
    return _thread.is_observed


@contextmanager
def observed() -> Iterator[None]:
    """Within it a backward shows all that it computes: each vjp returns its cotangents, and keeps what it saved.

    Otherwise a joint vjp may write to a leaf's gradient itself and return None, and the last backward through a node
    may overwrite the arrays that the node keeps.
    """
    previous, _thread.is_observed = _thread.is_observed, True
    try:
        yield
    finally:
        _thread.is_observed = previous


@contextmanager
def mode_set_to(mode: str, *, is_last: bool = False) -> Iterator[None]:
    """Within it ops record, do not record, or return bare arrays."""
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
