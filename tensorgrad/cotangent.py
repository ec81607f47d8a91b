"""What a vjp may take and return: cotangents, sparse ones as `Scatter`, and requests for a choice of them.

A vjp ("vector-Jacobian product") maps the cotangent of an op's result to the cotangent of an input: an array in a
first-order backward, a Tensor where the backward is recorded. `record` pairs each input with a vjp of its own;
`record_joint` takes one vjp for all inputs, which may be told by `Request`s which cotangents are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tensorgrad.array import Array, module_of
from tensorgrad.errors import GraphError, shown
from tensorgrad.kernels import kernels_for

__all__ = ["Joint", "Request", "Scatter", "Vjp"]

Vjp = Callable[..., Any]


class Scatter:
    """A cotangent that is zero except for `values` at `index`: what slices and look-ups send back.

    It is added into a buffer that exists already, so k slices of one tensor cost one buffer and k
    writes instead of k buffers. With `repeats` the index may name an element more than once; `order`
    is the index's stable argsort, if that is known.
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


class Request:
    """A request for one input's cotangent. If `buffer` is set, the vjp may write there and return None.

    The buffer is the gradient of the input, a leaf. With `accumulate` the vjp adds to it, without it overwrites it.
    """

    __slots__ = ("accumulate", "buffer")

    def __init__(self, buffer: Array | None = None, *, accumulate: bool = True) -> None:
        self.buffer = buffer
        self.accumulate = accumulate


class Joint:
    """A vjp that returns the cotangents of all of an op's inputs at once, constant inputs included."""

    __slots__ = ("count", "kept", "selects", "vjp")

    def __init__(self, vjp: Vjp, kept: tuple[int, ...], count: int, selects: bool) -> None:
        self.vjp = vjp
        self.kept = kept  # the positions of the inputs that are the node's parents
        self.count = count  # of all inputs
        self.selects = selects  # whether the vjp takes requests

    def at_inputs(self, requests: Sequence[Request | None]) -> list[Request | None]:
        """The parents' requests at the positions of their inputs; None at the other inputs."""
        found: list[Request | None] = [None] * self.count
        for position, request in zip(self.kept, requests, strict=True):
            found[position] = request
        return found

    def separate(self, op: str, results: Sequence[Any], requests: Sequence[Request | None]) -> list[Vjp | None]:
        """For each parent a vjp that returns its result; None for a parent whose result is in its buffer."""
        if not isinstance(results, (list, tuple)) or len(results) != self.count:
            raise GraphError(
                f"backward: expected the vjp of {op} to return a list of {self.count} cotangents, one for each input, "
                f"got {shown(results)}: return zeros for an input without a gradient"
            )
        return [
            None
            if results[position] is None and (request := requests[position]) is not None and request.buffer is not None
            else lambda _, result=results[position]: result
            for position in self.kept
        ]
