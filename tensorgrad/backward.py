"""Running the tape back: cotangents from outputs to everything below them.

Each node is visited once, after all its consumers, by counting them first: no recursion, so a graph
may be as deep as memory allows. What a node kept for its gradient is dropped as soon as it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tensorgrad.array import Array, device_of, module_of, own
from tensorgrad.errors import DeviceError, DTypeError, GraphError, ShapeError
from tensorgrad.tape import BARE, FREED, RECORD, Joint, Node, Scatter, data, mode_set_to
from tensorgrad.tensor import Tensor

__all__ = ["backward", "grad", "run_back_to"]


def backward(outputs: Sequence[Tensor], gradients: Sequence[Any], *, create_graph: bool = False) -> None:
    """Add to `.grad` of every leaf below `outputs` the gradient of sum(outputs * gradients)."""

    def deliver(node: Node, g: Any) -> None:
        if node.vjps is not None:
            return
        if node.grad is None:
            # A cotangent may be shared with other nodes; a leaf's gradient is its own array.
            node.grad = Tensor(_own_array(g), g.node if create_graph else None)
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
    stop_there: bool = False,
) -> list[Any]:
    """The cotangent of each of `nodes`: its own array, or with `create_graph` a Tensor; zeros where unreached.

    With `stop_there` they are taken as independent: where one was computed from another, the other's
    cotangent leaves that path out, and the graph below them is neither looked at nor freed.
    """
    found: dict[Node, Any] = {}
    _run_back(
        _seeds(outputs, gradients),
        found.__setitem__,
        set(nodes),
        create_graph=create_graph,
        keep_graph=create_graph or keep_graph,
        stop_there=stop_there,
    )
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
            g = module_of(out.data).asarray(g, out.dtype) if isinstance(g, (int, float)) else g
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
    stop_there: bool = False,
) -> None:
    """Carry cotangents from `seeds` to every node below, each node once all its consumers are done.

    `deliver(node, g)` is called the moment the cotangent of a leaf (or of a node in `wanted`) is
    final. With `wanted`, only paths that lead to it are followed, and freed.
    """
    ends = wanted if wanted is not None and stop_there else set()
    consumers = _count_consumers(seeds, ends)
    carriers = None if wanted is None else _leading_to(wanted, consumers, ends)
    useful = None if carriers is None or wanted is None else carriers | wanted
    sums = _Sums(create_graph)
    for node, g in seeds:
        sums.add(node, g if create_graph else data(g))
    ready = [node for node, count in consumers.items() if count == 0]
    with mode_set_to(RECORD if create_graph else BARE):
        while ready:
            node = ready.pop()
            parents = node.parents
            g = sums.pop(node)
            carries = node.vjps is not None and (carriers is None or node in carriers)
            if create_graph and g is not None and type(g) is not Tensor:
                # Tensors throughout, so that every vjp sees which kind of backward this is.
                g = Tensor(g)
            if g is not None:
                if wanted is None or node in wanted:
                    deliver(node, g)
                if carries:
                    _step_back(node, g, sums, useful)
            # Dropped before the parents' turn, so that what only this node kept is freed by then.
            g = None
            if not keep_graph and carries:
                node.parents, node.vjps, node.output = (), FREED, None
            for parent in () if node in ends else parents:
                consumers[parent] -= 1
                if not consumers[parent]:
                    ready.append(parent)


def _step_back(node: Node, g: Any, sums: _Sums, useful: set[Node] | None) -> None:
    """Add to `sums` what the node's cotangent `g` contributes to each parent."""
    vjps = node.vjps
    if vjps is FREED:
        raise GraphError(
            "backward: expected a graph that is still there, this one was freed by an earlier backward: "
            "pass create_graph=True to the first one, or compute the outputs again"
        )
    g = g.dense() if type(g) is Scatter else g
    output = Tensor(node.output, node) if sums.create_graph and node.output is not None else node.output
    args = (g,) if output is None else (g, output)
    if type(vjps) is Joint:
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


def _count_consumers(seeds: list[tuple[Node, Any]], ends: set[Node]) -> dict[Node, int]:
    """How many edges lead from the graph between `seeds` and `ends` to each of its nodes."""
    counts = {node: 0 for node, _ in seeds}
    stack = list(counts)
    while stack:
        node = stack.pop()
        for parent in () if node in ends else node.parents:
            if parent in counts:
                counts[parent] += 1
            else:
                counts[parent] = 1
                stack.append(parent)
    return counts


def _leading_to(wanted: set[Node], nodes: Iterable[Node], ends: set[Node]) -> set[Node]:
    """Those of `nodes` with a path on to one of `wanted`; a freed one may have had one, and is to raise."""
    carriers: set[Node] = set()
    for node in sorted(nodes, key=lambda node: node.serial):  # parents come before their children
        is_lost = node.vjps is FREED and node not in wanted
        if is_lost or (node not in ends and any(parent in carriers or parent in wanted for parent in node.parents)):
            carriers.add(node)
    return carriers


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
    return g.dense() if type(g) is Scatter else data(g).copy()
