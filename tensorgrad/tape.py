"""The tape: who was computed from what, and how gradients run back through it.

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
anywhere, so activations die by reference count while backward proceeds.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tensorgrad.array import Array, device_of, module_of, own
from tensorgrad.errors import DeviceError, DTypeError, GraphError, ShapeError
from tensorgrad.kernels import kernels_for
from tensorgrad.tensor import Tensor

__all__ = ["Node", "Scatter", "backward", "data", "grad", "is_recording", "no_grad", "record", "record_joint"]

Vjp = Callable[..., Any]


_serials = itertools.count()


class Node:
    """One recorded value: its parents, and the vjps that reach them. A leaf has neither, but a `grad`."""

    __slots__ = ("__weakref__", "dtype", "grad", "output", "parents", "serial", "shape", "vjps")

    def __init__(self, parents: tuple[Node, ...], vjps: Any, out: Array) -> None:
        self.parents = parents
        self.vjps = vjps  # a tuple, one per parent; or a _Joint; None at a leaf; _FREED
        self.shape = out.shape
        self.dtype = out.dtype
        self.serial = next(_serials)  # the order of creation
        self.output: Array | None = None  # only where the vjps take it
        self.grad: Tensor | None = None  # only at leaves

    @property
    def op(self) -> str:
        """The name of the function that recorded this node."""
        if self.vjps is None:
            return "leaf"
        if not self.parents:
            return "freed"
        vjp = self.vjps.vjp if type(self.vjps) is _Joint else self.vjps[0]
        return str(vjp.__qualname__).split(".")[0]


def new_serial() -> int:
    """A place in the order of creation: nodes made from now on come after it."""
    return next(_serials)


class _Joint:
    """A vjp that returns the cotangents of all of an op's inputs at once."""

    __slots__ = ("kept", "vjp")

    def __init__(self, vjp: Vjp, kept: tuple[int, ...]) -> None:
        self.vjp = vjp
        self.kept = kept  # which of the returned cotangents belong to the node's parents


class Scatter:
    """A cotangent that is zero but for `values` at `index`: what slices and look-ups send back.

    It is added into a buffer where one is there already, so k slices of one tensor cost one buffer
    and k writes, not k buffers. With `repeats` the index may name an element more than once.
    """

    __slots__ = ("dtype", "index", "repeats", "shape", "values")

    def __init__(self, shape: tuple[int, ...], index: Any, values: Array, *, repeats: bool) -> None:
        self.shape, self.dtype = shape, values.dtype
        self.index, self.values, self.repeats = index, values, repeats

    def add_to(self, buffer: Array) -> None:
        if self.repeats:
            kernels_for(buffer).scatter_add(buffer, self.index, self.values)
        else:
            buffer[self.index] += self.values

    def dense(self) -> Array:
        buffer: Array = module_of(self.values).zeros(self.shape, self.dtype)
        self.add_to(buffer)
        return buffer


# --- recording ---------------------------------------------------------------------------------

_RECORD, _NO_GRAD, _BARE = "record", "no_grad", "bare"


class _Thread(threading.local):
    mode = _RECORD  # bare: inside a first-order backward, where ops return arrays


_thread = _Thread()


def data(x: Any) -> Any:
    """The array of a Tensor; anything else as it is."""
    return x.data if type(x) is Tensor else x


def record(out: Any, *edges: tuple[Any, Vjp], keep_output: bool = False) -> Tensor:
    """Make an op's result from its value, and remember how gradients reach its inputs.

    Args:
        out: the value, an array (a NumPy scalar is made one).
        edges: for each input that could have a gradient, (input, vjp). An input may be a Tensor, an
            array or a number; vjp maps the cotangent g of the result to the cotangent of the input,
            in the input's shape and dtype, by ops that have gradients themselves.
        keep_output: the vjps take the op's output as a second argument.
    Returns: a Tensor if any input is one, else the array.
    """
    if type(out) is not np.ndarray and isinstance(out, np.generic):
        out = np.asarray(out)
    mode = _thread.mode
    if mode is _BARE:
        return out  # type: ignore[no-any-return]
    has_tensor = False
    parents = []
    vjps = []
    for x, vjp in edges:
        if type(x) is Tensor:
            has_tensor = True
            if x.node is not None:
                parents.append(x.node)
                vjps.append(vjp)
    if not parents or mode is _NO_GRAD:
        return Tensor(out) if has_tensor else out  # type: ignore[no-any-return]
    node = Node(tuple(parents), tuple(vjps), out)
    if keep_output:
        node.output = out
    return Tensor(out, node)


def record_joint(out: Any, inputs: Sequence[Any], vjp: Vjp) -> Tensor:
    """`record` for an op whose gradients share their work: vjp returns one cotangent per input, in order."""
    if _thread.mode is _BARE:
        return out  # type: ignore[no-any-return]
    kept = tuple(i for i, x in enumerate(inputs) if type(x) is Tensor and x.node is not None)
    if not kept or _thread.mode is _NO_GRAD:
        return Tensor(out) if any(type(x) is Tensor for x in inputs) else out  # type: ignore[no-any-return]
    return Tensor(out, Node(tuple(inputs[i].node for i in kept), _Joint(vjp, kept), out))


def leaf(array: Array) -> Tensor:
    """A Tensor without history that collects a gradient."""
    return Tensor(array, Node((), None, array))


def is_recording() -> bool:
    """Whether ops on Tensors that need a gradient are being recorded in this thread."""
    return _thread.mode is _RECORD


@contextmanager
def _mode(mode: str) -> Iterator[None]:
    previous, _thread.mode = _thread.mode, mode
    try:
        yield
    finally:
        _thread.mode = previous


@contextmanager
def no_grad() -> Iterator[None]:
    """Within it ops do not record, in this thread: results need no gradient. Also a decorator."""
    with _mode(_NO_GRAD if _thread.mode is not _BARE else _BARE):
        yield


@contextmanager
def recording() -> Iterator[None]:
    """Within it ops record again: for a vjp that differentiates, as `recompute`'s does."""
    with _mode(_RECORD):
        yield


# --- running back ------------------------------------------------------------------------------

_FREED = ("freed",)


def backward(outputs: Sequence[Tensor], gradients: Sequence[Any], *, create_graph: bool = False) -> None:
    """Add to `.grad` of every leaf below `outputs` the gradient of sum(outputs * gradients)."""

    def deliver(node: Node, g: Any) -> None:
        if node.vjps is not None:
            return
        if node.grad is None:
            # A cotangent may be shared with other nodes; a leaf's gradient is its own array.
            node.grad = g if create_graph else Tensor(_own_array(g))
        elif create_graph:
            node.grad = node.grad + g
        else:
            _add_into(node.grad.data, g)

    _run_back(_seeds(outputs, gradients), deliver, None, create_graph=create_graph, keep_graph=create_graph)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    gradients: Any = None,
    *,
    create_graph: bool = False,
    keep_graph: bool = False,
) -> tuple[Tensor, ...]:
    """The gradient of sum(outputs * gradients) with respect to each of `inputs`; no `.grad` changes.

    Args:
        outputs, inputs: one Tensor or a sequence; an input may be a leaf or any recorded Tensor.
        gradients: one cotangent per output, of its shape and dtype; may be left out for scalars.
        create_graph: record the gradients, so that they can be differentiated again.
        keep_graph: do not free the graph, so that it can be run back again.
    Returns: one Tensor per input; zeros for an input that the outputs do not depend on.
    Raises: GraphError (no graph, or one already freed), ShapeError, DTypeError, DeviceError.
    """
    outputs = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
    inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    if gradients is None:
        gradients = (None,) * len(outputs)
    elif len(outputs) == 1 and not isinstance(gradients, (tuple, list)):
        gradients = (gradients,)
    for position, x in enumerate(inputs):
        if x.node is None:
            raise GraphError(
                f"grad: expected inputs that need a gradient, input {position} of shape {x.shape} does not: "
                "make it with requires_grad=True"
            )
    nodes = [x.node for x in inputs if x.node is not None]
    found = run_back_to(nodes, outputs, gradients, create_graph=create_graph, keep_graph=keep_graph)
    return tuple(g if type(g) is Tensor else Tensor(g) for g in found)


def run_back_to(
    nodes: Sequence[Node],
    outputs: Sequence[Tensor],
    gradients: Sequence[Any],
    *,
    create_graph: bool = False,
    keep_graph: bool = False,
) -> list[Any]:
    """The cotangent of each of `nodes`: its own array, or with `create_graph` a Tensor; zeros where unreached."""
    found: dict[Node, Any] = {}
    seeds = _seeds(outputs, gradients)
    _run_back(seeds, found.__setitem__, set(nodes), create_graph=create_graph, keep_graph=create_graph or keep_graph)
    xp = module_of(outputs[0].data)

    def delivered(node: Node) -> Any:
        g = found.get(node)
        if create_graph:
            return Tensor(xp.zeros(node.shape, node.dtype)) if g is None else g
        return xp.zeros(node.shape, node.dtype) if g is None else _own_array(g)

    return [delivered(node) for node in nodes]


def _seeds(outputs: Sequence[Tensor], gradients: Sequence[Any]) -> list[tuple[Node, Any]]:
    """Pair each output's node with a checked cotangent."""
    if len(outputs) != len(gradients):
        raise GraphError(f"backward: expected one gradient per output, got {len(gradients)} for {len(outputs)} outputs")
    seeds = []
    for out, g in zip(outputs, gradients, strict=True):
        if type(out) is not Tensor or out.node is None:
            raise GraphError(
                "backward: expected an output computed from tensors with requires_grad=True, got "
                + (f"a Tensor of shape {out.shape} without history" if type(out) is Tensor else type(out).__name__)
                + ": was it computed under no_grad, or from detached values?"
            )
        if g is None:
            if out.data.size != 1:
                raise GraphError(
                    f"backward: expected a gradient for an output of shape {out.shape}, got none: "
                    "only a scalar has an obvious one; reduce it (for example with .sum()) or pass gradient="
                )
            g = module_of(out.data).ones(out.shape, out.dtype)
        elif not isinstance(g, Tensor):
            g = module_of(out.data).asarray(g) if isinstance(g, (int, float)) else g
        _check_cotangent(out.node, g, None)
        if device_of(data(g)) != device_of(out.data):
            raise DeviceError(
                f"backward: expected a gradient on {device_of(out.data)}, got one on {device_of(data(g))}: move it"
            )
        seeds.append((out.node, g))
    return seeds


def _run_back(
    seeds: list[tuple[Node, Any]],
    deliver: Callable[[Node, Any], None],
    wanted: set[Node] | None,
    *,
    create_graph: bool,
    keep_graph: bool,
) -> None:
    """Carry cotangents from `seeds` to every node below, each node once all its consumers are done.

    `deliver(node, g)` is called the moment the cotangent of a leaf (or of a node in `wanted`) is
    final. With `wanted`, only paths that lead to it are followed.
    """
    consumers = _count_consumers(seeds)
    useful = None if wanted is None else _leading_to(wanted, consumers)
    sums = _Sums(create_graph)
    for node, g in seeds:
        sums.add(node, g if create_graph else data(g))
    ready = [node for node, count in consumers.items() if count == 0]
    with _mode(_RECORD if create_graph else _BARE):
        while ready:
            node = ready.pop()
            parents = node.parents
            g = sums.pop(node)
            if create_graph and g is not None and type(g) is not Tensor:
                # Tensors throughout, so that every vjp sees which kind of backward this is.
                g = Tensor(g)
            if g is not None:
                if wanted is None or node in wanted:
                    deliver(node, g)
                if node.vjps is not None and (useful is None or node in useful):
                    _step_back(node, g, sums, useful)
            # Dropped before the parents' turn, so that what only this node kept is freed by then.
            g = None
            if not keep_graph and node.vjps is not None:
                node.parents, node.vjps, node.output = (), _FREED, None
            for parent in parents:
                consumers[parent] -= 1
                if not consumers[parent]:
                    ready.append(parent)


def _step_back(node: Node, g: Any, sums: _Sums, useful: set[Node] | None) -> None:
    """Add to `sums` what the node's cotangent `g` contributes to each parent."""
    vjps = node.vjps
    if vjps is _FREED:
        raise GraphError(
            "backward: expected a graph that is still there, this one was freed by an earlier backward: "
            "pass create_graph=True to the first one, or compute the outputs again"
        )
    g = g.dense() if type(g) is Scatter else g
    output = Tensor(node.output, node) if sums.create_graph and node.output is not None else node.output
    args = (g,) if output is None else (g, output)
    if type(vjps) is _Joint:
        results = vjps.vjp(*args)
        for parent, position in zip(node.parents, vjps.kept, strict=True):
            _check_cotangent(parent, results[position], node)
            sums.add(parent, results[position])
    else:
        for parent, vjp in zip(node.parents, vjps, strict=True):
            if useful is None or parent in useful:
                result = vjp(*args)
                _check_cotangent(parent, result, node)
                sums.add(parent, result)


def _count_consumers(seeds: list[tuple[Node, Any]]) -> dict[Node, int]:
    """How many edges lead from the graph below `seeds` to each of its nodes."""
    counts = {node: 0 for node, _ in seeds}
    stack = list(counts)
    while stack:
        for parent in stack.pop().parents:
            if parent in counts:
                counts[parent] += 1
            else:
                counts[parent] = 1
                stack.append(parent)
    return counts


def _leading_to(wanted: set[Node], nodes: Iterable[Node]) -> set[Node]:
    """Those of `nodes` from which one of `wanted` can be reached, `wanted` included."""
    useful: set[Node] = set()
    for node in sorted(nodes, key=lambda node: node.serial):  # parents come before their children
        if node in wanted or any(parent in useful for parent in node.parents):
            useful.add(node)
    return useful


class _Sums:
    """The cotangents of nodes still to come. One is shared while alone, and added into once it is our own sum."""

    __slots__ = ("create_graph", "owned", "values")

    def __init__(self, create_graph: bool) -> None:
        self.create_graph = create_graph
        self.values: dict[Node, Any] = {}
        self.owned: set[Node] = set()

    def pop(self, node: Node) -> Any:
        self.owned.discard(node)
        return self.values.pop(node, None)

    def add(self, node: Node, g: Any) -> None:
        have = self.values.get(node)
        if have is None:
            self.values[node] = g
        elif self.create_graph:
            self.values[node] = have + g
        elif node in self.owned:
            _add_into(have, g)
        else:
            self.owned.add(node)
            if type(have) is Scatter and type(g) is not Scatter:
                have, g = g, have
            if type(g) is Scatter:
                total = have.dense() if type(have) is Scatter else have.copy()
                g.add_to(total)
            else:
                total = own(have + g, have)
            self.values[node] = total


def _check_cotangent(node: Node, g: Any, source: Node | None) -> None:
    """Refuse a cotangent `g` that is not of the node's shape and dtype."""
    if getattr(g, "shape", None) == node.shape and g.dtype == node.dtype:
        return
    giver = "the gradient given" if source is None else f"the vjp of {source.op}"
    if not hasattr(g, "dtype"):
        raise DTypeError(f"backward: expected {giver} to be a Tensor or an array, got {type(g).__name__}")
    expected, got = f"shape {node.shape}, dtype {node.dtype}", f"shape {g.shape}, dtype {g.dtype}"
    kind = ShapeError if g.shape != node.shape else DTypeError
    raise kind(f"backward: expected {giver} to be of the value's own {expected}, got {got}")


def _add_into(buffer: Array, g: Any) -> None:
    if type(g) is Scatter:
        g.add_to(buffer)
    else:
        buffer += data(g)


def _own_array(g: Any) -> Array:
    """The cotangent as an array that nobody else holds."""
    return g.dense() if type(g) is Scatter else data(g).copy()  # type: ignore[no-any-return]
