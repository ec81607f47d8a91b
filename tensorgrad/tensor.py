"""Tensor: an array, and the node that remembers where it came from.

Every operator and method is one line into `tensorgrad.ops`, where the mathematics is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, final

import numpy as np

from tensorgrad import array as arrays
from tensorgrad import writes
from tensorgrad.arguments import as_array, as_flag, check_function
from tensorgrad.array import Array
from tensorgrad.dtype import DType, DTypeLike
from tensorgrad.errors import ArgumentError, DeviceError, DTypeError, GraphError, ShapeError, shown

__all__ = ["Tensor"]

Axis = int | tuple[int, ...] | None


@final
class Tensor:
    """An n-dimensional array that remembers how it was computed.

    Made by `tensorgrad.tensor` and by ops. `node` is its place in the graph, or None if nothing needs its gradient.

    `array` and `data` are the same NumPy or CuPy array. Use `array` to read it: that costs nothing. Use `data` to
    write to it, or to pass it on to code that may: `data` reports it as handed out (`writes.py`), so that a backward
    that needs the old values raises.

    `is_operand` is True on a constant that an op took as an operand when it was recorded, and not set on any other
    tensor. The op's gradient may read the constant, so that later writes to it must be reported.
    """

    __slots__ = ("__weakref__", "array", "is_operand", "node")

    is_operand: bool

    def __init__(self, array: Array, node: Node | None = None) -> None:
        self.array = array
        self.node = node

    # --- what it is ----------------------------------------------------------------------------

    @property
    def data(self) -> Array:
        """The NumPy or CuPy array, to write to as long as no gradient needs its values; to read it, use `array`."""
        if writes.is_shared(self):
            writes.exposed(self.array)
        writes.handed_out(self.array)
        return self.array

    @data.setter
    def data(self, value: Array) -> None:
        """Give the tensor other values, of its shape, dtype and device; results computed from the old ones stay."""
        if value is self.array:  # the end of `x.data += y`
            return
        if not arrays.is_array(value):
            raise DTypeError(f"data: expected an array, got {shown(value)}: use tensorgrad.tensor")
        if (value.shape, value.dtype) != (self.shape, self.dtype):
            raise ShapeError(
                f"data: expected shape {self.shape} and dtype {self.dtype}, as of the tensor, "
                f"got {value.shape} and {value.dtype}: make a new tensor"
            )
        if writes.is_needed(self):
            writes.written(value)
        self.array = value

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> DType:
        return self.array.dtype

    @property
    def ndim(self) -> int:
        return self.array.ndim

    @property
    def size(self) -> int:
        return self.array.size

    @property
    def device(self) -> str:
        return arrays.device_of(self.array)

    @property
    def requires_grad(self) -> bool:
        return self.node is not None

    def _origin(self) -> str:
        """What the tensor is, for messages."""
        if self.node is None:
            return "constant"
        return "leaf made with requires_grad=True" if self.node.vjps is None else f"result of {self.node.op}"

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Callable[[], None]:
        """Call `hook` with this tensor's gradient, once it is final, in each backward. Returns what removes it.

        The hook is called before the gradient is added to `.grad` or carried on. If it returns a Tensor, of
        the same shape and dtype, that takes the gradient's place. Several hooks are called in order.
        """
        if self.node is None:
            raise GraphError(
                "register_hook: expected a tensor that needs a gradient, got a constant: pass requires_grad=True"
            )
        check_function("register_hook", hook)
        if self.node.hooks is None:
            self.node.hooks = {}
        hooks = self.node.hooks
        key = writes.now()
        hooks[key] = hook

        def remove() -> None:
            hooks.pop(key, None)

        return remove

    @property
    def grad(self) -> Tensor | None:
        """The gradient that `backward` has added up in this leaf so far; None if there is none, or this is no leaf."""
        return None if self.node is None else self.node.grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        """Give a leaf the Tensor that its gradient is added into, or None to start again."""
        if self.node is None or self.node.vjps is not None:
            raise GraphError(
                f"grad: expected a leaf made with requires_grad=True, got the {self._origin()}: read a leaf's"
            )
        if value is not None and type(value) is not Tensor:
            raise DTypeError(f"grad: expected a Tensor or None, got {shown(value)}: make it with tensorgrad.tensor")
        if value is not None and (value.shape != self.shape or value.dtype != self.dtype):
            raise ShapeError(
                f"grad: expected shape {self.shape} and dtype {self.dtype}, as of the tensor, "
                f"got {value.shape} and {value.dtype}: "
                "make zeros like the tensor"
            )
        self.node.grad = value

    def __repr__(self) -> str:
        values = "..."
        if arrays.is_concrete(self.array):
            values = np.array2string(self.numpy(), separator=", ", prefix="Tensor(", threshold=100)
        device = "" if self.device == "cpu" else f", device={self.device!r}"
        op = "" if self.node is None else ", requires_grad=True" if self.node.vjps is None else f", op={self.node.op}"
        return f"Tensor({values}, shape={self.shape}, dtype={self.dtype}{device}{op})"

    # --- out of here ---------------------------------------------------------------------------

    def numpy(self) -> Array:
        """The values as a NumPy array: the tensor's own memory on the CPU, a copy from a GPU."""
        return self.data if isinstance(self.array, np.ndarray) else arrays.to_numpy(self.array)

    def item(self) -> Any:
        """The only element, as a Python number. Raises ShapeError if there are more or none."""
        if self.array.size != 1:
            raise ShapeError(f"item: expected one element, got shape {self.shape}: index or reduce it first")
        return self.array.item()

    def detach(self) -> Tensor:
        """The same values, without history: a constant to gradients."""
        return Tensor(self.array)

    def to(self, target: DTypeLike) -> Tensor:
        """This tensor on another device (`"cpu"`, `"cuda"`, `"cuda:1"`) or in another dtype."""
        if isinstance(target, str) and target.split(":")[0] in ("cpu", "cuda"):
            return ops.to_device(self, target)
        return ops.astype(self, target)

    def tolist(self) -> Any:
        """The elements as Python numbers in nested lists."""
        return self.array.tolist()

    def copy(self) -> Tensor:
        """The same values in new memory; the gradient passes through."""
        return ops.reshape(self, self.shape, copy=True)

    def to_device(self, device: str, *, stream: None = None) -> Tensor:
        """This tensor on another device; the array API's name for `to`. CuPy's current stream is used."""
        if stream is not None:
            raise DeviceError(
                f"to_device: expected no stream, got {shown(stream)}: set CuPy's current stream, which is used"
            )
        return ops.to_device(self, device)

    # --- other libraries' arrays ---------------------------------------------------------------

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        self._refuse_to_drop_gradient("numpy")
        return np.array(self.data, dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **keywords: Any) -> Any:
        return interop.array_ufunc(self.__array_namespace__(), ufunc, method, inputs, keywords)

    def __array_function__(self, function: Any, types: Any, args: Any, keywords: Any) -> Any:
        return interop.array_function(self.__array_namespace__(), function, args, keywords)

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """The module with the array API's functions: this library."""
        if api_version not in (None, "2021.12", "2022.12", "2023.12", "2024.12"):
            raise ArgumentError(
                f"__array_namespace__: expected a version up to 2024.12, got {shown(api_version)}: leave it out"
            )
        return sys.modules["tensorgrad"]

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A capsule with this tensor's memory, not a copy, for another library's `from_dlpack`."""
        self._refuse_to_drop_gradient("dlpack")
        return self.data.__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()

    def _refuse_to_drop_gradient(self, what: str) -> None:
        if self.requires_grad:
            raise GraphError(
                f"{what}: expected a tensor that needs no gradient, got the {self._origin()}: "
                "use tensorgrad's functions, or x.detach() to drop the gradient"
            )

    # --- as Python's own objects ---------------------------------------------------------------

    def __copy__(self) -> Tensor:
        return Tensor(self.array, self.node)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self.node is not None and self.node.vjps is not None:
            raise GraphError(
                f"deepcopy: expected a tensor without history, got the result of {self.node.op}: "
                "copy x.detach(), or use x.copy(), whose gradient passes through"
            )
        copied = Tensor(self.array.copy())
        if self.node is not None:
            copied = leaf(copied.array)
        memo[id(self)] = copied
        return copied

    def __reduce__(self) -> Any:
        raise TypeError(
            "Tensor: expected to be saved as x.numpy(), for example by safetensors: Tensors are not pickled"
        )

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len: expected a tensor with at least one axis, got a scalar")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).array.any())

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu" or self.shape:
            raise DTypeError(
                f"index: expected a scalar integer tensor, got shape {self.shape}, dtype {self.dtype}: "
                "convert it with int"
            )
        return int(self.array)

    # --- gradients -----------------------------------------------------------------------------

    def backward(self, gradient: Tensor | Array | None = None, *, create_graph: bool = False) -> None:
        """Add the gradient of sum(self * gradient) to `.grad` of every leaf below.

        Args:
            gradient: of this tensor's shape and dtype; may be left out for one element.
            create_graph: record the gradients too, so that they can be differentiated again.
        Raises: GraphError (nothing here needs a gradient; the graph was freed by an earlier
            backward), ShapeError, DTypeError.
        """
        run_back([self], [gradient], create_graph=as_flag("backward", "create_graph", create_graph))

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

    def __floordiv__(self, other: Any) -> Tensor:
        return ops.floor_divide(self, other)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return ops.floor_divide(other, self)

    def __mod__(self, other: Any) -> Tensor:
        return ops.remainder(self, other)

    def __rmod__(self, other: Any) -> Tensor:
        return ops.remainder(other, self)

    def __pow__(self, other: Any) -> Tensor:
        return ops.pow(self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return ops.pow(other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return ops.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return ops.matmul(other, self)

    def __pos__(self) -> Tensor:
        return ops.positive(self)

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
        return ops.bitwise_invert(self)

    def __and__(self, other: Any) -> Tensor:
        return ops.bitwise_and(self, other)

    def __rand__(self, other: Any) -> Tensor:
        return ops.bitwise_and(other, self)

    def __or__(self, other: Any) -> Tensor:
        return ops.bitwise_or(self, other)

    def __ror__(self, other: Any) -> Tensor:
        return ops.bitwise_or(other, self)

    def __xor__(self, other: Any) -> Tensor:
        return ops.bitwise_xor(self, other)

    def __rxor__(self, other: Any) -> Tensor:
        return ops.bitwise_xor(other, self)

    def __lshift__(self, other: Any) -> Tensor:
        return ops.bitwise_left_shift(self, other)

    def __rlshift__(self, other: Any) -> Tensor:
        return ops.bitwise_left_shift(other, self)

    def __rshift__(self, other: Any) -> Tensor:
        return ops.bitwise_right_shift(self, other)

    def __rrshift__(self, other: Any) -> Tensor:
        return ops.bitwise_right_shift(other, self)

    def __getitem__(self, index: Any) -> Tensor:
        return ops.getitem(self, index)

    def __setitem__(self, index: Any, values: Any) -> None:
        """Write into a tensor without history. A later backward that needs the old values raises GraphError.

        Raises: GraphError (the tensor or the values need a gradient), ShapeError, DTypeError.
        """
        if self.node is not None:
            raise GraphError(
                f"setitem: expected a tensor that needs no gradient, got the {self._origin()}: "
                "use tensorgrad.index_update, or write to x.data to leave gradients out"
            )
        if isinstance(values, (list, tuple)):
            values = self._from_sequence(values)
        if type(values) is Tensor and values.node is not None:
            raise GraphError(
                f"setitem: expected values that need no gradient, got the {values._origin()}: "
                "use tensorgrad.index_update, which passes it on, or write values.detach()"
            )
        array, index, values = ops.index.placed("setitem", self.array, index, values)
        if isinstance(self.array, np.ndarray) and not self.array.flags.writeable:
            raise GraphError("setitem: expected memory that may be written to, got a read-only view: use x.copy()")
        writes.written(self.array)
        array[index] = values

    def _from_sequence(self, values: Any) -> Array:
        """Nested sequences of Python numbers as an array of this tensor's dtype and device."""
        found = as_array("setitem", values)
        kinds = {"b": "b", "i": "biu", "u": "biu"}.get(self.dtype.kind, "biuf")
        try:
            if found.dtype.kind in kinds or not found.size:
                xp = arrays.module_of(self.array)
                return xp.asarray(values, dtype=self.dtype)  # type: ignore[no-any-return]
        except OverflowError:
            pass
        raise DTypeError(
            f"setitem: expected numbers that {self.dtype} can hold, got {shown(values)}: "
            "convert the tensor with .astype"
        )

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


# The one deliberate circle of imports: Tensor's methods call ops and backward, which are written with Tensors.
from tensorgrad import interop, ops  # noqa: E402
from tensorgrad.backward import backward as run_back  # noqa: E402
from tensorgrad.tape import Node, leaf  # noqa: E402
