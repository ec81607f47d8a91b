"""Running the tape back: cotangents from outputs to everything below them.

Each node is visited once, after all its consumers, which are counted first. There is no recursion, so
a graph may be as deep as memory allows. A node drops what it kept for its gradient as soon as it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from typing import Any

import numpy as np

from tensorgrad.arguments import as_flag, as_number
from tensorgrad.array import Array, device_of, module_of, own
from tensorgrad.cotangent import Joint, Request, Scatter
from tensorgrad.errors import DeviceError, DTypeError, GraphError, ShapeError, shown
from tensorgrad.kernels.threads import finish
from tensorgrad.residuals import check_unwritten
from tensorgrad.tape import BARE, FREED, NO_GRAD, RECORD, Node, data, is_observed, mode_set_to
from tensorgrad.tensor import Tensor
from tensorgrad.writes import is_needed, written

__all__ = ["backward", "grad", "run_back_to"]


def backward(outputs: Sequence[Tensor], gradients: Sequence[Any], *, create_graph: bool = False) -> None:
    """Add to `.grad` of every leaf below `outputs` the gradient of sum(outputs * gradients)."""

    def deliver(node: Node, g: Any) -> None:
        if node.grad is None and node.grad_place is not None and not create_graph:
            node.grad = node.grad_place
            _write(_written(node.grad), g)
        elif node.grad is None:
            # Other nodes may share the cotangent; a leaf's gradient is its own array.
            node.grad = Tensor(_own_array(g), g.node if create_graph else None)
        elif create_graph:
            node.grad = node.grad + g
        else:
            finish(node.grad.array)
            _add_into(_written(node.grad), g)

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
    create_graph, keep_graph = as_flag("grad", "create_graph", create_graph), as_flag("grad", "keep_graph", keep_graph)
    outputs, inputs = _tensors("outputs", outputs), _tensors("inputs", inputs)
    if gradients is None:
        gradients = (None,) * len(outputs)
    elif not isinstance(gradients, (tuple, list)):
        gradients = (gradients,)
    for position, x in enumerate(inputs):
        if x.node is None:
            raise GraphError(
                f"grad: expected inputs that need a gradient, got input {position} of shape {x.shape} without: "
                "make it with requires_grad=True"
            )
    nodes = [x.node for x in inputs if x.node is not None]
    found = run_back_to(nodes, outputs, gradients, create_graph=create_graph, keep_graph=keep_graph)
    return tuple(g if type(g) is Tensor else Tensor(g) for g in found)


def _tensors(what: str, given: Any) -> tuple[Tensor, ...]:
    """One Tensor, or a non-empty sequence of them, as a tuple."""
    found = (given,) if isinstance(given, Tensor) else given
    if not isinstance(found, (tuple, list)) or not all(isinstance(x, Tensor) for x in found) or not found:
        raise GraphError(f"grad: expected {what} to be a Tensor or a list of them, got {shown(given)}: pass Tensors")
    return tuple(found)


def run_back_to(
    nodes: Sequence[Node],
    outputs: Sequence[Tensor],
    gradients: Sequence[Any],
    *,
    create_graph: bool = False,
    keep_graph: bool = False,
    ends: Sequence[Node] = (),
) -> list[Any]:
    """The cotangent of each of `nodes`: its own array, or with `create_graph` a Tensor; zeros if unreached.

    The run stops at `ends`: where one was computed from another, the other's cotangent leaves that path
    out, and the graph below them is neither visited nor freed.
    """
    found: dict[Node, Any] = {}
    _run_back(
        _seeds(outputs, gradients),
        found.__setitem__,
        set(nodes),
        create_graph=create_graph,
        keep_graph=create_graph or keep_graph,
        ends=frozenset(ends),
    )
    xp = module_of(outputs[0].array)

    def delivered(node: Node) -> Any:
        g = found.get(node)
        if create_graph:
            return Tensor(xp.zeros(node.shape, node.dtype)) if g is None else g
        return xp.zeros(node.shape, node.dtype) if g is None else _own_array(g)

    return [delivered(node) for node in nodes]


def _seeds(outputs: Sequence[Tensor], gradients: Sequence[Any]) -> list[tuple[Node, Any]]:
    """Pair each output's node with a checked cotangent."""
    if len(outputs) != len(gradients):
        raise GraphError(
            f"backward: expected one gradient per output, got {len(gradients)} for {len(outputs)} outputs: "
            "give None for a scalar"
        )
    seeds = []
    for out, g in zip(outputs, gradients, strict=True):
        if type(out) is not Tensor or out.node is None:
            raise GraphError(
                "backward: expected an output computed from tensors with requires_grad=True, "
                f"got {shown(out)} without history: was it computed under no_grad, or from detached values?"
            )
        if g is None:
            if out.array.size != 1:
                raise GraphError(
                    f"backward: expected a gradient for an output of shape {out.shape}, got none: "
                    "only a scalar has an obvious one; reduce it (for example with .sum()) or pass gradient="
                )
            g = module_of(out.array).ones(out.shape, out.dtype)
        elif isinstance(g, (int, float)):
            g = module_of(out.array).asarray(as_number("backward", "the gradient", g), out.dtype)
        g = np.asarray(g) if isinstance(g, np.generic) else g
        _check_cotangent(out.node, g, "the gradient given")
        if device_of(data(g)) != device_of(out.array):
            raise DeviceError(
                f"backward: expected a gradient on {device_of(out.array)}, got one on {device_of(data(g))}: move it"
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
    ends: Set[Node] = frozenset(),
) -> None:
    """Carry cotangents from `seeds` to every node below, each node once all its consumers are done.

    `deliver(node, g)` is called as soon as the cotangent of a leaf is final. With `wanted`, it is called for
    the nodes in `wanted` instead, and only paths that lead to them are followed, and freed.
    """
    consumers = _count_consumers(seeds, ends)
    check_unwritten(consumers)
    carriers = None if wanted is None else _leading_to(wanted, consumers, ends)
    useful = None if carriers is None or wanted is None else carriers | wanted
    sums: dict[Node, Any] = {}  # the cotangents of nodes still to come
    owned: set[Node] = set()  # the nodes whose sum is our own array; a single cotangent may be shared
    for node, g in seeds:
        g = (g if type(g) is Tensor else Tensor(g)) if create_graph else data(g)
        sums[node] = _sum(sums[node], g, False) if node in sums else g
    ready = [node for node, count in consumers.items() if not count]
    with mode_set_to(RECORD if create_graph else BARE, is_last=not keep_graph), _finished():
        while ready:
            node = ready.pop()
            g = sums.pop(node, None)
            if g is None:  # on no path to a wanted node, so nothing below is either
                continue
            vjps = node.vjps
            if type(g) is Scatter and (node.hooks or vjps is not None):
                g = g.dense()
            if node.hooks:
                finish()  # a hook may look at any gradient
                g = _run_hooks(node, g)
            if vjps is None if wanted is None else node in wanted:
                deliver(node, g)
            if vjps is None or (carriers is not None and node not in carriers):
                continue
            vjps = None
            _step_back(node, g, useful, create_graph, sums, owned, consumers, ready)
            # Dropped before the parents' turn: what only this node kept is freed by then.
            g = None
            if not keep_graph:
                node.parents, node.vjps, node.output = (), FREED, None


@contextmanager
def _finished() -> Iterator[None]:
    """On the way out, error or not, wait for the work that vjps have left to other threads."""
    try:
        yield
    finally:
        finish()


def _step_back(
    node: Node,
    g: Any,
    useful: set[Node] | None,
    create_graph: bool,
    sums: dict[Node, Any],
    owned: set[Node],
    consumers: dict[Node, int],
    ready: list[Node],
) -> None:
    """Add to `sums` what the node's cotangent `g` contributes to each parent, and to `ready` the parents that are next.

    One loop with as few calls as possible, so that a small op's backward is as short as its forward.
    """
    vjps: Any = node.vjps
    output: Any = node.output
    if vjps is FREED:
        raise GraphError(
            "backward: expected a graph that still exists, got one freed by an earlier backward: "
            "pass create_graph=True to the first one, or compute the outputs again"
        )
    if output is not None and create_graph:
        output = Tensor(output, node)
    if type(vjps) is Joint:
        requests = vjps.at_inputs(_requests(node, useful, create_graph))
        vjps = vjps.separate(node.op, vjps.vjp(g, requests) if vjps.selects else vjps.vjp(g), requests)
    for parent, vjp in zip(node.parents, vjps, strict=True):
        if vjp is None:  # the joint vjp has written to the leaf's gradient
            parent.grad = parent.grad_place if parent.grad is None else parent.grad
        elif useful is None or parent in useful:
            result = vjp(g) if output is None else vjp(g, output)
            try:
                if result.dtype is not parent.dtype or result.shape != parent.shape:
                    _check_cotangent(parent, result, node)
            except AttributeError:
                _check_cotangent(parent, result, node)
            if (type(result) is Tensor) is not create_graph:
                # Tensors throughout or arrays throughout, so that a vjp sees which kind of backward this is.
                result = result.array if type(result) is Tensor else Tensor(result)
            if parent not in sums:
                sums[parent] = result
            else:
                sums[parent] = _sum(sums[parent], result, parent in owned)
                owned.add(parent)
        count = consumers[parent] - 1
        consumers[parent] = count
        if not count:
            ready.append(parent)


def _requests(node: Node, useful: set[Node] | None, create_graph: bool) -> list[Request | None]:
    """One request per parent, with the leaf's gradient buffer unless a hook or a tool must see the cotangent first."""
    if useful is not None:
        return [Request() if parent in useful else None for parent in node.parents]
    has_buffers = not create_graph and not is_observed()
    return [_for_leaf(x, node) if has_buffers and x.vjps is None and not x.hooks else Request() for x in node.parents]


def _for_leaf(leaf: Node, node: Node) -> Request:
    """A request with the leaf's gradient, or its place, as the buffer; a place is overwritten once only."""
    if leaf.grad is not None:
        return Request(_written(leaf.grad))
    if leaf.grad_place is not None and node.parents.count(leaf) == 1:
        return Request(_written(leaf.grad_place), accumulate=False)
    return Request()


def _written(grad: Tensor) -> Array:
    """The array of a leaf's gradient, reported as written: another graph may have recorded it as a constant."""
    if is_needed(grad):
        written(grad.array)
    return grad.array


def _run_hooks(node: Node, g: Any) -> Any:
    """Call the node's hooks in turn: each sees the cotangent as a Tensor and may return another in its place."""
    with mode_set_to(RECORD if type(g) is Tensor else NO_GRAD):
        for hook in list(node.hooks.values()) if node.hooks else ():
            result = hook(_seen_by_hook(g))
            if result is None:
                continue
            if type(result) is not Tensor:
                raise DTypeError(
                    f"hook: expected a Tensor or None from a gradient hook, got {shown(result)}: "
                    "return the new gradient, or nothing"
                )
            _check_cotangent(node, result, "the result of a gradient hook")
            g = result if type(g) is Tensor else result.array
    return g


def _seen_by_hook(g: Any) -> Tensor:
    """A cotangent as a Tensor that cannot be written to: other nodes may share its array."""
    array = data(g)
    if isinstance(array, np.ndarray):
        array = array.view()
        array.flags.writeable = False
    return Tensor(array, g.node if type(g) is Tensor else None)


def _leading_to(wanted: set[Node], nodes: Iterable[Node], ends: Set[Node]) -> set[Node]:
    """The nodes with a path to one of `wanted`. A freed node counts: it may have had one, and must raise."""
    carriers: set[Node] = set()
    for node in sorted(nodes, key=lambda node: node.serial):  # parents come before their children
        if node in ends:
            continue
        is_lost = node.vjps is FREED and node not in wanted
        if is_lost or any(parent in carriers or parent in wanted for parent in node.parents):
            carriers.add(node)
    return carriers


def _check_cotangent(node: Node, g: Any, source: Node | str) -> None:
    """Raise ShapeError or DTypeError if `g` has not the node's shape and dtype."""
    try:
        if g.dtype is node.dtype and g.shape == node.shape:
            return
    except AttributeError:
        pass
    if getattr(g, "shape", None) == node.shape and g.dtype == node.dtype:
        return
    giver = source if isinstance(source, str) else f"the vjp of {source.op}"
    if not hasattr(g, "dtype") or not hasattr(g, "shape"):
        raise DTypeError(
            f"backward: expected {giver} to be a Tensor or an array, got {shown(g)}: "
            "return one of the value's own shape and dtype"
        )
    expected, got = f"shape {node.shape}, dtype {node.dtype}", f"shape {g.shape}, dtype {g.dtype}"
    kind = ShapeError if g.shape != node.shape else DTypeError
    raise kind(
        f"backward: expected {giver} to be of the value's own {expected}, got {got}: reduce, reshape or convert it"
    )


def _write(buffer: Array, g: Any) -> None:
    if type(g) is Scatter:
        buffer[...] = 0
        g.add_to(buffer)
    else:
        buffer[...] = g


def _add_into(buffer: Array, g: Any) -> None:
    if type(g) is Scatter:
        g.add_to(buffer)
    else:
        buffer += g


def _own_array(g: Any) -> Array:
    """The cotangent as a new array, which nothing else holds."""
    return g.dense() if type(g) is Scatter else own(data(g).copy(), data(g))


def _sum(x: Any, y: Any, x_is_own: bool) -> Any:
    """The sum of two cotangents: a Tensor, or our own array, which may be x if x is our own."""
    if type(x) is Tensor:
        return x + y
    if type(x) is Scatter or type(y) is Scatter:
        if type(x) is Scatter:
            x, y, x_is_own = (x.dense(), y, True) if type(y) is Scatter else (y, x, False)
        total = x if x_is_own else x.copy()
        y.add_to(total)
        return total
    if x_is_own and x.size > _IN_PLACE_SIZE:
        x += y
        return x
    return own(x + y, x)


_IN_PLACE_SIZE = 1024  # up to this size, NumPy makes a new array faster than it adds in place


def _count_consumers(seeds: list[tuple[Node, Any]], ends: Set[Node]) -> dict[Node, int]:
    """The nodes between `seeds` and `ends`, each with the number of edges from its consumers there."""
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
