"""Tensor: an array, and the node that remembers where it came from.

Every operator and method is one line into `tensorgrad.ops`, where the mathematics is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np

from tensorgrad import array as arrays
from tensorgrad.array import Array
from tensorgrad.dtype import DType, DTypeLike
from tensorgrad.errors import DTypeError, GraphError, ShapeError

if TYPE_CHECKING:
    from tensorgrad.tape import Node

__all__ = ["Tensor"]

Axis = int | tuple[int, ...] | None


@final
class Tensor:
    """An n-dimensional array that remembers how it was computed.

    Made by `tensorgrad.tensor` and by ops. `data` is the NumPy or CuPy array; `node` its place in
    the graph, or None if nothing needs its gradient.
    """

    __slots__ = ("__weakref__", "data", "node")

    # NumPy's operators defer to ours: `array * tensor` is `tensor.__rmul__(array)`.
    __array_ufunc__ = None

    def __init__(self, data: Array, node: Node | None = None) -> None:
        self.data = data
        self.node = node

    # --- what it is ----------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> DType:
        return self.data.dtype

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def size(self) -> int:
        return self.data.size

    @property
    def device(self) -> str:
        return arrays.device_of(self.data)

    @property
    def requires_grad(self) -> bool:
        return self.node is not None

    @property
    def grad(self) -> Tensor | None:
        """The gradient that `backward` has added up here so far, if this is a leaf; else None."""
        return None if self.node is None else self.node.grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        """Give a leaf the Tensor that its gradient is added into, or None to start afresh."""
        if self.node is None or self.node.vjps is not None:
            raise GraphError("grad: expected a leaf made with requires_grad=True: only those collect gradients")
        if value is not None and type(value) is not Tensor:
            raise DTypeError(f"grad: expected a Tensor or None, got {type(value).__name__}")
        if value is not None and (value.shape != self.shape or value.dtype != self.dtype):
            raise ShapeError(
                f"grad: expected shape {self.shape} and dtype {self.dtype}, as of the tensor, "
                f"got {value.shape} and {value.dtype}"
            )
        self.node.grad = value

    def __repr__(self) -> str:
        values = np.array2string(self.numpy(), separator=", ", prefix="Tensor(", threshold=100)
        device = "" if self.device == "cpu" else f", device={self.device!r}"
        op = "" if self.node is None else ", requires_grad=True" if self.node.vjps is None else f", op={self.node.op}"
        return f"Tensor({values}, shape={self.shape}, dtype={self.dtype}{device}{op})"

    # --- out of here ---------------------------------------------------------------------------

    def numpy(self) -> Array:
        """The values as a NumPy array: the tensor's own memory on the CPU, a copy from a GPU."""
        return arrays.to_numpy(self.data)

    def item(self) -> Any:
        """The only element, as a Python number. Raises ShapeError if there are more or none."""
        if self.data.size != 1:
            raise ShapeError(f"item: expected one element, got shape {self.shape}: index or reduce it first")
        return self.data.item()

    def detach(self) -> Tensor:
        """The same values, without history: a constant to gradients."""
        return Tensor(self.data)

    def to(self, target: DTypeLike) -> Tensor:
        """This tensor on another device (`"cpu"`, `"cuda"`, `"cuda:1"`) or in another dtype."""
        if isinstance(target, str) and target.split(":")[0] in ("cpu", "cuda"):
            return ops.to_device(self, target)
        return ops.astype(self, target)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if self.requires_grad:
            raise GraphError(
                "numpy: expected a tensor that needs no gradient, NumPy would drop it silently: "
                "use tensorgrad's function, or x.detach() or x.numpy()"
            )
        return np.array(self.data, dtype=dtype, copy=copy)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len: expected a tensor with at least one axis, got a scalar")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu" or self.shape:
            raise TypeError(f"index: expected a scalar integer tensor, got shape {self.shape}, dtype {self.dtype}")
        return int(self.data)

    # --- gradients -----------------------------------------------------------------------------

    def backward(self, gradient: Tensor | Array | None = None, *, create_graph: bool = False) -> None:
        """Add the gradient of sum(self * gradient) to `.grad` of every leaf below.

        Args:
            gradient: of this tensor's shape and dtype; may be left out for one element.
            create_graph: record the gradients too, so that they can be differentiated again.
        Raises: GraphError (nothing here needs a gradient; the graph was freed by an earlier
            backward), ShapeError, DTypeError.
        """
        from tensorgrad.backward import backward  # it needs Tensor itself

        backward([self], [gradient], create_graph=create_graph)

    # --- operators -----------------------------------------------------------------------------

    def __add__(self, other: Any) -> Tensor:
        return ops.add(self, other)

    def __radd__(self, other: Any) -> Tensor:
        return ops.add(other, self)

    def __sub__(self, other: Any) -> Tensor:
        return ops.subtract(self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return ops.subtract(other, self)

    def __mul__(self, other: Any) -> Tensor:
        return ops.multiply(self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return ops.multiply(other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return ops.divide(self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return ops.divide(other, self)

    def __pow__(self, other: Any) -> Tensor:
        return ops.pow(self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return ops.pow(other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return ops.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return ops.matmul(other, self)

    def __neg__(self) -> Tensor:
        return ops.negative(self)

    def __abs__(self) -> Tensor:
        return ops.abs(self)

    def __lt__(self, other: Any) -> Tensor:
        return ops.less(self, other)

    def __le__(self, other: Any) -> Tensor:
        return ops.less_equal(self, other)

    def __gt__(self, other: Any) -> Tensor:
        return ops.greater(self, other)

    def __ge__(self, other: Any) -> Tensor:
        return ops.greater_equal(self, other)

    def __eq__(self, other: Any) -> Tensor:  # type: ignore[override]
        return ops.equal(self, other)

    def __ne__(self, other: Any) -> Tensor:  # type: ignore[override]
        return ops.not_equal(self, other)

    __hash__ = object.__hash__

    def __invert__(self) -> Tensor:
        return ops.logical_not(self)

    def __and__(self, other: Any) -> Tensor:
        return ops.logical_and(self, other)

    def __or__(self, other: Any) -> Tensor:
        return ops.logical_or(self, other)

    def __getitem__(self, index: Any) -> Tensor:
        return ops.getitem(self, index)

    # --- the usual ops as methods --------------------------------------------------------------

    def sum(self, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return ops.sum(self, axis=axis, keepdims=keepdims)

    def mean(self, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return ops.mean(self, axis=axis, keepdims=keepdims)

    def var(self, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
        return ops.var(self, axis=axis, correction=correction, keepdims=keepdims)

    def max(self, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return ops.max(self, axis=axis, keepdims=keepdims)

    def min(self, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return ops.min(self, axis=axis, keepdims=keepdims)

    def argmax(self, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
        return ops.argmax(self, axis=axis, keepdims=keepdims)

    def reshape(self, *shape: Any) -> Tensor:
        return ops.reshape(self, shape[0] if len(shape) == 1 and isinstance(shape[0], Sequence) else shape)

    def permute_dims(self, *axes: int) -> Tensor:
        return ops.permute_dims(self, axes)

    def squeeze(self, axis: int | tuple[int, ...]) -> Tensor:
        return ops.squeeze(self, axis=axis)

    @property
    def T(self) -> Tensor:
        """The transposed matrix; for two axes only, as in the array API."""
        if self.ndim != 2:
            raise ShapeError(f"T: expected two axes, got shape {self.shape}: use mT or permute_dims")
        return ops.matrix_transpose(self)

    @property
    def mT(self) -> Tensor:
        """The last two axes swapped."""
        return ops.matrix_transpose(self)

    def astype(self, dtype: DTypeLike) -> Tensor:
        return ops.astype(self, dtype)

    def exp(self) -> Tensor:
        return ops.exp(self)

    def log(self) -> Tensor:
        return ops.log(self)

    def sqrt(self) -> Tensor:
        return ops.sqrt(self)

    def tanh(self) -> Tensor:
        return ops.tanh(self)


# The one deliberate import cycle: operators need ops, ops make Tensors.
from tensorgrad import ops  # noqa: E402
