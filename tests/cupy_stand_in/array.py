"""`cupy.ndarray`: NumPy's memory behind an array that refuses to mix with NumPy arrays."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.cupy_stand_in import graphs
from tests.cupy_stand_in.memory import Block, MemoryPointer, block
from tests.cupy_stand_in.surface import SURFACE
from tests.cupy_stand_in.syncs import copied, synchronised

__all__ = ["call", "combine", "is_bfloat16", "ndarray", "noted", "poisoned", "unwrapped", "wrapped"]


class Device:
    """`cupy.cuda.Device`; there is one."""

    compute_capability = "90"

    def __init__(self, device: int = 0) -> None:
        if device != 0:
            raise RuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        self.id = 0

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *problem: object) -> None: ...

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device)

    def __hash__(self) -> int:
        return 0

    def use(self) -> None: ...

    def synchronize(self) -> None:
        synchronised("Device.synchronize")

    @property
    def attributes(self) -> dict[str, int]:
        return {"MultiProcessorCount": 132, "MaxSharedMemoryPerBlockOptin": 232448}


def is_bfloat16(x: Any) -> bool:
    dtype = getattr(x, "dtype", None)
    return getattr(dtype, "kind", "") == "V" and dtype.name == "bfloat16"


def unwrapped(x: Any) -> Any:
    """The argument as NumPy takes it. Raises TypeError for a NumPy array: nothing is copied implicitly."""
    if type(x) is ndarray:
        return x._host
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {type(x)}: an array of NumPy's where one on the device is expected")
    if isinstance(x, (list, tuple)):
        return type(x)(map(unwrapped, x))
    return x


def wrapped(out: Any, *sources: ndarray) -> Any:
    """NumPy's result as an array on the device, scalars included; it shares memory with its source."""
    if isinstance(out, (list, tuple)):
        return tuple(wrapped(part, *sources) for part in out)
    if isinstance(out, np.generic):
        out = np.asarray(out)
    if not isinstance(out, np.ndarray):
        return out
    root = _root(out)
    shared = next((s._block for s in sources if _root(s._host) is root), None)
    return _made(out, shared or block(out.nbytes))


def _root(a: Any) -> Any:
    while isinstance(a.base, np.ndarray):
        a = a.base
    return a


def _made(host: Any, block: Block) -> ndarray:
    found: ndarray = object.__new__(ndarray)
    found._host, found._block = host, block
    return found


def poisoned(shape: Any, dtype: Any, order: str = "C") -> Any:
    """Fresh memory with the worst contents: nan, or the largest integers."""
    host = np.empty(shape, dtype, order=order)
    host.fill(np.nan if host.dtype.kind == "f" or is_bfloat16(host) else True if host.dtype.kind == "b" else 77)
    return host


def call(function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    """NumPy's function of arrays on the device, without NumPy's warnings, which CuPy does not have."""
    sources = [x for x in _flat((args, tuple(keywords.values()))) if type(x) is ndarray]
    args, keywords = unwrapped(args), {name: unwrapped(x) for name, x in keywords.items()}
    if keywords.get("out") is not None:
        graphs.saved(keywords["out"])
    with np.errstate(all="ignore"):
        out = function(*args, **keywords)
    target = keywords.get("out")
    if target is not None and out is target:
        graphs.note(lambda: function(*args, **keywords))
        return next(x for x in sources if x._host is target)
    found = wrapped(out, *sources)
    noted(lambda: function(*args, **keywords), found)
    return found


def noted(function: Callable[[], Any], found: Any) -> None:
    """Let a graph that is being captured write the function's result to the place where it was found."""

    def work() -> None:
        for old, new in zip(_flat([found]), _flat([function()]), strict=True):
            if type(old) is ndarray and old._host.flags.writeable:  # otherwise it is a broadcast view
                old._host[...] = new

    graphs.note(work)


def combine(ufunc: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    """`call` of a ufunc: a Python number takes the dtype of a bfloat16 array; NumPy would make a float32 of both."""
    narrow = next((x.dtype for x in args if is_bfloat16(x) and type(x) is ndarray), None)
    if narrow is not None:
        args = tuple(narrow.type(x) if type(x) in (int, float, bool) else x for x in args)
    return call(ufunc, *args, **keywords)


def _flat(x: Any) -> list[Any]:
    return [y for part in x for y in _flat(part)] if isinstance(x, (list, tuple)) else [x]


class ndarray:
    __slots__ = ("__weakref__", "_block", "_host")
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self, shape: Any, dtype: Any = float, memptr: Any = None, strides: Any = None, order: str = "C"
    ) -> None:
        shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
        if memptr is None:
            self._block = block(math.prod(shape) * np.dtype(dtype).itemsize)
            self._host = poisoned(shape, dtype, order)
        else:
            self._block = memptr.mem
            self._host = np.ndarray(shape, dtype, memptr.mem.bytes, memptr.offset, strides, order)

    # --- what it is ----------------------------------------------------------------------------

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: self._host.flags)
    device = property(lambda self: Device(0))
    base = property(lambda self: None if self._host.base is None else self)
    T = property(lambda self: wrapped(self._host.T, self))
    mT = property(lambda self: wrapped(self._host.mT, self))
    real = property(lambda self: self)

    @property
    def data(self) -> MemoryPointer:
        return MemoryPointer(_Place(self._host, self._block), 0)  # type: ignore[arg-type]

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.data.ptr, False),
            "strides": self.strides,
            "version": 3,
            "stream": 1,
        }

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Any:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return repr(self.get())

    # --- to the host ---------------------------------------------------------------------------

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> Any:
        if blocking:
            synchronised("get")
        copied("to the host", self.nbytes)
        if out is None:
            return self._host.copy(order)
        out[...] = self._host
        return out

    def set(self, arr: Any, stream: Any = None) -> None:
        if not isinstance(arr, np.ndarray) or arr.shape != self.shape or arr.dtype != self.dtype:
            raise TypeError("Only numpy.ndarray of the same shape and dtype can be set to cupy.ndarray")
        copied("to the device", arr.nbytes)
        self._host[...] = arr

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def item(self) -> Any:
        synchronised("item")
        return self._host.item()

    def tolist(self) -> Any:
        synchronised("tolist")
        return self._host.tolist()

    def __bool__(self) -> bool:
        synchronised("bool")
        return bool(self._host)

    def __int__(self) -> int:
        synchronised("int")
        return int(self._host)

    def __float__(self) -> float:
        synchronised("float")
        return float(self._host)

    def __dlpack__(self, **keywords: Any) -> Any:
        return self

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)

    # --- NumPy's protocols ---------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **keywords: Any) -> Any:
        unwrapped(inputs)  # refuses NumPy arrays
        function = _functions().get(ufunc.__name__)
        return NotImplemented if function is None or method != "__call__" else function(*inputs, **keywords)

    def __array_function__(self, function: Any, types: Any, args: Any, keywords: Any) -> Any:
        ours = _functions().get(function.__name__)
        return NotImplemented if ours is None else ours(*args, **keywords)

    # --- elements ------------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> ndarray:
        index, mask = _plain_index(key, self.shape)
        if mask:
            synchronised("an index of bools")
        if not any(part is Ellipsis for part in index):
            index = (*index, ...)  # so that one element is a view too, not a scalar
        out: ndarray = wrapped(self._host[index], self)
        if not np.may_share_memory(out._host, self._host):
            noted(lambda: self._host[(*_plain_index(key, self.shape)[0], ...)], out)
        return out

    def __setitem__(self, key: Any, value: Any) -> None:
        index, mask = _plain_index(key, self.shape)
        if isinstance(value, (list, tuple)):
            raise TypeError(f"Unsupported type {type(value)}: CuPy fills with numbers, and copies arrays on the device")
        if mask and type(value) is ndarray and value.ndim:
            synchronised("an assignment through bools")
        host = unwrapped(value)
        graphs.saved(self._host)
        with np.errstate(all="ignore"):
            self._host[index] = host
        graphs.note(lambda: self._host.__setitem__(_plain_index(key, self.shape)[0], host))

    # --- methods -------------------------------------------------------------------------------

    def astype(
        self, dtype: Any, order: str = "K", casting: Any = None, subok: Any = None, copy: bool = True
    ) -> ndarray:
        if not copy and self.dtype == np.dtype(dtype):
            return self
        return call(lambda a: a.astype(dtype, order=order), self)  # type: ignore[no-any-return]

    def copy(self, order: str = "C") -> ndarray:
        return call(lambda a: a.copy(order), self)  # type: ignore[no-any-return]

    def view(self, dtype: Any = None) -> ndarray:
        return wrapped(self._host.view() if dtype is None else self._host.view(dtype), self)  # type: ignore[no-any-return]

    def fill(self, value: Any) -> None:
        self[...] = value

    def reshape(self, *shape: Any, order: str = "C", copy: Any = None) -> ndarray:
        return call(lambda a: a.reshape(*shape, order=order), self)  # type: ignore[no-any-return]

    def transpose(self, *axes: Any) -> ndarray:
        return wrapped(self._host.transpose(*axes), self)  # type: ignore[no-any-return]

    def swapaxes(self, axis1: int, axis2: int) -> ndarray:
        return wrapped(self._host.swapaxes(axis1, axis2), self)  # type: ignore[no-any-return]

    def squeeze(self, axis: Any = None) -> ndarray:
        return wrapped(self._host.squeeze(axis), self)  # type: ignore[no-any-return]

    def ravel(self, order: str = "C") -> ndarray:
        return call(lambda a: a.ravel(order), self)  # type: ignore[no-any-return]

    def flatten(self, order: str = "C") -> ndarray:
        return call(lambda a: a.flatten(order), self)  # type: ignore[no-any-return]

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> ndarray:
        return wrapped(self._host.diagonal(offset, axis1, axis2), self)  # type: ignore[no-any-return]


class _Place:
    """A NumPy array's address, as a block that begins there."""

    def __init__(self, host: Any, block: Block) -> None:
        self.host, self.block, self.size = host, block, block.size

    @property
    def bytes(self) -> Any:
        return self.host


def _plain_index(key: Any, shape: tuple[int, ...]) -> tuple[tuple[Any, ...], bool]:
    """The index for NumPy, out of bounds wrapping around in arrays as in CuPy; whether it has arrays of bools."""
    parts = key if isinstance(key, tuple) else (key,)
    for part in parts:
        if isinstance(part, np.ndarray) or (isinstance(part, list) and part):
            raise TypeError(
                f"Unsupported type {type(part)} in an index: CuPy would copy it to the device without a word"
            )
    used = sum(part.ndim if _is_mask(part) else 1 for part in parts if part is not None and part is not Ellipsis)
    axis, mask, found = 0, False, []
    for part in parts:
        if part is Ellipsis:
            axis += len(shape) - used
        elif type(part) is ndarray:
            host = part._host
            if _is_mask(part):
                mask, axis = True, axis + part.ndim
            elif host.dtype.kind not in "iu":
                raise IndexError("arrays used as indices must be of integer or boolean type")
            else:
                host = host.astype(np.int64) % shape[axis] if axis < len(shape) and shape[axis] else host
                axis += 1
            part = host
        elif part is not None:
            axis += 1
        found.append(part)
    return tuple(found), mask


def _is_mask(part: Any) -> bool:
    return type(part) is ndarray and part.dtype == bool


def _functions() -> dict[str, Any]:
    from tests.cupy_stand_in.functions import FUNCTIONS  # it needs arrays

    return FUNCTIONS


def _operator(name: str, symbol: Callable[[Any, Any], Any]) -> None:
    """x + y, y + x and x += y, of arrays on the device and numbers."""

    def forward(self: ndarray, other: Any) -> Any:
        return combine(symbol, self, other) if _is_operand(other) else NotImplemented

    def backward(self: ndarray, other: Any) -> Any:
        return combine(symbol, other, self) if _is_operand(other) else NotImplemented

    def in_place(self: ndarray, other: Any) -> ndarray:
        ufunc = getattr(np, _UFUNCS.get(name, name))
        combine(ufunc, self, other, out=self, casting="same_kind")
        return self

    setattr(ndarray, f"__{name}__", forward)
    if name not in ("lt", "le", "gt", "ge", "eq", "ne"):
        setattr(ndarray, f"__r{name}__", backward)
        if f"__i{name}__" in SURFACE["ndarray"]:
            setattr(ndarray, f"__i{name}__", in_place)


def _is_operand(x: Any) -> bool:
    if isinstance(x, np.ndarray):
        unwrapped(x)  # refuses it
    return type(x) is ndarray or isinstance(x, (int, float, np.generic))


_UFUNCS = {
    **{"sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide", "mod": "remainder"},
    **{"pow": "power", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"},
    **{"lshift": "left_shift", "rshift": "right_shift"},
}
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift"):
    _operator(_name, getattr(operator, _name))
for _name in ("and", "or", "xor"):
    _operator(_name, getattr(operator, f"__{_name}__"))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    _operator(_name, getattr(operator, _name))
for _name in ("neg", "pos", "abs", "invert"):
    setattr(ndarray, f"__{_name}__", functools.partialmethod(lambda self, f: call(f, self), getattr(operator, _name)))
