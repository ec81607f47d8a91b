"""Random numbers as pure functions of a key: no global state, no order of calls.

A `Key` names one infinite stream of 64-bit words from the counter-based generator Philox4x64-10
(Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). The word at position i is
a function of (key, i) alone, so any part of a stream can be computed anywhere, on any device, and
16 bytes are enough to replay dropout. New streams come from `fold_in`: the key for
(seed, step, sample) is `Key(seed).fold_in(step).fold_in(sample)`.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgrad import array as arrays
from tensorgrad.arguments import as_integer, as_shape, as_size
from tensorgrad.array import Array
from tensorgrad.dtype import DTypeLike, as_dtype, is_float
from tensorgrad.errors import ArgumentError, DeviceMemoryError, DTypeError, ShapeError, shown
from tensorgrad.kernels import kernels_for
from tensorgrad.kernels.reference import philox

__all__ = ["Key", "RowKeys", "as_pairs", "from_pairs"]

_WORD = 1 << 64


@dataclass(frozen=True, slots=True)
class Key:
    """One stream of random numbers. `Key(seed)` for any seed in 0 .. 2**64 - 1.

    The same key gives the same integers and uniforms on every device, and on every run.
    """

    seed: int
    stream: int = 0

    def __post_init__(self) -> None:
        for name, word in (("seed", self.seed), ("stream", self.stream)):
            if isinstance(word, bool) or not isinstance(word, int) or not 0 <= word < _WORD:
                raise ArgumentError(f"Key: expected {name} in 0 .. 2**64 - 1, got {shown(word)}: take it modulo 2**64")

    def fold_in(self, data: int) -> Key:
        """The key of an independent stream, a function of this key and of `data` >= 0 (< 2**64)."""
        return Key(*philox.folded(self.seed, self.stream, _as_word(data)))

    def split(self, count: int = 2) -> tuple[Key, ...]:
        """`count` independent keys: `fold_in(0)`, `fold_in(1)`, ..."""
        return tuple(self.fold_in(i) for i in range(as_size("split", "count", count)))

    def bits(self, count: int, *, start: int = 0) -> Array:
        """The words of the stream at `start`, `start` + 1, ...: `count` of them, uint64, on the CPU."""
        count, start = as_size("bits", "count", count), as_size("bits", "start", start)
        try:
            return philox.words(as_pairs(self, "cpu"), count, start)[0]  # type: ignore[no-any-return]
        except (MemoryError, ValueError):
            raise _too_many("bits", count) from None

    def uniform(
        self, shape: tuple[int, ...] = (), *, start: int = 0, dtype: DTypeLike = "float32", device: str = "cpu"
    ) -> Array:
        """Uniform in [0, 1): the top 24 bits of a 32-bit half-word (float32), or 53 of a word (float64).

        `start`: the position of the first number in the stream, counted in numbers of this dtype.
        """
        shape, start = as_shape("uniform", shape), as_size("uniform", "start", start)
        keys_12 = philox.keys_on(as_pairs(self, device), device)
        return arrays.to_device(_uniform(keys_12, math.prod(shape), start, dtype).reshape(shape), device)

    def normal(self, shape: tuple[int, ...] = (), *, dtype: DTypeLike = "float32", device: str = "cpu") -> Array:
        """Standard normal, by Box and Muller's transform in float64, rounded once to `dtype`."""
        shape = as_shape("normal", shape)
        if not is_float(as_dtype(dtype)):
            raise DTypeError(f"normal: expected a float dtype, got {as_dtype(dtype)}: use integers for whole numbers")
        size = math.prod(shape)
        pairs = (size + 1) // 2
        uniforms = self.uniform((2, pairs), dtype="float64")
        radius = np.sqrt(-2.0 * np.log1p(-uniforms[0]))
        angle = (2.0 * math.pi) * uniforms[1]
        values = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:size]
        return arrays.to_device(values.reshape(shape).astype(as_dtype(dtype)), device)

    def integers(self, low: int, high: int, shape: tuple[int, ...] = ()) -> Array:
        """Uniform int64 in [low, high), on the CPU; the bias is below (high - low) / 2**64."""
        low, high = as_integer("integers", "low", low), as_integer("integers", "high", high)
        shape = as_shape("integers", shape)
        if low >= high:
            raise ArgumentError(f"integers: expected low < high, got [{low}, {high}): exchange them")
        span = np.uint64(high - low)
        return (self.bits(math.prod(shape)) % span).astype(np.int64).reshape(shape) + low

    def permutation(self, count: int) -> Array:
        """A uniformly random order of 0 .. count - 1, int64, on the CPU."""
        return np.argsort(self.bits(count), kind="stable")


@dataclass(frozen=True, slots=True)
class RowKeys:
    """A key for each row of an array's first axis. Random ops take it in place of one `Key`.

    A row's numbers then depend on its own key only, not on the rows beside it: dropout of a sample is the same in every
    split of its batch.

    The keys are a tuple of Keys; or an array of their seeds and streams on a device, (R, 2) uint64. Kernels read that
    array when they run, so a step recorded as a CUDA graph draws new numbers after other keys are copied into it.
    """

    keys: tuple[Key, ...] | Array

    def __post_init__(self) -> None:
        if isinstance(self.keys, tuple):
            is_right = all(isinstance(key, Key) for key in self.keys)
        else:
            is_right = arrays.is_array(self.keys) and not isinstance(self.keys, np.ndarray)
            is_right = is_right and self.keys.dtype == np.uint64 and self.keys.shape[1:] == (2,)
        if not is_right:
            raise DTypeError(f"RowKeys: expected a tuple of Keys, got {shown(self.keys)}: make them with Key.split")

    @classmethod
    def of(cls, pairs_R2: Array) -> RowKeys:
        """From an array of seeds and streams, (R, 2) uint64, on any device."""
        if isinstance(pairs_R2, np.ndarray):
            return cls(tuple(Key(seed, stream) for seed, stream in pairs_R2.tolist()))
        return cls(pairs_R2)

    def pairs_on(self, device: str) -> Array:
        """Seeds and streams, (R, 2) uint64, on `device`: copied there unless they are there already."""
        pairs: Any = self.keys
        if isinstance(pairs, tuple):
            pairs = np.array([(key.seed, key.stream) for key in pairs], np.uint64).reshape(-1, 2)
        return arrays.to_device(pairs, device)

    def rows(self, start: int, stop: int) -> RowKeys:
        """The keys of the rows `start` .. `stop` - 1."""
        return RowKeys(self.keys[start:stop])

    def fold_in(self, data: int) -> RowKeys:
        """`Key.fold_in` for each key."""
        if isinstance(self.keys, tuple):
            return RowKeys(tuple(key.fold_in(data) for key in self.keys))
        return RowKeys(kernels_for(self.keys).fold_in(self.keys, _as_word(data)))

    def uniform(
        self, shape: tuple[int, ...], *, start: int = 0, dtype: DTypeLike = "float32", device: str = "cpu"
    ) -> Array:
        """Uniform in [0, 1): each row from number `start` of its stream on. `shape` begins with the number of keys."""
        shape, start = as_shape("uniform", shape), as_size("uniform", "start", start)
        if not shape or shape[0] != len(self.keys):
            raise ShapeError(
                f"uniform: expected a shape of {len(self.keys)} rows, one per key, got {shape}: "
                "let the first axis be the rows"
            )
        return _uniform(self.pairs_on(device), math.prod(shape[1:]), start, dtype).reshape(shape)


def as_pairs(key: Key | RowKeys, device: str) -> Array:
    """Seeds and streams as kernels take them, (R, 2) uint64: for RowKeys on `device`, for a single Key on the CPU.

    A device gets a single key by value, so nothing is copied there.
    """
    return np.array([(key.seed, key.stream)], np.uint64) if isinstance(key, Key) else key.pairs_on(device)


def from_pairs(pairs_R2: Array) -> Key | RowKeys:
    """The Key or RowKeys from which `as_pairs` made the array."""
    is_single = isinstance(pairs_R2, np.ndarray) and len(pairs_R2) == 1
    return Key(*pairs_R2.tolist()[0]) if is_single else RowKeys.of(pairs_R2)


def _as_word(data: Any) -> int:
    """`data` as an integer that can be folded into a key. Raises ArgumentError."""
    try:
        word = operator.index(data)  # an element of an integer array as well
    except TypeError:
        word = -1
    if not 0 <= word < _WORD:
        raise ArgumentError(f"fold_in: expected an integer in 0 .. 2**64 - 1, got {shown(data)}: take it modulo 2**64")
    return word


def _uniform(keys_R2: Array, count: int, start: int, dtype: DTypeLike) -> Array:
    """Numbers in [0, 1), (R, count), drawn on the keys' device."""
    if as_dtype(dtype) not in (np.float32, np.float64):
        raise DTypeError(
            f"uniform: expected dtype float32 or float64, got {as_dtype(dtype)}: convert the numbers afterwards"
        )
    try:
        return kernels_for(keys_R2).uniform(keys_R2, count, start, as_dtype(dtype))
    except DeviceMemoryError:  # says more
        raise
    except (MemoryError, ValueError):
        raise _too_many("uniform", count) from None


def _too_many(op: str, count: int) -> ShapeError:
    return ShapeError(f"{op}: expected a count that fits into memory, got {count}: draw fewer")
